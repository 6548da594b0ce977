"""Dropout whose mask is a function of a seed."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.randomness import random_bits


@keras.saving.register_keras_serializable("tf_fenrec")
class StatelessDropout(keras.layers.Layer):
    """Dropout with a counter-based generator: fast under XLA, and repeatable from the seed alone.

    Args:
        rate: fraction of the inputs set to zero; the others are scaled by 1 / (1 - rate).

    Call arguments:
        inputs: tensor of any shape.
        training: drop only when true.
        seed: int32 [2], what the mask is a function of. Without one, a new seed is drawn at each call from a Keras
            `SeedGenerator`.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be at least 0 and below 1. Received: rate={rate}")
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs: tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        if seed is None:
            seed = tf.cast(self.seed_generator.next(), tf.int32)
        kept = random_bits(tf.shape(inputs), seed) >= tf.constant(round(self.rate * 2**32), tf.uint32)
        return tf.where(kept, inputs / (1 - self.rate), 0)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate}
