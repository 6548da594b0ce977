"""The recommendation loss."""

from __future__ import annotations

import tensorflow as tf


def soft_label_cross_entropy(
    representations: tf.Tensor, item_table: tf.Tensor, label_ids: tf.Tensor, label_weights: tf.Tensor
) -> tf.Tensor:
    """Soft-label categorical cross-entropy over all rows of the item table (Eq. 3 and 8), mean over the batch.

    -sum_v y_v log softmax(h . E^T)_v = logsumexp(h . E^T) - sum_k w_k h . e_k, as the weights sum to 1: the dense
    [B, V] label is never made.

    Args:
        representations: [B, D], h.
        item_table: [V + 2, D], E.
        label_ids: int32 [B, 3], items of the time-dependent soft label; an item may repeat, its weights add up.
        label_weights: [B, 3], summing to 1 in each row.
    """
    scores = tf.cast(tf.matmul(representations, item_table, transpose_b=True), accumulation(representations))
    labels = tf.cast(tf.gather(item_table, label_ids), scores.dtype)  # [B, 3, D]
    label_scores = tf.einsum("bd,bkd->bk", tf.cast(representations, scores.dtype), labels)
    weights = tf.cast(label_weights, scores.dtype)
    return tf.reduce_mean(tf.reduce_logsumexp(scores, axis=1) - tf.reduce_sum(weights * label_scores, axis=1))


def accumulation(x: tf.Tensor) -> tf.DType:
    """The type sums over many terms are taken in: float32 for half precision, else the tensor's own."""
    return tf.float32 if x.dtype.size < 4 else x.dtype
