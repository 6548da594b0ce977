"""GRU4Rec: a recurrent network over the sequence."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.layers.arguments import check_at_least, check_rate
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.embedding import initializer


@keras.saving.register_keras_serializable("tf_fenrec")
class GRU4RecEncoder(Encoder):
    """Item vectors, dropout, GRU layers without biases, and a dense layer back to D.

    Args:
        num_items: int. V.
        dim: int. D. Defaults to 64.
        max_length: int. L. Defaults to 50.
        hidden_dim: int. Width of the GRU layers. Defaults to 128.
        num_layers: int. GRU layers. Defaults to 1.
        dropout: float. Of the item vectors. Defaults to 0.3.
        through_padding: bool. Whether the network runs through the padding before the first item, as in the
            re-implementations, or starts at the first item. Defaults to False.
        seed: int. Of the initialisation. Defaults to 0.

    Example:
        >>> GRU4RecEncoder(num_items=100)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 64])

    Reference:
        - Hidasi et al., ICLR 2016, arXiv 1511.06939, as re-implemented in RecBole and BSARec.
    """

    packed = False

    def __init__(
        self,
        num_items: int,
        dim: int = 64,
        max_length: int = 50,
        hidden_dim: int = 128,
        num_layers: int = 1,
        dropout: float = 0.3,
        through_padding: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, dim=dim, hidden_dim=hidden_dim, num_layers=num_layers)
        check_rate(dropout=dropout)
        self.dim = dim
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.dropout = dropout
        self.through_padding = through_padding
        self.seed = seed
        self.item_table = self.add_weight(name="items", shape=(num_items + 2, dim), initializer=initializer(100 * seed))
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.layers = [
            keras.layers.GRU(
                hidden_dim,
                return_sequences=True,
                use_bias=False,
                reset_after=True,
                use_cudnn=False,  # cuDNN takes right-padded sequences only
                kernel_initializer=keras.initializers.GlorotUniform(100 * seed + 10 * number + 1),
                recurrent_initializer=keras.initializers.GlorotUniform(100 * seed + 10 * number + 2),
                dtype=self.dtype_policy,
                name=f"gru_{number}",
            )
            for number in range(num_layers)
        ]
        for number, layer in enumerate(self.layers):
            layer.build((None, None, hidden_dim if number else dim))
        self.dense = keras.layers.Dense(
            dim, kernel_initializer=initializer(100 * seed + 3), dtype=self.dtype_policy, name="dense"
        )
        self.dense.build((None, None, hidden_dim))
        self.built = True

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        everywhere: bool = False,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        x = tf.cast(tf.gather(self.item_table, batch["items"]), self.compute_dtype)
        x = self.drop(x, training=training, seed=seed)
        mask = None if self.through_padding else batch["segments"] > 0
        for layer in self.layers:
            x = layer(x, mask=mask, training=training)
        if not everywhere:
            x = tf.gather(tf.reshape(x, [-1, self.hidden_dim]), batch["last"])
        return self.dense(x)

    def batch_of(self, inputs: dict[str, tf.Tensor] | tf.Tensor) -> dict[str, tf.Tensor]:
        if self.through_padding and not isinstance(inputs, dict):  # how much of it there is matters
            items = tf.cast(inputs, tf.int32)[:, -self.max_length :]
            inputs = tf.pad(items, [[0, 0], [self.max_length - tf.shape(items)[1], 0]])
        return super().batch_of(inputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dim": self.dim,
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "through_padding": self.through_padding,
            "seed": self.seed,
        }
