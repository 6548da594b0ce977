"""Scores by counts: what goes with the last few items."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.layers.arguments import check_at_least


@keras.saving.register_keras_serializable("tf_fenrec")
class NeighbourEncoder(Encoder):
    """The scores of all items for a history: each of its items gives its neighbours their weights, the less the older
    it is. Not a vector that meets item vectors: what it returns are the scores.

    Args:
        num_items: int. V.
        num_neighbours: int. N, the items each can give weight to. Defaults to 100.
        max_length: int. L. Defaults to 20.

    Attributes:
        neighbours: int64 [V + 2, N], the neighbours of each item, 0 for none.
        weights_of: [V + 2, N], their weights, 0 for none.
        recency: scalar. An item of age a, 0 being the most recent, counts exp(-a / recency).

    Call arguments:
        inputs: a batch of sequences, or int [S, T] right-aligned items.

    Returns:
        [S, V + 2], scores.

    Example:
        >>> NeighbourEncoder(num_items=100)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 102])
    """

    packed = False
    scores_items = True
    """What `call` returns are the scores of all items."""

    def __init__(self, num_items: int, num_neighbours: int = 100, max_length: int = 20, **kwargs: Any) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, num_neighbours=num_neighbours)
        self.num_neighbours = num_neighbours
        shape = (num_items + 2, num_neighbours)
        # int64: TensorFlow keeps int32 variables in the host's memory, where a compiled function can't use them.
        self.neighbours = self.add_weight(
            name="neighbours", shape=shape, dtype="int64", initializer="zeros", trainable=False
        )
        self.item_table = self.add_weight(name="weights", shape=shape, initializer="zeros", trainable=False)
        self.recency = self.add_weight(name="recency", shape=(), initializer="ones", trainable=False)
        self.built = True

    @property
    def catalogue(self) -> list[keras.Variable]:
        return [self.neighbours, self.item_table]

    def set_neighbours(self, items: np.ndarray, weights: np.ndarray, recency: float) -> None:
        """Sets neighbours int [V + 2, N], weights [V + 2, N] and recency."""
        self.neighbours.assign(items)
        self.item_table.assign(weights)
        self.recency.assign(recency)

    def call(
        self, inputs: dict[str, tf.Tensor] | tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        items = batch["items"]
        rows, tokens = tf.shape(items)[0], tf.shape(items)[1]
        age = tf.cast(tf.range(tokens - 1, -1, -1), self.compute_dtype)
        decay = tf.exp(-age / tf.cast(tf.convert_to_tensor(self.recency), self.compute_dtype))
        counts = tf.where(items > 0, decay, 0)  # [S, T]
        neighbours = tf.gather(tf.convert_to_tensor(self.neighbours), items)  # [S, T, N]
        weights = tf.cast(tf.gather(tf.convert_to_tensor(self.item_table), items), self.compute_dtype)
        row = tf.broadcast_to(tf.range(rows, dtype=tf.int64)[:, None, None], tf.shape(neighbours))
        cells = tf.reshape(row * (self.num_items + 2) + neighbours, [-1])
        scores = tf.math.unsorted_segment_sum(
            tf.reshape(counts[:, :, None] * weights, [-1]), cells, rows * (self.num_items + 2)
        )
        return tf.reshape(scores, [rows, self.num_items + 2])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_neighbours": self.num_neighbours}
