"""How far two distributions over items are from each other."""

from __future__ import annotations

import tensorflow as tf

from tf_fenrec.losses.binary import weighted_mean


def symmetric_divergence(scores1: tf.Tensor, scores2: tf.Tensor, place_weights: tf.Tensor | None = None) -> tf.Tensor:
    """Half the sum of both Kullback-Leibler divergences of the softmaxes of two score matrices, the mean over places.

    Args:
        scores1, scores2: [P, V].
        place_weights: [P], 0 where a place doesn't count. Defaults to None, all count alike.

    Reference:
        - Zhou et al., TOIS 2023 (MVS).
    """
    log1, log2 = tf.nn.log_softmax(scores1), tf.nn.log_softmax(scores2)
    # KL(1|2) + KL(2|1) = sum (p1 - p2) (log p1 - log p2)
    each = 0.5 * tf.reduce_sum((tf.exp(log1) - tf.exp(log2)) * (log1 - log2), axis=1)
    return weighted_mean(each, place_weights)
