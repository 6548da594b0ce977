"""LRURec: linear recurrent units, which see the whole past in constant memory."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.layers.arguments import check_at_least, check_rate
from tf_fenrec.layers.attention import gelu
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.lru import LinearRecurrentUnit
from tf_fenrec.randomness import split_seed


@keras.saving.register_keras_serializable("tf_fenrec")
class LRURecEncoder(Encoder):
    """Item vectors without positions, dropout and layer norm, then N times a linear recurrent unit and a feed-forward
    network, each with residual and layer norm. A score is h . e_v + b_v.

    Args:
        num_items: int. V.
        dim: int. D. Defaults to 64.
        max_length: int. L. Defaults to 50.
        num_blocks: int. N. Defaults to 2.
        dropout: float. Defaults to 0.2.
        seed: int. Of the initialisation. Defaults to 0.

    Example:
        >>> encoder = LRURecEncoder(num_items=100)
        >>> encoder(np.array([[0, 0, 3, 7]])).shape, encoder.item_vectors().shape
        (TensorShape([1, 64]), TensorShape([102, 65]))

    Reference:
        - Yue et al., WSDM 2024, arXiv 2310.02367.
    """

    def __init__(
        self,
        num_items: int,
        dim: int = 64,
        max_length: int = 50,
        num_blocks: int = 2,
        dropout: float = 0.2,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, dim=dim, num_blocks=num_blocks)
        check_rate(dropout=dropout)
        self.dim = dim
        self.num_blocks = num_blocks
        self.dropout = dropout
        self.seed = seed

        def spread(number: int) -> keras.initializers.Initializer:
            return keras.initializers.TruncatedNormal(0.0, 0.02, seed=1000 * seed + number)

        def norm(name: str) -> keras.layers.LayerNormalization:
            layer = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name=name)
            layer.build((None, None, dim))
            return layer

        def dense(name: str, units: int, inputs: int, number: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(
                units,
                kernel_initializer=spread(number),
                bias_initializer=spread(number + 1),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, None, inputs))
            return layer

        self.item_table = self.add_weight(name="items", shape=(num_items + 2, dim), initializer=spread(0))
        self.item_bias = self.add_weight(name="item_bias", shape=(num_items + 2,), initializer=spread(1))
        self.norm = norm("norm")
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.units, self.expand, self.contract, self.norms = [], [], [], []
        for number in range(num_blocks):
            begin = 100 * (number + 1)
            unit = LinearRecurrentUnit(
                max_length, dropout, 1000 * seed + begin, dtype=self.dtype_policy, name=f"unit_{number}"
            )
            unit.build((None, None, dim))
            self.units.append(unit)
            self.expand.append(dense(f"expand_{number}", 4 * dim, dim, begin + 20))
            self.contract.append(dense(f"contract_{number}", dim, 4 * dim, begin + 30))
            self.norms.append(norm(f"norm_{number}"))
        self.built = True

    @property
    def catalogue(self) -> list[keras.Variable]:
        return [self.item_table, self.item_bias]

    def item_vectors(self) -> tf.Tensor:
        """[V + 2, D + 1], the last column the item bias."""
        return tf.concat([tf.convert_to_tensor(self.item_table), tf.convert_to_tensor(self.item_bias)[:, None]], axis=1)

    def user_vectors(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.concat([hidden, tf.ones_like(hidden[..., :1])], axis=-1)

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        everywhere: bool = False,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        seeds = split_seed(seed, 3 * self.num_blocks + 1)
        x = tf.cast(tf.gather(self.item_table, batch["items"]), self.compute_dtype)
        x = self.norm(self.drop(x, training=training, seed=seeds[0]))
        runs = _runs(batch["items"], batch["segments"])
        for number, unit in enumerate(self.units):
            first, second, third = seeds[3 * number + 1 : 3 * number + 4]
            x = unit(x, runs, training=training, seed=first)
            inner = self.drop(gelu(self.expand[number](x)), training=training, seed=second)
            x = self.norms[number](x + self.drop(self.contract[number](inner), training=training, seed=third))
        return x if everywhere else tf.gather(tf.reshape(x, [-1, self.dim]), batch["last"])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "dropout": self.dropout,
            "seed": self.seed,
        }


def _runs(items: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
    """int32 [R, T], numbers that change where a sequence begins and after every padding item: no state passes there."""
    begins = (segments[:, 1:] != segments[:, :-1]) | (items[:, :-1] == 0)
    return tf.pad(tf.cumsum(tf.cast(begins, tf.int32), axis=1), [[0, 0], [1, 0]])
