"""Random numbers as a function of a seed, in a few operations that XLA fuses into whatever uses them.

A seed is int32 [2]. Random bits are an integer hash of each element's number and the seed, of the "lowbias32" family
(C. Wellons, Prospecting for Hash Functions): a bijection of the 32-bit integers, a dozen operations. With TensorFlow's
Philox dropout the encoder's two passes took more than twice as long.
"""

from __future__ import annotations

import math

import tensorflow as tf


def random_bits(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint32 random bits of a shape."""
    number = tf.cast(tf.range(tf.reduce_prod(shape)), tf.uint32)
    low, high = tf.unstack(tf.bitcast(tf.cast(seed, tf.int32), tf.uint32))
    offset = _hash(low + _hash(high + 0x9E3779B9))
    # Each seed strides through the integers at a pace of its own. With the same pace two seeds may visit the same ones,
    # and the bits of one would be a permutation of the other's.
    stride = tf.bitwise.bitwise_or(_hash(offset + 0x85EBCA6B), tf.constant(1, tf.uint32))
    return tf.reshape(_hash(number * stride + offset), shape)


def random_normal(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Standard normal numbers of a shape (Box and Muller 1958), none beyond 5.8."""

    def uniform(seed: tf.Tensor) -> tf.Tensor:
        """Between 0 and 1, neither of them: odd multiples of 2^-24."""
        bits = tf.cast(tf.bitwise.right_shift(random_bits(shape, seed), tf.constant(9, tf.uint32)), tf.int32)
        return (tf.cast(bits, dtype) + 0.5) * 2**-23

    length, angle = split_seed(seed, 2)
    return tf.sqrt(-2 * tf.math.log(uniform(length))) * tf.cos(2 * math.pi * uniform(angle))


def split_seed(seed: tf.Tensor | None, count: int) -> list[tf.Tensor | None]:
    """`count` independent seeds from one; all None from None."""
    return [None] * count if seed is None else tf.unstack(tf.bitcast(random_bits([count, 2], seed), tf.int32))


def _hash(x: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.uint32)))
