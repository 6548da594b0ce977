"""Noise-based negative sampling (the paper's implementation details, after Zhou et al. 2022, DCLR)."""

from __future__ import annotations

import tensorflow as tf

from tf_fenrec.losses.contrastive import MASKED
from tf_fenrec.randomness import random_normal

ASCENT_STEPS = 4
ASCENT_STEP_SIZE = 1e-3


def noise_negatives(view1: tf.Tensor, view2: tf.Tensor, ids: tf.Tensor, portion: int, seed: tf.Tensor) -> tf.Tensor:
    """[portion * B, D] Gaussian vectors moved towards harder ones; constant.

    Args:
        view1, view2: [B, D].
        ids: int [B]; equal ids are false negatives.
        portion: noise vectors per row of the batch.
        seed: int32 [2].
    """
    shape = [portion * tf.shape(view1)[0], view1.shape[-1]]
    noise = random_normal(shape, seed, view1.dtype)
    return ascend_noise(view1, view2, ids, noise)


def ascend_noise(view1: tf.Tensor, view2: tf.Tensor, ids: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Four gradient-ascent steps of length 1e-3 on the InfoNCE-like loss of view1 against [view2 | noise].

    The loss is the mean cross-entropy of logits [view1 . view2^T | view1 . noise^T] with the diagonal as target and
    equal-id entries off it masked. Its gradient in a noise row is, up to a positive factor, the softmax-weighted sum
    of view1, so no tape is needed. A row without gradient becomes the zero vector, as in the released program.

    Args:
        view1, view2: [B, D], constants here.
        ids: int [B].
        noise: [P, D].

    Returns:
        [P, D], constant.
    """
    view1, view2, noise = (tf.stop_gradient(x) for x in (view1, view2, noise))
    rows = tf.shape(view1)[0]
    shown = (ids[:, None] != ids[None, :]) | tf.eye(rows, dtype=tf.bool)
    in_batch = tf.where(shown, tf.matmul(view1, view2, transpose_b=True), MASKED)  # [B, B]
    in_batch_sum = tf.reduce_logsumexp(in_batch, axis=1)  # [B], the same in all steps
    for _ in range(ASCENT_STEPS):
        scores = tf.matmul(view1, noise, transpose_b=True)  # [B, P]
        sums = tf.stack([in_batch_sum, tf.reduce_logsumexp(scores, axis=1)], axis=1)
        share = tf.exp(scores - tf.reduce_logsumexp(sums, axis=1, keepdims=True))  # [B, P]
        gradient = tf.matmul(share, view1, transpose_a=True)  # [P, D]
        length = tf.norm(gradient, axis=1, keepdims=True)
        noise = tf.where(
            length > 0,
            noise + ASCENT_STEP_SIZE * tf.math.divide_no_nan(gradient, length),
            tf.zeros_like(noise),
        )
    return tf.stop_gradient(noise)
