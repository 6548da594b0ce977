"""Finite differences over time, gated: what changed lately (KERec)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.layers.embedding import initializer


def earlier(x: tf.Tensor, segments: tf.Tensor, lag: int) -> tuple[tf.Tensor, tf.Tensor]:
    """x [R, T, D] of `lag` tokens before, 0 where that is another sequence, and bool [R, T, 1], where it isn't."""
    tokens = tf.shape(x)[1]
    before = tf.pad(x, [[0, 0], [lag, 0], [0, 0]])[:, :tokens]
    segment = tf.pad(segments, [[0, 0], [lag, 0]])[:, :tokens]
    same = ((segment == segments) & (segments > 0))[..., None]
    return tf.where(same, before, 0), same


@keras.saving.register_keras_serializable("tf_fenrec")
class FiniteDifferences(keras.layers.Layer):
    """A mixture of x and its first and second differences over some lags, weighed anew for each token.

    For each lag s: v[t] = x[t - s] - x[t] and w[t] = x[t - 2 s] - 2 x[t - s] + x[t], 0 where the sequence doesn't reach
    so far back. The weights are softmax(W2 silu(W1 [x, v.., w..])), W1 to 2 D.

    Args:
        lags: tuple of int.
        seed: int. Of the initialisation. Defaults to 0.

    Call arguments:
        x: [R, T, D].
        segments: int32 [R, T].

    Reference:
        - KERec, as its published program has it.
    """

    def __init__(self, lags: tuple[int, ...], seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lags = tuple(lags)
        self.seed = seed

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        dim, views = x_shape[-1], 1 + 2 * len(self.lags)
        assert dim is not None

        def dense(name: str, units: int, inputs: int, number: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(
                units, kernel_initializer=initializer(self.seed + number), dtype=self.dtype_policy, name=name
            )
            layer.build((None, None, inputs))
            return layer

        self.expand = dense("expand", 2 * dim, views * dim, 0)
        self.weigh = dense("weigh", views, 2 * dim, 1)
        self.built = True

    def call(self, x: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
        views = [x]
        for lag in self.lags:
            once, reached = earlier(x, segments, lag)
            twice, reached_twice = earlier(x, segments, 2 * lag)
            views.append(tf.where(reached, once - x, 0))
            views.append(tf.where(reached_twice, twice - 2 * once + x, 0))
        joined = tf.concat(views, axis=-1)
        weights = tf.nn.softmax(self.weigh(tf.nn.silu(self.expand(joined))))  # [R, T, views]
        return tf.einsum("rtv,rtvd->rtd", weights, tf.stack(views, axis=2))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"lags": list(self.lags), "seed": self.seed}
