"""What a system's losses read of a training step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_fenrec.encoders.calls import item_vectors, user_vectors
from tf_fenrec.losses import (
    bayesian_personalised_ranking,
    binary_cross_entropy,
    sampled_soft_label_cross_entropy,
    soft_label_cross_entropy,
)

EXAMPLES = "examples"


class Step:
    """A training batch, encoded: the examples and all views in one call of the encoder.

    Args:
        encoder: layer. It made `hidden`.
        groups: names of the groups of B sequences each, the examples first.
        hidden: [S, D], or [R, T, D] when the system reads every token.
        inputs: the batch of sequences.
        targets: see `TrainingBatches`.
        seed: int32 [2], what noise is a function of; dropout has another.

    Attributes:
        size: int32 scalar, B.
        ids: int32 [B], examples of equal ids are no negatives of each other.
        labels: (ids int32 [P, k], weights [P, k]), what is predicted.
        seed: as given.
    """

    def __init__(
        self,
        encoder: Any,
        groups: tuple[str, ...],
        hidden: tf.Tensor,
        inputs: dict[str, tf.Tensor],
        targets: dict[str, tf.Tensor],
        seed: tf.Tensor,
    ) -> None:
        self.encoder = encoder
        self.groups = groups
        self.hidden = hidden
        self.inputs = inputs
        self.targets = targets
        self.seed = seed
        self.ids = targets["ids"]
        self.size = tf.shape(self.ids)[0]
        self.labels = targets["label_ids"], targets["label_weights"]

    @property
    def everywhere(self) -> bool:
        """Whether every token can be read."""
        return self.hidden.shape.rank == 3

    @property
    def item_vectors(self) -> tf.Tensor:
        """[V + 2, D'], in the type the encoder computes in."""
        return tf.cast(item_vectors(self.encoder, training=True), self.hidden.dtype)

    def last(self, group: str = EXAMPLES) -> tf.Tensor:
        """[B, D], a group's vectors at the most recent items, for contrasts.

        In the type of the weights: sums of exponentials of squares of vectors are not for half precision.
        """
        return tf.cast(self._last(group), self.encoder.variable_dtype)

    def tokens(self, group: str = EXAMPLES) -> tf.Tensor:
        """[B, T, D], a group's vectors at all tokens, padding included; only where rows are not packed."""
        rows = self._rows(group)
        return tf.cast(self.hidden[rows], self.encoder.variable_dtype)

    def mean(self, group: str = EXAMPLES) -> tf.Tensor:
        """[B, D], the mean over all tokens of each row, padding included; only where rows are not packed."""
        return tf.reduce_mean(self.tokens(group), axis=1)

    def flat(self, group: str = EXAMPLES) -> tf.Tensor:
        """[B, T D], all tokens of each row, padding included; only where rows are not packed."""
        tokens = self.tokens(group)
        return tf.reshape(tokens, [tf.shape(tokens)[0], tokens.shape[1] * tokens.shape[2]])

    def at_labels(self) -> tf.Tensor:
        """[P, D'], the user vectors that predict the labels."""
        if not self.everywhere:
            return user_vectors(self.encoder, self._last(EXAMPLES))
        flat = tf.reshape(self.hidden, [-1, self.hidden.shape[-1]])
        return user_vectors(self.encoder, tf.gather(flat, self.targets["label_tokens"]))

    @property
    def label_place_weights(self) -> tf.Tensor | None:
        """[P], 1 where there is a label and 0 where the batch is filled up; None where all are labels.

        Where views bring labels, those of each group weigh 1 together.
        """
        if not self.everywhere:
            return None
        there = tf.reduce_sum(self.labels[1], axis=1)
        if "label_groups" not in self.targets:
            return there
        of_group = self.targets["label_groups"]
        counts = tf.math.unsorted_segment_sum(there, of_group, len(self.groups))
        return tf.math.divide_no_nan(there, tf.gather(counts, of_group))

    def cross_entropy(self) -> tf.Tensor:
        """The mean cross-entropy of the labels over the catalogue (Eq. 8), exact or sampled as the batches say."""
        vectors, table, places = self.at_labels(), self.item_vectors, self.label_place_weights
        if "sampled_ids" in self.targets:
            sample = self.targets["sampled_ids"], self.targets["expected_counts"]
            return sampled_soft_label_cross_entropy(vectors, table, *self.labels, *sample, places)
        return soft_label_cross_entropy(vectors, table, *self.labels, places)

    def binary_cross_entropy(self) -> tf.Tensor:
        """The mean binary cross-entropy of the labels and their negatives."""
        return binary_cross_entropy(*self._label_and_negative_scores(), self.label_place_weights)

    def pairwise_ranking(self) -> tf.Tensor:
        """The mean BPR loss of the labels and their negatives."""
        return bayesian_personalised_ranking(*self._label_and_negative_scores(), self.label_place_weights)

    def _label_and_negative_scores(self) -> tuple[tf.Tensor, tf.Tensor]:
        """[P] scores of the (single) labels and [P, n] of their negatives, in full precision."""
        dtype = self.encoder.variable_dtype
        ids = tf.concat([self.labels[0][:, :1], self.targets["negative_ids"]], axis=1)  # [P, 1 + n]
        vectors = tf.cast(tf.gather(self.item_vectors, ids), dtype)
        scores = tf.einsum("pd,pkd->pk", tf.cast(self.at_labels(), dtype), vectors)
        return scores[:, 0], scores[:, 1:]

    def _last(self, group: str) -> tf.Tensor:
        if not self.everywhere:
            return self.hidden[self._rows(group)]
        flat = tf.reshape(self.hidden, [-1, self.hidden.shape[-1]])
        return tf.gather(flat, self.inputs["last"][self._rows(group)])

    def _rows(self, group: str) -> slice:
        number = self.groups.index(group)
        return slice(number * self.size, (number + 1) * self.size)
