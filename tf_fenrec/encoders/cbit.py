"""CBiT: a bidirectional transformer with the norms before its sub-layers and a separate output table."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder, append_mask
from tf_fenrec.layers.arguments import check_at_least, check_heads, check_rate
from tf_fenrec.layers.attention import attention_mask
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.randomness import split_seed


def tanh_gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU by the tanh approximation, as CBiT has it."""
    return 0.5 * x * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@keras.saving.register_keras_serializable("tf_fenrec")
class SampleNorm(keras.layers.Layer):
    """gamma (x - mean) / (s + 1e-6) + beta with the sample standard deviation s (of D - 1), as CBiT has it.

    Call arguments:
        x: [..., D].
    """

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(x_shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(x_shape[-1],), initializer="zeros")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        full = tf.cast(x, self.variable_dtype)
        centred = full - tf.reduce_mean(full, axis=-1, keepdims=True)
        squares = tf.reduce_sum(centred**2, axis=-1, keepdims=True) / (x.shape[-1] - 1)
        # The root has no slope at 0, where all of x are equal.
        deviation = tf.where(squares > 0, tf.sqrt(tf.where(squares > 0, squares, 1.0)), 0.0)
        gamma, beta = (tf.cast(tf.convert_to_tensor(weight), full.dtype) for weight in (self.gamma, self.beta))
        return tf.cast(gamma * centred / (deviation + 1e-6) + beta, self.compute_dtype)


@keras.saving.register_keras_serializable("tf_fenrec")
class PreNormBlock(keras.layers.Layer):
    """x + Dropout(Attention(Norm x)), then x + Dropout(FeedForward(Norm x)), then dropout.

    Args:
        num_heads: int. H.
        dropout: float.
        seed: int. Of the initialisation.

    Call arguments:
        x: [R, T, D].
        mask: [R, 1, T, T], added to the attention scores.
        training, seed: see `StatelessDropout`.
    """

    def __init__(self, num_heads: int, dropout: float = 0.3, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout = dropout
        self.seed = seed

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        dim = x_shape[-1]
        assert dim is not None

        def dense(name: str, units: int, inputs: int, number: int) -> keras.layers.Dense:
            # PyTorch's default, which the published weights started from: uniform within 1 / sqrt(inputs).
            bound = 1 / math.sqrt(inputs)
            layer = keras.layers.Dense(
                units,
                kernel_initializer=keras.initializers.RandomUniform(-bound, bound, self.seed + number),
                bias_initializer=keras.initializers.RandomUniform(-bound, bound, self.seed + number + 50),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, None, inputs))
            return layer

        self.query = dense("query", dim, dim, 0)
        self.key = dense("key", dim, dim, 1)
        self.value = dense("value", dim, dim, 2)
        self.output_projection = dense("output", dim, dim, 3)
        self.expand = dense("expand", 4 * dim, dim, 4)
        self.contract = dense("contract", dim, 4 * dim, 5)
        self.attention_norm = SampleNorm(dtype=self.dtype_policy, name="attention_norm")
        self.feedforward_norm = SampleNorm(dtype=self.dtype_policy, name="feedforward_norm")
        self.attention_norm.build(x_shape)
        self.feedforward_norm.build(x_shape)
        self.drop = StatelessDropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self.built = True

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        seeds = split_seed(seed, 5)
        rows, tokens, dim = tf.shape(x)[0], tf.shape(x)[1], x.shape[-1]
        normed = self.attention_norm(x)

        def split(y: tf.Tensor) -> tf.Tensor:
            return tf.reshape(y, [rows, tokens, self.num_heads, dim // self.num_heads])

        q, k, v = split(self.query(normed)), split(self.key(normed)), split(self.value(normed))
        scores = tf.einsum("rqhd,rkhd->rhqk", q, k) / math.sqrt(dim // self.num_heads) + tf.cast(mask, q.dtype)
        weights = self.drop(tf.nn.softmax(scores), training=training, seed=seeds[0])
        context = tf.reshape(tf.einsum("rhqk,rkhd->rqhd", weights, v), [rows, tokens, dim])
        x += self.drop(self.output_projection(context), training=training, seed=seeds[1])
        inner = self.drop(tanh_gelu(self.expand(self.feedforward_norm(x))), training=training, seed=seeds[2])
        x += self.drop(self.contract(inner), training=training, seed=seeds[3])
        return self.drop(x, training=training, seed=seeds[4])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_heads": self.num_heads, "dropout": self.dropout, "seed": self.seed}


@keras.saving.register_keras_serializable("tf_fenrec")
class CBiTEncoder(Encoder):
    """Item and position vectors, dropout, N pre-norm blocks that see both sides; an output table with a bias.

    The next item is predicted at a mask V + 1 after the history. Row V + 1 of the output table, the mask's, which the
    published model lacks, is held at zero, so it is never recommended for more than an average item.

    Args:
        num_items: int. V.
        dim: int. D. Defaults to 256.
        max_length: int. L, the mask included. Defaults to 15.
        num_blocks: int. N. Defaults to 2.
        num_heads: int. Defaults to 2.
        dropout: float. Defaults to 0.3.
        seed: int. Of the initialisation. Defaults to 0.

    Example:
        >>> CBiTEncoder(num_items=100, dim=32)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 32])

    Reference:
        - Du et al., CIKM 2022, arXiv 2208.03895.
    """

    causal = False
    mask_query = True

    def __init__(
        self,
        num_items: int,
        dim: int = 256,
        max_length: int = 15,
        num_blocks: int = 2,
        num_heads: int = 2,
        dropout: float = 0.3,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, num_blocks=num_blocks)
        check_heads(dim, num_heads)
        check_rate(dropout=dropout)
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.dropout = dropout
        self.seed = seed
        bound = 1 / math.sqrt(dim)

        def spread(number: int) -> keras.initializers.Initializer:
            return keras.initializers.RandomNormal(0.0, 1.0, seed=1000 * seed + number)

        def uniform(number: int) -> keras.initializers.Initializer:
            return keras.initializers.RandomUniform(-bound, bound, seed=1000 * seed + number)

        self.item_table = self.add_weight(name="items", shape=(num_items + 2, dim), initializer=spread(0))
        self.position_table = self.add_weight(name="positions", shape=(max_length, dim), initializer=spread(1))
        self.output_table = self.add_weight(name="output_items", shape=(num_items + 2, dim), initializer=uniform(2))
        self.output_bias = self.add_weight(name="output_bias", shape=(num_items + 2,), initializer=uniform(3))
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.blocks = [
            PreNormBlock(
                num_heads, dropout, 1000 * seed + 100 * (number + 1), dtype=self.dtype_policy, name=f"block_{number}"
            )
            for number in range(num_blocks)
        ]
        for block in self.blocks:
            block.build((None, None, dim))
        self.built = True

    @property
    def catalogue(self) -> list[keras.Variable]:
        return [self.item_table, self.output_table, self.output_bias]

    def item_vectors(self) -> tf.Tensor:
        """[V + 2, D + 1], of the output table, the last column its bias."""
        table = tf.concat(
            [tf.convert_to_tensor(self.output_table), tf.convert_to_tensor(self.output_bias)[:, None]], axis=1
        )
        real = tf.range(self.num_items + 2) <= self.num_items
        return tf.where(real[:, None], table, 0)

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
        positions = batch["positions"] + self.max_length - tf.shape(batch["items"])[1]
        seeds = split_seed(seed, self.num_blocks + 1)
        x = tf.gather(self.item_table, batch["items"]) + tf.gather(self.position_table, positions)
        x = self.drop(tf.cast(x, self.compute_dtype), training=training, seed=seeds[0])
        mask = attention_mask(batch["segments"], self.compute_dtype, batch["items"], causal=False)
        for block, block_seed in zip(self.blocks, seeds[1:], strict=True):
            x = block(x, mask, training=training, seed=block_seed)
        return x if everywhere else tf.gather(tf.reshape(x, [-1, self.dim]), batch["last"])

    def batch_of(self, inputs: dict[str, tf.Tensor] | tf.Tensor) -> dict[str, tf.Tensor]:
        return super().batch_of(inputs if isinstance(inputs, dict) else append_mask(inputs, self))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "seed": self.seed,
        }
