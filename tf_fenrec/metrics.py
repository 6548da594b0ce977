"""Full ranking: the rank of each held-out item among all candidates, and metrics of it."""

from __future__ import annotations

import keras
import tensorflow as tf

CUTOFFS = (5, 10, 20)


def exclude(scores: tf.Tensor, excluded: tf.Tensor, excluded_score: tf.Tensor) -> tf.Tensor:
    """Replaces the scores of excluded (user, item) pairs, in a copy.

    Args: as in `target_ranks`, which doesn't need the copy.
    """
    value = tf.cast(excluded_score, scores.dtype)
    return tf.tensor_scatter_nd_update(scores, excluded, tf.fill([tf.shape(excluded)[0]], value))


def target_ranks(scores: tf.Tensor, targets: tf.Tensor, excluded: tf.Tensor, excluded_score: tf.Tensor) -> tf.Tensor:
    """Rank of each target, from 1: one more than the candidates that score higher, ties broken by the lower id.

    The scores of excluded pairs count as `excluded_score`. They are not written into the matrix, which would copy it:
    what is ahead is counted in one pass over the scores as they are, and then put right for each pair.

    Args:
        scores: float32 or float64 [U, V + 2].
        targets: int32 [U].
        excluded: int32 [P, 2], different pairs of row and item id; the target's own may be one.
        excluded_score: scalar, 0 in the paper's protocol, -inf in the strict one.

    Returns:
        int32 [U].
    """
    users = tf.shape(scores)[0]
    row, item = excluded[:, 0], excluded[:, 1]
    value = tf.cast(excluded_score, scores.dtype)
    own = tf.gather(scores, targets, batch_dims=1)
    own_excluded = tf.math.unsorted_segment_sum(tf.cast(item == tf.gather(targets, row), tf.int32), row, users) > 0
    own = tf.where(own_excluded, value, own)

    def ahead(pair_scores: tf.Tensor) -> tf.Tensor:
        """int32 [P], 1 where the item of a pair would stand before the target of its row with this score."""
        own_score, own_item = tf.gather(own, row), tf.gather(targets, row)
        return tf.cast(~_not_ahead(pair_scores, item, own_score, own_item), tf.int32)

    moved = ahead(value) - ahead(tf.gather_nd(scores, excluded))
    return 1 + _COUNT_AHEAD[scores.dtype](scores, own, targets) + tf.math.unsorted_segment_sum(moved, row, users)


def _count_ahead(scores: tf.Tensor, own: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """int32 [U], how many items stand before one with score `own` [U] and id `targets` [U]."""
    items = tf.range(tf.shape(scores)[1])
    not_ahead = _not_ahead(scores, items[None, :], own[:, None], targets[:, None])
    return tf.shape(scores)[1] - tf.reduce_sum(tf.cast(not_ahead, tf.int32), axis=1)


_COUNT_AHEAD = {
    dtype: tf.function(
        _count_ahead,
        # One trace for all batch sizes: of threads that rank at once, those that wait for a trace count as tracing
        # too, and after a few of them TensorFlow warns the user.
        input_signature=[
            tf.TensorSpec([None, None], dtype),
            tf.TensorSpec([None], dtype),
            tf.TensorSpec([None], tf.int32),
        ],
        jit_compile=True,  # one pass over the scores instead of one for each operation
    )
    for dtype in (tf.float32, tf.float64)
}


def _not_ahead(score: tf.Tensor, item: tf.Tensor, own_score: tf.Tensor, own_item: tf.Tensor) -> tf.Tensor:
    """Which items do not stand before the target. What is neither less nor equal does: a diverged model's NaN puts
    its targets last, not first."""
    return (score < own_score) | ((score == own_score) & (item >= own_item))


def rank_values(ranks: tf.Tensor) -> dict[str, tf.Tensor]:
    """What each metric averages over users, by metric name: float32 [U] each.

    HR@K is 1 when the rank is at most K; NDCG@K is then 1 / log2(rank + 1), as there is one relevant item; MRR is
    1 / rank.
    """
    rank = tf.cast(ranks, tf.float32)
    gain = tf.math.log(2.0) / tf.math.log(rank + 1.0)
    hits = {cutoff: tf.cast(ranks <= cutoff, tf.float32) for cutoff in CUTOFFS}
    values = {f"hr@{cutoff}": hit for cutoff, hit in hits.items()}
    values |= {f"ndcg@{cutoff}": hit * gain for cutoff, hit in hits.items()}
    return values | {"mrr": 1.0 / rank}


def ranking_metrics() -> dict[str, keras.metrics.Mean]:
    """A fresh mean for every metric of `rank_values`."""
    names = [f"{kind}@{cutoff}" for kind in ("hr", "ndcg") for cutoff in CUTOFFS] + ["mrr"]
    return {name: keras.metrics.Mean(name=name) for name in names}
