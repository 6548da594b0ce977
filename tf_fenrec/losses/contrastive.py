"""Contrastive losses as functions of a score matrix and of which of its entries are negatives.

Scores are [N, C], the raw dot products of every query with every candidate; candidate i is the positive of query i. A
mask says which others are its negatives. Scores with constants (enduring hard negatives, noise) come beside them.
Nothing else is needed: no vector of a hard negative is ever made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import tensorflow as tf

from tf_fenrec.errors import InputError, above_zero, one_of

MASKED = -3.4e36  # float32's lowest / 100; e^MASKED is zero

Form = Literal["released", "paper"]


@dataclass(frozen=True)
class InfoNCE:
    """InfoNCE (Eq. 5): cross-entropy of the positive against all in-batch candidates.

    Args:
        temperature: tau_1.

    Raises:
        InputError: when the temperature is not positive.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        above_zero("temperature", self.temperature)

    def __call__(self, scores: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
        """Mean over the N rows.

        Args:
            scores: [N, N], candidate i is the positive of row i.
            negative: bool [N, N], which candidates are a row's negatives.
        """
        logits = scores / self.temperature
        counted = negative | tf.eye(tf.shape(scores)[0], dtype=tf.bool)
        return tf.reduce_mean(_log_sum(logits, counted) - tf.linalg.diag_part(logits))


@dataclass(frozen=True)
class EnduringContrastive:
    """Hard-negative up-weighted contrastive loss with enduring hard negatives and noise negatives (Eq. 9-15).

    Args:
        temperature: tau_1.
        focal_temperature: tau_2 of the up-weighting s(x) = tanh(x / tau_2), which is differentiated.
        margin: m.
        mix: lambda, the anchor's share in an enduring hard negative.
        hard_weight: mu.
        form: "released", the authors' program: negatives (x / tau_1)(s + m), enduring ones too; "paper", Eq. 13-15:
            (x s + m) / tau_1, enduring ones x s / tau_1.

    Raises:
        InputError: naming an argument out of its range.
    """

    temperature: float = 1.0
    focal_temperature: float = 8.0
    margin: float = 0.2
    mix: float = 0.4
    hard_weight: float = 0.1
    form: Form = "released"

    def __post_init__(self) -> None:
        one_of("form", self.form, get_args(Form))
        above_zero("temperature", self.temperature)
        above_zero("focal_temperature", self.focal_temperature)
        if not 0 <= self.mix <= 1:
            raise InputError(f"`mix` must be between 0 and 1. Received: mix={self.mix}")
        if self.hard_weight < 0:
            raise InputError(f"`hard_weight` must be at least 0. Received: hard_weight={self.hard_weight}")

    def __call__(
        self,
        scores: tf.Tensor,
        negative: tf.Tensor,
        unit_scores: tf.Tensor,
        noise_scores: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Mean over the N rows.

        Scores with constants stay out of the matrix, so that no gradient of those constants is computed, and each block
        has its own sum: joining [N, 2 N + P] logits and cutting their gradient took twice as long.

        Args:
            scores: [N, N], candidate i is the positive of row i; candidates are the partners of the rows.
            negative: bool [N, N], which candidates are a row's negatives.
            unit_scores: [N, N], those of the same candidates, unit-normalised and constant.
            noise_scores: [N, P], those of noise negatives, which have weight 1 and are never masked.
        """
        positive = tf.linalg.diag_part(scores)
        positive *= self._upweight(positive) / self.temperature
        # Masking follows up-weighting: tanh(MASKED) + m is negative and would turn a masked score hugely positive.
        sums = [positive, _log_sum(self._negative(tf.where(negative, scores, 0.0)), negative)]
        if noise_scores is not None:
            sums.append(tf.reduce_logsumexp(self._negative(noise_scores), axis=1))
        if self.hard_weight:
            # The positive has no enduring twin.
            hard = self._hard(enduring_hard_scores(unit_scores, self.mix))
            sums.append(_log_sum(hard, negative) + math.log(self.hard_weight))
        return tf.reduce_mean(tf.reduce_logsumexp(tf.stack(sums, axis=1), axis=1) - positive)

    def _upweight(self, x: tf.Tensor) -> tf.Tensor:
        """s(x) = tanh(x / tau_2) of the raw dot product."""
        return tf.tanh(x / self.focal_temperature)

    def _negative(self, x: tf.Tensor) -> tf.Tensor:
        """Up-weighted logit of an in-batch or noise negative (Eq. 13)."""
        if self.form == "released":
            return x / self.temperature * (self._upweight(x) + self.margin)
        return (x * self._upweight(x) + self.margin) / self.temperature

    def _hard(self, x: tf.Tensor) -> tf.Tensor:
        """Up-weighted logit of an enduring hard negative (Eq. 14)."""
        if self.form == "released":
            return self._negative(x)
        return x * self._upweight(x) / self.temperature


def enduring_hard_scores(unit_scores: tf.Tensor, mix: float) -> tf.Tensor:
    """h_a . SG(hard(a, n)) for every anchor a and negative n (Eq. 9-10), without materialising N x N x D.

    With a~, n~ of unit length, c = |lambda a~ + (1 - lambda) n~| and hard(a, n) = (lambda a~ + (1 - lambda) n~)
    |n| / c, h_a . hard = |n| / c (lambda h_a . SG(a~) + (1 - lambda) h_a . SG(n~)), where |n| / c is a constant and
    c^2 = lambda^2 + (1 - lambda)^2 + 2 lambda (1 - lambda) cos(a, n). All of it can be read off the scores.

    Args:
        unit_scores: [N, N], h_a . SG(n~) where column j is the partner of row j, so that row a's own vector is
            column a + N/2 (mod N).
        mix: lambda.

    Returns:
        [N, N], columns in the same order.
    """
    half = tf.shape(unit_scores)[0] // 2
    own = tf.linalg.diag_part(tf.roll(unit_scores, half, axis=1))  # [N], h_a . SG(a~)
    length = tf.stop_gradient(own)  # |h_a|
    cosine = tf.math.divide_no_nan(tf.stop_gradient(unit_scores), length[:, None])
    squared = mix**2 + (1 - mix) ** 2 + 2 * mix * (1 - mix) * cosine
    scale = tf.roll(length, half, axis=0)[None, :] * tf.math.rsqrt(tf.maximum(squared, 1e-12))  # |n| / c
    return scale * (mix * own[:, None] + (1 - mix) * unit_scores)


def _log_sum(logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """log of the sum of e^logits [N, C] where they are `counted`; about `MASKED` where none is."""
    return tf.reduce_logsumexp(tf.where(counted, logits, MASKED), axis=1)
