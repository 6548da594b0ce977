"""BERT4Rec: a transformer that sees both sides, and predicts the items that are masked."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import append_mask
from tf_fenrec.encoders.transformer import SASRecEncoder
from tf_fenrec.layers.attention import gelu
from tf_fenrec.layers.embedding import initializer


@keras.saving.register_keras_serializable("tf_fenrec")
class BERT4RecEncoder(SASRecEncoder):
    """SASRec's body without the causal mask. The next item is predicted at a mask V + 1 after the history.

    A score is LayerNorm(gelu(W h)) . e_v + b_v: the transform is in `user_vectors`, the bias in `item_vectors`.

    Args:
        num_items: int. V.
        dim: int. D. Defaults to 64.
        max_length: int. L, the mask included. Defaults to 50.
        num_blocks: int. Defaults to 2.
        num_heads: int. Defaults to 2.
        hidden_dim: int. Defaults to None, 4 D.
        dropout: float. Defaults to 0.5.
        seed: int. Of the initialisation. Defaults to 0.
        output_head: bool. Whether there are transform and bias. Defaults to True.

    Example:
        >>> encoder = BERT4RecEncoder(num_items=100)
        >>> hidden = encoder(np.array([[0, 0, 3, 7]]))
        >>> hidden.shape, encoder.user_vectors(hidden).shape
        (TensorShape([1, 64]), TensorShape([1, 65]))

    Reference:
        - Sun et al., CIKM 2019, arXiv 1904.06690.
    """

    causal = False
    mask_query = True

    def __init__(
        self,
        num_items: int,
        dim: int = 64,
        max_length: int = 50,
        num_blocks: int = 2,
        num_heads: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.5,
        seed: int = 0,
        output_head: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, dim, max_length, num_blocks, num_heads, hidden_dim, dropout, seed, **kwargs)
        self.output_head = output_head
        if not output_head:
            return
        self.transform = keras.layers.Dense(
            dim, kernel_initializer=initializer(100 * seed + 90), dtype=self.dtype_policy, name="transform"
        )
        self.transform.build((None, dim))
        self.output_norm = keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype_policy, name="output_norm")
        self.output_norm.build((None, dim))
        self.built = False  # Keras adds no weight to a layer that is built
        self.item_bias = self.add_weight(name="item_bias", shape=(num_items + 2,), initializer="zeros")
        self.built = True

    @property
    def catalogue(self) -> list[keras.Variable]:
        return [*super().catalogue, self.item_bias] if self.output_head else super().catalogue

    def item_vectors(self) -> tf.Tensor:
        """[V + 2, D + 1], the last column the item bias; [V + 2, D] without the head."""
        table = super().item_vectors()
        if not self.output_head:
            return table
        return tf.concat([table, tf.convert_to_tensor(self.item_bias)[:, None]], axis=1)

    def user_vectors(self, hidden: tf.Tensor) -> tf.Tensor:
        if not self.output_head:
            return hidden
        hidden = self.output_norm(gelu(self.transform(hidden)))
        return tf.concat([hidden, tf.ones_like(hidden[..., :1])], axis=-1)

    def batch_of(self, inputs: dict[str, tf.Tensor] | tf.Tensor) -> dict[str, tf.Tensor]:
        return super().batch_of(inputs if isinstance(inputs, dict) else append_mask(inputs, self))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"output_head": self.output_head}
