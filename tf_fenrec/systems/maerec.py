"""MAERec: item vectors spread over a graph of items, parts of which are hidden and reconstructed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, option
from tf_fenrec.data.item_graph import item_graph
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.encoders import MAERecEncoder
from tf_fenrec.layers.embedding import initializer
from tf_fenrec.losses.edges import edge_reconstruction
from tf_fenrec.randomness import random_bits, split_seed
from tf_fenrec.states.masked_graph import MaskedGraph
from tf_fenrec.states.state import State
from tf_fenrec.systems.next_item import NextItem, NextItemModel
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class MAERecConfig(NextItem, Attention):
    """Hyper-parameters of MAERec."""

    model: ClassVar[str] = "maerec"

    graph_distance: int = option(1, "items at most so far apart in a sequence are neighbours", least=1)
    num_propagations: int = option(2, "steps over the graph that item vectors are spread", least=0)
    mask_every: int = option(10, "steps between two hidings", least=1)
    num_seeds: int = option(50, "items around which edges are hidden", least=1)
    mask_depth: int = option(3, "steps of the walks from them", least=1)
    walk_keep: float = option(0.5, "share of the items reached that go on, for each step", least=0, below=1)
    num_positives: int = option(2048, "hidden edges that are reconstructed", least=1)
    num_edge_negatives: int = option(40, "negatives of each", least=2)
    reconstruction: Literal["log", "released"] = option(
        "log", "log: -log of an edge's share, the mean; released: the sum of the shares themselves"
    )
    reconstruction_weight: float = option(0.1, "weight of the reconstruction of hidden edges", least=0)
    mask_weight: float = option(1.0, "weight of the reward for what is hidden, every `mask_every` steps", least=0)
    regularizer_weight: float = option(1e-6, "weight of the squares of all weights", least=0)

    @property
    def row(self) -> str | None:
        return "MAERec"


@keras.saving.register_keras_serializable("tf_fenrec")
class MAERec(NextItemModel):
    """Graph masked autoencoder for sequential recommendation.

    total = loss of the next item + reconstruction of hidden edges - reward (mean similarity of items and their
    surroundings) + squares. Edges around the items that are most like their surroundings are hidden every few steps;
    hiding is rewarded where the main loss fell faster than before.

    Walks go on from the items that they reach; the released program adds up item numbers there.

    Reference:
        - Ye, Xia and Huang, SIGIR 2023, arXiv 2305.04619.
    """

    config_class = MAERecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {
                "dim": 32, "num_heads": 4, "dropout": 0.3, "examples": "users", "loss": "binary",
                "reconstruction": "released", "reconstruction_weight": 1.0,
            },
        },
        "fair": {
            "": {"num_heads": 4, "dropout": 0.3},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }  # fmt: skip
    config: MAERecConfig
    encoder: MAERecEncoder

    def __init__(self, config: MAERecConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        self.graph = MaskedGraph(
            config.graph_distance,
            config.mask_every,
            config.num_seeds,
            config.mask_depth,
            config.walk_keep,
            config.num_positives,
            config.seed,
            dtype=self.variable_dtype,
            name="graph",
        )
        dim, width = config.dim, 4 * config.dim
        self.decoder = []
        for number, units in enumerate((2 * dim, dim, 1)):
            layer = keras.layers.Dense(
                units,
                activation="sigmoid" if units == 1 else "relu",
                kernel_initializer=initializer(1000 * config.seed + 900 + number),
                dtype=self.variable_dtype,
                name=f"decoder_{number}",
            )
            layer.build((None, width))
            self.decoder.append(layer)
            width = units

    @classmethod
    def sizes_of(cls, config: MAERecConfig, dataset: SequenceDataset) -> dict[str, int]:
        return {"num_edges": len(item_graph(dataset, config.graph_distance).rows)}

    @classmethod
    def make_encoder(cls, config: MAERecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return MAERecEncoder(
            num_items,
            sizes.get("num_edges", 1),
            config.dim,
            config.max_length,
            config.num_blocks,
            config.num_heads,
            config.num_propagations,
            config.dropout,
            config.seed,
            dtype=config.precision,
            name="encoder",
        )

    @property
    def states(self) -> list[State]:
        return [self.graph]

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        config = self.config
        terms = super().loss_terms(step)
        self.graph.loss.assign(tf.cast(terms["recommendation"][1], self.graph.loss.dtype))
        positives = tf.convert_to_tensor(self.graph.positives)
        negatives = self._negatives(positives, step.seed)
        layers = self.encoder.propagated(training=True)[:2]
        pairs = tf.concat([positives[:, None], negatives], axis=1)
        scores = self.edge_scores(layers, pairs)
        reconstruction = edge_reconstruction(
            scores[:, 0],
            scores[:, 1:],
            tf.convert_to_tensor(self.graph.positive_weights),
            config.reconstruction == "released",
        )
        terms["reconstruction"] = (config.reconstruction_weight, reconstruction)
        if config.mask_weight:
            similarity = tf.cond(
                tf.convert_to_tensor(self.step) % config.mask_every == 0,
                self._similarity,
                lambda: tf.zeros([], self.variable_dtype),
            )
            terms["masking"] = (-config.mask_weight * tf.convert_to_tensor(self.graph.reward), similarity)
        if config.regularizer_weight:
            terms["regularizer"] = (config.regularizer_weight, self.squares())
        return terms

    def squares(self) -> tf.Tensor:
        """The sum of the squares of all weights."""
        return tf.add_n([tf.reduce_sum(tf.convert_to_tensor(weight) ** 2) for weight in self.trainable_weights])

    def edge_scores(self, layers: list[tf.Tensor], pairs: tf.Tensor) -> tf.Tensor:
        """[P, n] scores, from 0 to 1, of pairs int64 [P, n, 2], by the item vectors of two layers [V + 2, D] each."""
        first, second = (
            [tf.cast(tf.gather(layer, pairs[..., end]), self.variable_dtype) for layer in layers] for end in (0, 1)
        )
        x = tf.concat([one * other for one in first for other in second], axis=-1)
        for layer in self.decoder:
            x = layer(x)
        return x[..., 0]

    def _negatives(self, positives: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """int64 [P, n, 2], for each edge half with a random head and half with a random tail."""
        count = self.config.num_edge_negatives
        draw_seed = split_seed(seed, 2)[1]
        assert draw_seed is not None
        shape = [self.config.num_positives, count]
        drawn = 1 + tf.cast(random_bits(shape, draw_seed), tf.int64) % self.num_items
        head = tf.range(count) < count // 2
        return tf.stack([tf.where(head, drawn, positives[:, :1]), tf.where(head, positives[:, 1:], drawn)], axis=2)

    def _similarity(self) -> tf.Tensor:
        """The mean similarity of items and their surroundings, see `subgraph_similarity`."""
        vectors = tf.cast(tf.convert_to_tensor(self.encoder.item_table), self.variable_dtype)
        rows, columns = (tf.convert_to_tensor(ends) for ends in (self.encoder.rows, self.encoder.columns))
        there = tf.cast(tf.convert_to_tensor(self.encoder.values) != 0, vectors.dtype)[:, None]

        def around(x: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(there * tf.gather(x, columns), rows, self.num_items + 2)

        order = around(tf.ones_like(vectors[:, :1]))
        means, numbers = [around(vectors) - vectors], [order]
        for _ in range(self.config.mask_depth):
            means.append(around(means[-1]) - means[-1] - order * means[-1])
            numbers.append(around(numbers[-1]) - numbers[-1] - order)
        near = tf.add_n(means) / (tf.add_n(numbers) + 1e-8)
        cosines = tf.math.l2_normalize(near, axis=1) * tf.math.l2_normalize(vectors, axis=1)
        return tf.reduce_mean(tf.reduce_sum(cosines, axis=1)[1:-1])
