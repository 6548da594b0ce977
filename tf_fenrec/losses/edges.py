"""Reconstruction of edges among sampled ones."""

from __future__ import annotations

import tensorflow as tf

from tf_fenrec.losses.binary import weighted_mean


def edge_reconstruction(
    positives: tf.Tensor, negatives: tf.Tensor, place_weights: tf.Tensor | None = None, released: bool = False
) -> tf.Tensor:
    """-log of e^s+ / (e^s+ + sum e^s-), the mean over edges.

    Args:
        positives: [P], scores of edges.
        negatives: [P, n], those of pairs that stand for no edges.
        place_weights: [P], 0 where an edge doesn't count. Defaults to None, all count.
        released: the share itself instead of its log, and the sum over edges, with the authors' constants of 1e-8.

    Reference:
        - Ye, Xia and Huang, SIGIR 2023, arXiv 2305.04619, Eq. 10.
    """
    total = tf.reduce_logsumexp(tf.concat([positives[:, None], negatives], axis=1), axis=1)
    if not released:
        return weighted_mean(total - positives, place_weights)
    share = tf.exp(positives) / (tf.exp(total) + 1e-8) + 1e-8
    return -tf.reduce_sum(share if place_weights is None else share * tf.cast(place_weights, share.dtype))
