"""Dropout whose mask is a function of a seed."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


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


def random_bits(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint32 random bits of a shape: an integer hash of each element's number and the seed.

    XLA fuses the dozen integer operations into the loop that uses them, in both passes, so the mask costs no memory
    traffic; with TensorFlow's Philox dropout the encoder's two passes took more than twice as long. The hash is of the
    "lowbias32" family (C. Wellons, Prospecting for Hash Functions): a bijection of the 32-bit integers.
    """
    number = tf.cast(tf.range(tf.reduce_prod(shape)), tf.uint32)
    low, high = tf.unstack(tf.bitcast(tf.cast(seed, tf.int32), tf.uint32))
    return tf.reshape(_hash(tf.bitwise.bitwise_xor(number, _hash(low + _hash(high + 0x9E3779B9)))), shape)


def _hash(x: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.uint32)))


def split_seed(seed: tf.Tensor | None, count: int) -> list[tf.Tensor | None]:
    """`count` independent seeds (int32 [2]) from one; all None from None."""
    if seed is None:
        return [None] * count
    # Without the sign bit: XLA and the kernels split negative seeds differently.
    return tf.unstack(tf.random.split(tf.bitwise.bitwise_and(seed, 0x7FFFFFFF), count))
