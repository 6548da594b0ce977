"""The recommendation loss: exact over the whole catalogue, in one piece or in blocks of items, or sampled."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tf_fenrec.losses.binary import weighted_mean
from tf_fenrec.losses.contrastive import MASKED
from tf_fenrec.losses.retrieval import retrieval_loss

BLOCKED_FROM = 100_000
"""Items from which `soft_label_cross_entropy` works in blocks: slower (docs/PERFORMANCE.md), but a step of 256 examples
holds no gigabyte of scores for a million items."""

BLOCK_ITEMS = 4096


def soft_label_cross_entropy(
    representations: tf.Tensor,
    item_table: tf.Tensor,
    label_ids: tf.Tensor,
    label_weights: tf.Tensor,
    place_weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Soft-label categorical cross-entropy over all rows of the item table (Eq. 3 and 8), mean over the batch.

    -sum_v y_v log softmax(h . E^T)_v = logsumexp(h . E^T) - sum_k w_k h . e_k, as the weights sum to 1: the dense
    [B, V] label is never made.

    Args:
        representations: [B, D], h.
        item_table: [V + 2, D], E.
        label_ids: int32 [B, k], items of a label; an item may repeat, its weights add up.
        label_weights: [B, k], summing to 1 in each row.
        place_weights: [B], of the rows in the mean. Defaults to None, all alike.
    """
    if item_table.shape[0] > BLOCKED_FROM:
        normaliser = blocked_logsumexp(representations, item_table)
    else:
        scores = tf.matmul(representations, item_table, transpose_b=True)
        normaliser = tf.reduce_logsumexp(tf.cast(scores, accumulation(scores)), axis=1)
    labels = tf.gather(item_table, label_ids)  # [B, k, D]
    return weighted_mean(normaliser - _weighted_scores(representations, labels, label_weights), place_weights)


def blocked_logsumexp(representations: tf.Tensor, item_table: tf.Tensor, block_items: int = BLOCK_ITEMS) -> tf.Tensor:
    """logsumexp(h . E^T) over the items, [B], in memory that does not grow with the catalogue.

    Forward, a running maximum and sum over blocks of items; backward, the scores of each block are computed again
    (Wijmans et al. 2025, Cut Cross-Entropy, is the same idea in a GPU kernel). Four matrix products instead of three.

    Args:
        representations: [B, D], h.
        item_table: [V + 2, D], E.
        block_items: scores held at a time, for each example.
    """
    items, dim = item_table.shape
    block_items = min(block_items, items)
    blocks = -(-items // block_items)
    dtype = accumulation(representations)

    def block(h: tf.Tensor, table: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The block's rows (their numbers and vectors), scores, and which of its rows an earlier block had already."""
        begin = tf.minimum(number * block_items, items - block_items)  # all blocks have one shape, so the last overlaps
        rows = begin + tf.range(block_items)
        vectors = tf.slice(table, [begin, 0], [block_items, dim])
        scores = tf.cast(tf.matmul(h, vectors, transpose_b=True), dtype)
        return rows, vectors, scores, rows < number * block_items

    @tf.custom_gradient
    def logsumexp(h: tf.Tensor, table: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        def add(number: tf.Tensor, maximum: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            _, _, scores, repeated = block(h, table, number)
            scores = tf.where(repeated, tf.cast(-float("inf"), dtype), scores)
            higher = tf.maximum(maximum, tf.reduce_max(scores, axis=1))
            total = total * tf.exp(maximum - higher) + tf.reduce_sum(tf.exp(scores - higher[:, None]), axis=1)
            return number + 1, higher, total

        examples = tf.shape(h)[:1]
        begin = (0, tf.fill(examples, tf.cast(-float("inf"), dtype)), tf.zeros(examples, dtype))
        _, maximum, total = tf.while_loop(lambda number, *_: number < blocks, add, begin)
        value = maximum + tf.math.log(total)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            def add(number: tf.Tensor, dh: tf.Tensor, dtable: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
                rows, vectors, scores, repeated = block(h, table, number)
                share = tf.exp(scores - value[:, None]) * upstream[:, None]
                # Rows that repeat are written twice with the same gradient, and count once in that of h.
                update = tf.matmul(tf.cast(share, h.dtype), h, transpose_a=True)
                dtable = tf.tensor_scatter_nd_update(dtable, rows[:, None], update)
                share = tf.cast(tf.where(repeated, tf.zeros([], dtype), share), h.dtype)
                return number + 1, dh + tf.cast(tf.matmul(share, vectors), dtype), dtable

            begin = (0, tf.zeros(tf.shape(h), dtype), tf.zeros_like(table))
            _, dh, dtable = tf.while_loop(lambda number, *_: number < blocks, add, begin)
            return [tf.cast(dh, h.dtype), dtable]

        return value, gradient

    return logsumexp(representations, item_table)


def sampled_soft_label_cross_entropy(
    representations: tf.Tensor,
    item_table: tf.Tensor,
    label_ids: tf.Tensor,
    label_weights: tf.Tensor,
    sampled_ids: tf.Tensor,
    expected_counts: tf.Tensor,
    place_weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """`soft_label_cross_entropy` with the sum over all items estimated from the batch's labels and a sample.

    The candidates are the same for every example, and every example sums over its own labels and the candidates that
    are none of them. With the logQ correction (Yi et al. 2019), which subtracts from a score the log of how often its
    item is expected among the candidates, that sum is an unbiased estimate of the sum over the catalogue.

    Args:
        representations: [B, D], h.
        item_table: [V + 2, D], E.
        label_ids: int32 [B, k]; label_weights: [B, k], as in `soft_label_cross_entropy`.
        sampled_ids: int32 [S], items drawn from any distribution.
        expected_counts: [k B + S], how often each candidate (the labels, example after example, then the sample) is
            expected among those the other examples and the sample bring.
        place_weights: [B], as in `soft_label_cross_entropy`.
    """
    dtype = accumulation(representations)
    label_ids, label_weights = _merge_repeated(label_ids, tf.cast(label_weights, dtype))
    rows, labels = tf.unstack(tf.shape(label_ids))
    candidate_ids = tf.concat([tf.reshape(label_ids, [-1]), sampled_ids], axis=0)
    own = tf.repeat(tf.eye(rows, dtype=tf.bool), labels, axis=1)  # [B, k B]
    own = tf.pad(own, [[0, 0], [0, tf.size(sampled_ids)]])
    a_label = tf.reduce_any(label_ids[:, :, None] == candidate_ids, axis=1)  # [B, k B + S]
    counted = (own | ~a_label) & (candidate_ids > 0)
    expected_counts = tf.cast(expected_counts, dtype)

    def loss(scores: tf.Tensor) -> tf.Tensor:
        column = tf.range(rows)[:, None] * labels + tf.range(labels)
        # The task divided e^score by how often it expects an item, but labels are certain, not sampled.
        certain = tf.math.log(tf.reshape(expected_counts[: rows * labels], [rows, labels]))
        exists = label_ids > 0
        own_scores = tf.where(exists, tf.gather(scores, column, batch_dims=1) + certain, MASKED)
        index = tf.stack([tf.broadcast_to(tf.range(rows)[:, None], [rows, labels]), column], axis=2)
        logits = tf.tensor_scatter_nd_update(tf.where(counted, scores, MASKED), index, own_scores)
        positive = tf.reduce_sum(tf.where(exists, label_weights * own_scores, 0), axis=1)
        return weighted_mean(tf.reduce_logsumexp(logits, axis=1) - positive, place_weights)

    return retrieval_loss(
        loss,
        tf.cast(representations, dtype),
        tf.cast(tf.gather(item_table, candidate_ids), dtype),
        # The task subtracts the log of a probability. All scores move by the log of the largest count: no loss does.
        candidate_sampling_probability=expected_counts / tf.reduce_max(expected_counts),
    )


def _merge_repeated(ids: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`label_ids` and `label_weights` where an item that repeats stands once, with its weights added up, and else 0."""
    same = ids[:, :, None] == ids[:, None, :]  # [B, 3, 3]
    first = tf.reduce_all(~tf.linalg.band_part(same, -1, 0) | tf.eye(ids.shape[1], dtype=tf.bool), axis=2)  # [B, 3]
    weights = tf.reduce_sum(tf.where(same, weights[:, None, :], 0), axis=2)
    return tf.where(first, ids, 0), tf.where(first, weights, 0)


def _weighted_scores(representations: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[B], sum_k w_k h . e_k."""
    dtype = accumulation(representations)
    scores = tf.einsum("bd,bkd->bk", tf.cast(representations, dtype), tf.cast(labels, dtype))
    return tf.reduce_sum(tf.cast(weights, dtype) * scores, axis=1)


def accumulation(x: tf.Tensor) -> tf.DType:
    """The type sums over many terms are taken in: float32 for half precision, else the tensor's own."""
    return tf.float32 if x.dtype.size < 4 else x.dtype
