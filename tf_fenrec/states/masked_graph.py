"""The item graph, parts of it hidden (MAERec)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tf_fenrec.data.item_graph import (
    Edges,
    hidden_edges,
    item_graph,
    normalised,
    reward,
    subgraph_similarity,
)
from tf_fenrec.states.state import State

if TYPE_CHECKING:
    from tf_fenrec.data.batches import TrainingBatches
    from tf_fenrec.systems.base import SequenceModel

REMEMBERED = 64  # losses by which hiding is rewarded


@keras.saving.register_keras_serializable("tf_fenrec")
class MaskedGraph(State):
    """Hides the surroundings of the items that are most like them, every few steps, and names hidden edges to learn.

    Args:
        distance: int. Items that far apart in a sequence are neighbours.
        every: int. Steps between two hidings.
        num_seeds: int. Items around which edges are hidden.
        depth: int. Steps of the walks from them.
        keep: float. Share of the items reached that go on, for each step.
        num_positives: int. Hidden edges that are to be reconstructed.
        seed: int.

    Reference:
        - Ye, Xia and Huang, SIGIR 2023, arXiv 2305.04619.
    """

    def __init__(
        self,
        distance: int,
        every: int = 10,
        num_seeds: int = 50,
        depth: int = 3,
        keep: float = 0.5,
        num_positives: int = 2048,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.distance = distance
        self.every = every
        self.num_seeds = num_seeds
        self.depth = depth
        self.keep = keep
        self.num_positives = num_positives
        self.seed = seed

        def weight(name: str, shape: tuple[int, ...], dtype: str | None = None) -> keras.Variable:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.positives = weight("positives", (num_positives, 2), "int64")
        self.positive_weights = weight("positive_weights", (num_positives,))
        self.reward = weight("reward", ())
        self.past_losses = weight("past_losses", (REMEMBERED,))
        self.hidings = weight("hidings", (), "int64")
        self.loss = weight("loss", ())  # of the last step: the step sets it
        self._edges: Edges | None = None
        self.built = True

    def begin_epoch(self, epoch: int, model: SequenceModel, batches: TrainingBatches) -> None:
        edges = self._graph(batches)
        if not epoch:
            model.encoder.set_graph(*edges, normalised(edges, model.num_items + 2))

    def _graph(self, batches: TrainingBatches) -> Edges:
        if self._edges is None:
            self._edges = item_graph(batches.dataset, self.distance)
        return self._edges

    def begin_step(self, step: int, model: SequenceModel, batches: TrainingBatches) -> None:
        if step % self.every:
            return
        edges, encoder = self._graph(batches), model.encoder
        rng = np.random.default_rng([self.seed, step])
        count = int(self.hidings)
        losses = np.asarray(self.past_losses)
        if count:
            losses = np.append(losses[1:], np.asarray(self.loss)).astype(np.float32)
            self.past_losses.assign(losses)
        self.reward.assign(reward(losses[REMEMBERED - min(count, REMEMBERED) :]))
        self.hidings.assign(count + 1)
        kept = [rng.random(len(edges.rows)) < self.keep ** (hop + 1) for hop in range(self.depth)]
        scores = subgraph_similarity(edges, np.asarray(encoder.item_table, np.float64), self.depth, kept)
        scores += rng.gumbel(size=len(scores))
        scores[[0, -1]] = -np.inf
        seeds = np.argsort(-scores, kind="stable")[: self.num_seeds]
        hidden = hidden_edges(edges, seeds, self.depth, self.keep, rng)
        values = normalised(edges, len(scores), ~hidden)
        encoder.masked_values.assign(np.pad(values, (0, encoder.num_edges - len(values))))
        targets = np.flatnonzero(hidden & (edges.rows != edges.columns))
        targets = rng.permutation(targets)[: self.num_positives]
        pairs = np.zeros((self.num_positives, 2), np.int64)
        pairs[: len(targets)] = np.stack([edges.rows[targets], edges.columns[targets]], axis=1)
        self.positives.assign(pairs)
        self.positive_weights.assign((np.arange(self.num_positives) < len(targets)).astype(np.float32))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "distance": self.distance,
            "every": self.every,
            "num_seeds": self.num_seeds,
            "depth": self.depth,
            "keep": self.keep,
            "num_positives": self.num_positives,
            "seed": self.seed,
        }
