"""The one ranking loop: of fit's validation, of `evaluate`, of the trainer, of the baselines and of the report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_fenrec.data.batches import EvaluationBatches
from tf_fenrec.data.packing import Layout
from tf_fenrec.metrics import CUTOFFS, exclude, rank_values, target_ranks
from tf_fenrec.parallel import parallel_map

LENGTH_EDGES = (5, 10, 20, 30, 50)

Score = Callable[[dict[str, tf.Tensor]], tf.Tensor]
"""Takes a batch of sequences, returns scores [U, V + 2]."""


@dataclass(frozen=True)
class Ranking:
    """Full ranking of U users.

    Attributes:
        ranks: int32 [U], rank of each target from 1.
        recommended: bool [V + 2], which items stand in anyone's top 20.
    """

    ranks: np.ndarray
    recommended: np.ndarray

    def metrics(self) -> dict[str, float]:
        """HR and NDCG at 5, 10 and 20, MRR, and catalogue coverage at 20, over all users."""
        return mean_metrics(self.ranks) | {f"coverage@{CUTOFFS[-1]}": float(self.recommended[1:-1].mean())}

    def metrics_by_length(self, lengths: np.ndarray) -> dict[str, dict[str, float]]:
        """The metrics of user groups by sequence length n (Fig. 4), with the number of `users` in each.

        Args:
            lengths: int [U], of the users' sequences.
        """
        groups = by_edges(lengths, LENGTH_EDGES)
        return {name: {"users": len(users)} | mean_metrics(self.ranks[users]) for name, users in groups.items()}


def rank_all(score: Score, batches: EvaluationBatches, layout: Layout) -> Ranking:
    """Ranks the held-out items of all users of `batches`, and notes which items are recommended at all."""
    recommended = np.zeros(batches.dataset.num_items + 2, bool)
    top = min(CUTOFFS[-1], len(recommended))

    def note(scores: tf.Tensor, targets: dict[str, tf.Tensor]) -> None:
        values, items = tf.math.top_k(exclude(scores, targets["excluded"], targets["excluded_score"]), top)
        recommended[items.numpy()[np.isfinite(values.numpy())]] = True

    ranks = list(rank_batches(score, batches, layout, len(batches), note))
    return Ranking(batches.in_order(ranks, layout), recommended)


def rank_batches(
    score: Score,
    batches: EvaluationBatches,
    layout: Layout,
    steps: int,
    note: Callable[[tf.Tensor, dict[str, tf.Tensor]], None] | None = None,
) -> Iterator[np.ndarray]:
    """The ranks int32 [U] of the held-out items of the first `steps` batches, batch by batch.

    Args:
        score: of the items for a batch of sequences.
        batches: the users.
        layout: how `score` wants their sequences.
        steps: how many batches.
        note: is shown the scores [U, V + 2] and the targets of every batch.
    """

    def rank(number: int) -> np.ndarray:
        inputs, targets = tf.nest.map_structure(tf.constant, batches.batch(number, layout))
        scores = score(inputs)
        if note is not None:
            note(scores, targets)
        return target_ranks(scores, targets["item"], targets["excluded"], targets["excluded_score"]).numpy()

    return parallel_map(rank, range(steps))


def mean_metrics(ranks: np.ndarray) -> dict[str, float]:
    """HR and NDCG at 5, 10 and 20 and MRR, means over the users' ranks int [U]."""
    values = rank_values(tf.constant(ranks))
    return {name: float(np.mean(value.numpy(), dtype=np.float64)) for name, value in values.items()}


def by_edges(values: np.ndarray, edges: Sequence[int]) -> dict[str, np.ndarray]:
    """The users, int [...], of each group of values [U] between two edges, by its name; without the empty groups."""
    group = np.searchsorted(edges, values, side="left")
    names = [f"n <= {edges[0]}", *(f"{a} < n <= {b}" for a, b in itertools.pairwise(edges)), f"n > {edges[-1]}"]
    return {name: users for number, name in enumerate(names) if len(users := np.flatnonzero(group == number))}
