"""Item and position embedding."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.layers.dropout import StatelessDropout


def initializer(seed: int) -> keras.initializers.Initializer:
    """Normal(0, 0.02), the initialisation of every embedding and kernel (method of SASRec's re-implementations)."""
    return keras.initializers.RandomNormal(0.0, 0.02, seed=seed)


@keras.saving.register_keras_serializable("tf_fenrec")
class ItemEmbedding(keras.layers.Layer):
    """Item table plus learned positions, layer norm, dropout (SASRec, arXiv 1808.09781, as the S3-Rec family does).

    Args:
        num_items: V. The table has V + 2 rows: 0 is padding, V + 1 the mask.
        dim: D.
        max_length: L, rows of the position table; the most recent item of a sequence sits at L - 1.
        dropout: rate after the norm.
        seed: of the initialisation.

    Call arguments:
        items: int32 [R, T].
        positions: int32 [R, T].
        vectors: [R, T, D], in the place of the items' own. Defaults to None.
        training, seed: see `StatelessDropout`.

    Returns:
        [R, T, D].
    """

    def __init__(
        self, num_items: int, dim: int, max_length: int, dropout: float = 0.5, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_items = num_items
        self.dim = dim
        self.max_length = max_length
        self.dropout = dropout
        self.seed = seed
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype_policy, name="norm")
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.item_table = self.add_weight(name="items", shape=(num_items + 2, dim), initializer=initializer(seed))
        self.position_table = self.add_weight(
            name="positions", shape=(max_length, dim), initializer=initializer(seed + 1)
        )
        self.norm.build((None, None, dim))
        self.built = True

    def call(
        self,
        items: tf.Tensor,
        positions: tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        vectors: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if vectors is None:
            vectors = tf.gather(self.item_table, items)
        x = vectors + tf.gather(self.position_table, positions)  # [R, T, D]
        x = tf.cast(x, self.compute_dtype)
        return self.drop(self.norm(x), training=training, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_items": self.num_items,
            "dim": self.dim,
            "max_length": self.max_length,
            "dropout": self.dropout,
            "seed": self.seed,
        }
