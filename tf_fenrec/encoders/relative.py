"""A causal transformer that knows distances instead of positions, with a cosine head."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.layers.arguments import check_at_least, check_heads, check_rate
from tf_fenrec.layers.attention import attention_mask, gelu
from tf_fenrec.layers.differences import FiniteDifferences
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.embedding import initializer
from tf_fenrec.randomness import split_seed


@keras.saving.register_keras_serializable("tf_fenrec")
class RelativeBlock(keras.layers.Layer):
    """x' = LayerNorm(x + Attention(x) + a G(x)), y = LayerNorm(x' + FeedForward(x')), G finite differences.

    Attention has a learned number for each head and distance instead of positions. a starts at 0.1.

    Args:
        max_length: int. L; distances from 0 to L - 1.
        num_heads: int. H.
        lags: of the finite differences, none for no such part.
        dropout: float.
        attention_dropout: float. Of the attention weights.
        seed: int. Of the initialisation.

    Call arguments:
        x: [R, T, D].
        segments: int32 [R, T].
        mask: [R, 1, T, T], added to the attention scores.
        training, seed: see `StatelessDropout`.
    """

    def __init__(
        self,
        max_length: int,
        num_heads: int,
        lags: tuple[int, ...],
        dropout: float,
        attention_dropout: float,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_length = max_length
        self.num_heads = num_heads
        self.lags = tuple(lags)
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.seed = seed

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        dim = x_shape[-1]
        assert dim is not None

        def dense(name: str, units: int, inputs: int, number: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(
                units, kernel_initializer=initializer(self.seed + number), dtype=self.dtype_policy, name=name
            )
            layer.build((None, None, inputs))
            return layer

        def norm(name: str) -> keras.layers.LayerNormalization:
            layer = keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype_policy, name=name)
            layer.build(x_shape)
            return layer

        self.query, self.key, self.value = (
            dense(name, dim, dim, number) for number, name in enumerate(("query", "key", "value"))
        )
        self.output_projection = dense("output", dim, dim, 3)
        self.expand, self.contract = dense("expand", 4 * dim, dim, 4), dense("contract", dim, 4 * dim, 5)
        self.attention_norm, self.feedforward_norm = norm("attention_norm"), norm("feedforward_norm")
        self.distance_bias = self.add_weight(
            name="distance_bias", shape=(self.num_heads, self.max_length), initializer="zeros"
        )
        if self.lags:
            self.differences = FiniteDifferences(self.lags, self.seed + 6, dtype=self.dtype_policy, name="differences")
            self.differences.build(x_shape)
            self.share = self.add_weight(name="share", shape=(), initializer=keras.initializers.Constant(0.1))
        self.drop = StatelessDropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self.drop_attention = StatelessDropout(
            self.attention_dropout, dtype=self.dtype_policy, name="attention_dropout"
        )
        self.built = True

    def call(
        self,
        x: tf.Tensor,
        segments: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        seeds = split_seed(seed, 4)
        rows, tokens, dim = tf.shape(x)[0], tf.shape(x)[1], x.shape[-1]

        def split(y: tf.Tensor) -> tf.Tensor:
            return tf.reshape(y, [rows, tokens, self.num_heads, dim // self.num_heads])

        distance = tf.clip_by_value(tf.range(tokens)[:, None] - tf.range(tokens), 0, self.max_length - 1)
        bias = tf.cast(tf.gather(tf.convert_to_tensor(self.distance_bias), distance, axis=1), x.dtype)  # [H, T, T]
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = tf.einsum("rqhd,rkhd->rhqk", q, k) / math.sqrt(dim // self.num_heads) + bias + tf.cast(mask, x.dtype)
        weights = self.drop_attention(tf.nn.softmax(scores), training=training, seed=seeds[0])
        context = tf.reshape(tf.einsum("rhqk,rkhd->rqhd", weights, v), [rows, tokens, dim])
        update = self.drop(self.output_projection(context), training=training, seed=seeds[1])
        if self.lags:
            mixed = self.drop(self.differences(x, segments), training=training, seed=seeds[2])
            update += tf.cast(tf.convert_to_tensor(self.share), x.dtype) * mixed
        x = self.attention_norm(x + update)
        update = self.drop(self.contract(gelu(self.expand(x))), training=training, seed=seeds[3])
        return self.feedforward_norm(x + update)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "max_length": self.max_length,
            "num_heads": self.num_heads,
            "lags": list(self.lags),
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("tf_fenrec")
class RelativeEncoder(Encoder):
    """Item vectors, layer norm, dropout, N `RelativeBlock`s, and unit vectors: scores are cosines / T, T trainable.

    What it returns while training is the mean of the unit vectors of several dropouts of the last block's output
    (multi-sample dropout), so that one product with the items serves them all.

    Args:
        num_items: int. V.
        dim: int. D. Defaults to 64.
        max_length: int. L. Defaults to 50.
        num_blocks: int. N. Defaults to 2.
        num_heads: int. Defaults to 2.
        lags: of the finite differences. Defaults to (1, 3, 5).
        dropout: float. Defaults to 0.5.
        attention_dropout: float. Defaults to 0.5.
        num_samples: int. Dropouts of the output. Defaults to 5.
        temperature: float. What T starts at. Defaults to 0.1.
        seed: int. Of the initialisation. Defaults to 0.

    Example:
        >>> RelativeEncoder(num_items=100)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 64])

    Reference:
        - Relative distances: Raffel et al. 2020 (T5). Multi-sample dropout: Inoue 2019, arXiv 1905.09788. Finite
          differences: KERec.
    """

    def __init__(
        self,
        num_items: int,
        dim: int = 64,
        max_length: int = 50,
        num_blocks: int = 2,
        num_heads: int = 2,
        lags: tuple[int, ...] = (1, 3, 5),
        dropout: float = 0.5,
        attention_dropout: float = 0.5,
        num_samples: int = 5,
        temperature: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, num_blocks=num_blocks, num_samples=num_samples)
        check_heads(dim, num_heads)
        check_rate(dropout=dropout, attention_dropout=attention_dropout)
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.lags = tuple(lags)
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.num_samples = num_samples
        self.start_temperature = temperature
        self.seed = seed
        self.item_table = self.add_weight(
            name="items", shape=(num_items + 2, dim), initializer=initializer(1000 * seed)
        )
        self.temperature = self.add_weight(
            name="temperature", shape=(), initializer=keras.initializers.Constant(temperature)
        )
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype_policy, name="norm")
        self.norm.build((None, None, dim))
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.blocks = [
            RelativeBlock(
                max_length,
                num_heads,
                self.lags,
                dropout,
                attention_dropout,
                1000 * seed + 100 * (number + 1),
                dtype=self.dtype_policy,
                name=f"block_{number}",
            )
            for number in range(num_blocks)
        ]
        for block in self.blocks:
            block.build((None, None, dim))
        self.built = True

    def item_vectors(self) -> tf.Tensor:
        """[V + 2, D], of unit length."""
        return tf.math.l2_normalize(tf.convert_to_tensor(self.item_table), axis=1)

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        everywhere: bool = False,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        seeds = split_seed(seed, self.num_blocks + 2)
        x = tf.cast(tf.gather(self.item_table, batch["items"]), self.compute_dtype)
        x = self.drop(self.norm(x), training=training, seed=seeds[0])
        mask = attention_mask(batch["segments"], self.compute_dtype, batch["items"])
        for block, block_seed in zip(self.blocks, seeds[1:-1], strict=True):
            x = block(x, batch["segments"], mask, training=training, seed=block_seed)
        if not everywhere:
            x = tf.gather(tf.reshape(x, [-1, self.dim]), batch["last"])
        unit = self._unit(x, bool(training), seeds[-1])
        return unit / tf.cast(tf.convert_to_tensor(self.temperature), unit.dtype)

    def _unit(self, x: tf.Tensor, training: bool, seed: tf.Tensor | None) -> tf.Tensor:
        if not training:
            return tf.math.l2_normalize(x, axis=-1)
        seeds = split_seed(seed, self.num_samples)
        samples = [tf.math.l2_normalize(self.drop(x, training=True, seed=one), axis=-1) for one in seeds]
        return tf.add_n(samples) / self.num_samples

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "lags": list(self.lags),
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "num_samples": self.num_samples,
            "temperature": self.start_temperature,
            "seed": self.seed,
        }
