"""A linear recurrent unit: a diagonal complex recurrence, computed for all tokens at once."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.layers.dropout import StatelessDropout

SMALLEST, GREATEST = 0.8, 0.99  # radii of the ring that the eigenvalues start in


def ring(u1: np.ndarray, u2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log nu, log theta and log gamma of eigenvalues exp(-nu + i theta), uniform on a ring.

    Args:
        u1, u2: [H], uniform from 0 to 1: their place between the squared radii, and their angle.
    """
    squared = u1 * (GREATEST**2 - SMALLEST**2) + SMALLEST**2
    nu = -0.5 * np.log(squared)
    return np.log(nu), np.log(2 * math.pi * u2), np.log(np.sqrt(1 - np.exp(-2 * nu)))


def linear_recurrence(
    real: tf.Tensor, imaginary: tf.Tensor, nu: tf.Tensor, theta: tf.Tensor, runs: tf.Tensor, longest: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """h_t = u_t + exp(-nu + i theta) h_{t-1} within runs of equal numbers, for all t in log2 T rounds.

    After a round of stride s, h_t holds the last 2 s tokens' part: h_t += lambda^s h_{t-s}, where both belong to one
    run.

    Args:
        real, imaginary: [R, T, H], u.
        nu, theta: [H].
        runs: int32 [R, T], from 0, which run a token belongs to; a run is one stretch of tokens.
        longest: tokens of a run, at most.

    Returns:
        [R, T, H] real and imaginary parts of h.
    """
    tokens = tf.shape(real)[1]

    def earlier(x: tf.Tensor, stride: int, fill: int = 0) -> tf.Tensor:
        """x of `stride` tokens before."""
        return tf.pad(x, [[0, 0], [stride, 0], *[[0, 0]] * (len(x.shape) - 2)], constant_values=fill)[:, :tokens]

    stride = 1
    while stride < longest:
        decay = tf.exp(-nu * stride)
        power_real, power_imaginary = decay * tf.cos(theta * stride), decay * tf.sin(theta * stride)
        together = tf.cast(runs == earlier(runs, stride, -1), real.dtype)[..., None]
        before_real, before_imaginary = earlier(real, stride) * together, earlier(imaginary, stride) * together
        real, imaginary = (
            real + power_real * before_real - power_imaginary * before_imaginary,
            imaginary + power_real * before_imaginary + power_imaginary * before_real,
        )
        stride *= 2
    return real, imaginary


@keras.saving.register_keras_serializable("tf_fenrec")
class LinearRecurrentUnit(keras.layers.Layer):
    """y = LayerNorm(Dropout(Re(W_out h + b_out)) + x), h the recurrence of gamma (W_in x + b_in), W complex, to 2 D.

    The recurrence is computed in float32 at least, whatever the layer's precision.

    Args:
        longest: int. Tokens of a sequence, at most.
        dropout: float. Defaults to 0.2.
        seed: int. Of the initialisation. Defaults to 0.

    Call arguments:
        x: [R, T, D].
        runs: int32 [R, T], see `linear_recurrence`.
        training, seed: see `StatelessDropout`.

    Reference:
        - Orvieto et al., ICML 2023 (LRU), as in LRURec (Yue et al., WSDM 2024, arXiv 2310.02367).
    """

    def __init__(self, longest: int, dropout: float = 0.2, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest
        self.dropout = dropout
        self.seed = seed

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        dim = x_shape[-1]
        assert dim is not None
        units = 2 * dim
        rng = np.random.default_rng(self.seed)
        nu, theta, gamma = ring(*rng.uniform(1e-6, 1, (2, units)))

        def start(values: np.ndarray) -> Any:
            return lambda shape, dtype: keras.ops.convert_to_tensor(values, dtype=dtype)

        def weight(name: str, shape: tuple[int, ...], number: int) -> keras.Variable:
            # Biases too.
            spread = keras.initializers.TruncatedNormal(0.0, 0.02, seed=self.seed + number)
            return self.add_weight(name=name, shape=shape, initializer=spread)

        self.nu_log = self.add_weight(name="nu_log", shape=(units,), initializer=start(nu))
        self.theta_log = self.add_weight(name="theta_log", shape=(units,), initializer=start(theta))
        self.gamma_log = self.add_weight(name="gamma_log", shape=(units,), initializer=start(gamma))
        self.in_real = weight("in_real", (dim, units), 1)
        self.in_imaginary = weight("in_imaginary", (dim, units), 2)
        self.in_bias_real = weight("in_bias_real", (units,), 3)
        self.in_bias_imaginary = weight("in_bias_imaginary", (units,), 4)
        self.out_real = weight("out_real", (units, dim), 5)
        self.out_imaginary = weight("out_imaginary", (units, dim), 6)
        self.out_bias = weight("out_bias", (dim,), 7)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")
        self.norm.build(x_shape)
        self.drop = StatelessDropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self.built = True

    def call(
        self, x: tf.Tensor, runs: tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        dtype = self.variable_dtype

        def full(variable: keras.Variable) -> tf.Tensor:
            return tf.cast(tf.convert_to_tensor(variable), dtype)

        inputs, scale = tf.cast(x, dtype), tf.exp(full(self.gamma_log))
        real = (tf.einsum("rtd,dh->rth", inputs, full(self.in_real)) + full(self.in_bias_real)) * scale
        imaginary = (tf.einsum("rtd,dh->rth", inputs, full(self.in_imaginary)) + full(self.in_bias_imaginary)) * scale
        nu, theta = tf.exp(full(self.nu_log)), tf.exp(full(self.theta_log))
        real, imaginary = linear_recurrence(real, imaginary, nu, theta, runs, self.longest)
        y = tf.einsum("rth,hd->rtd", real, full(self.out_real))
        y += full(self.out_bias) - tf.einsum("rth,hd->rtd", imaginary, full(self.out_imaginary))
        return self.norm(self.drop(tf.cast(y, x.dtype), training=training, seed=seed) + x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"longest": self.longest, "dropout": self.dropout, "seed": self.seed}
