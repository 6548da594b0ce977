"""Losses of a positive against sampled negatives, as functions of their scores."""

from __future__ import annotations

import tensorflow as tf


def binary_cross_entropy(
    positives: tf.Tensor, negatives: tf.Tensor, place_weights: tf.Tensor | None = None
) -> tf.Tensor:
    """-log sigmoid(s+) - log(1 - sigmoid(s-)), the mean over places (and over the negatives of each).

    Args:
        positives: [P], the score of each place's label.
        negatives: [P, n], the scores of its negatives.
        place_weights: [P], 0 where a place doesn't count. Defaults to None, all count alike.

    Reference:
        - Kang and McAuley, ICDM 2018 (SASRec), Eq. 6.
    """
    each = tf.math.softplus(-positives) + tf.reduce_mean(tf.math.softplus(negatives), axis=1)
    return weighted_mean(each, place_weights)


def bayesian_personalised_ranking(
    positives: tf.Tensor, negatives: tf.Tensor, place_weights: tf.Tensor | None = None
) -> tf.Tensor:
    """-log(1e-10 + sigmoid(s+ - s-)), the mean over places and the negatives of each.

    Args:
        positives: [P]; negatives: [P, n]; place_weights: [P], as in `binary_cross_entropy`.

    Reference:
        - Rendle et al., UAI 2009, with the constant that RecBole adds.
    """
    each = -tf.math.log(1e-10 + tf.sigmoid(positives[:, None] - negatives))
    return weighted_mean(tf.reduce_mean(each, axis=1), place_weights)


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """The mean of `values` [P] with `weights` [P]; the plain mean without, 0 where all weights are."""
    if weights is None:
        return tf.reduce_mean(values)
    weights = tf.cast(weights, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values), tf.reduce_sum(weights))
