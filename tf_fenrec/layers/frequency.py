"""A learned rescaling of high frequencies over time (BSARec)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.layers.dropout import StatelessDropout


def low_pass_matrix(length: int, cutoff: int) -> np.ndarray:
    """float64 [L, L], the projection of a sequence onto its cutoff // 2 + 1 lowest frequencies.

    What an orthonormal real Fourier transform, zeros from there on, and the inverse transform do, as one matrix.
    """
    spectrum = np.fft.rfft(np.eye(length), axis=0, norm="ortho")
    spectrum[cutoff // 2 + 1 :] = 0
    return np.fft.irfft(spectrum, n=length, axis=0, norm="ortho")


@keras.saving.register_keras_serializable("tf_fenrec")
class FrequencyLayer(keras.layers.Layer):
    """y = LayerNorm(Dropout(low + beta (x - low)) + x), beta = b^2 for each channel, low the low frequencies of x.

    Padding takes part, and earlier tokens hear later ones: for encoders whose last token alone is read.

    Args:
        length: int. L, tokens in a row.
        cutoff: int. c; c // 2 + 1 frequencies are low.
        dropout: float. Rate before the residual. Defaults to 0.5.
        seed: int. Of b's initialisation, standard normal. Defaults to 0.

    Call arguments:
        x: [R, L, D].
        training, seed: see `StatelessDropout`.

    Reference:
        - Shin et al., AAAI 2024, arXiv 2312.10325.
    """

    def __init__(self, length: int, cutoff: int, dropout: float = 0.5, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length
        self.cutoff = cutoff
        self.dropout = dropout
        self.seed = seed
        self.matrix = low_pass_matrix(length, cutoff)

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        self.root_beta = self.add_weight(
            name="root_beta", shape=(x_shape[-1],), initializer=keras.initializers.RandomNormal(0, 1, seed=self.seed)
        )
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype_policy, name="norm")
        self.norm.build(x_shape)
        self.drop = StatelessDropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self.built = True

    def call(self, x: tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None) -> tf.Tensor:
        low = tf.einsum("ts,rsd->rtd", tf.constant(self.matrix, x.dtype), x)
        beta = tf.cast(tf.convert_to_tensor(self.root_beta), x.dtype) ** 2
        return self.norm(self.drop(low + beta * (x - low), training=training, seed=seed) + x)

    def get_config(self) -> dict[str, Any]:
        values = {"length": self.length, "cutoff": self.cutoff, "dropout": self.dropout, "seed": self.seed}
        return super().get_config() | values
