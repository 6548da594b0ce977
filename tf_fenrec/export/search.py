"""The best items of a user among the whole catalogue, inside the served graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from tf_fenrec.errors import InputError

BLOCK = 128
"""Columns of which the first stage of `best_columns` keeps the maximum; tables have a multiple of it as rows."""

LIST = 32
"""Rows of a list of `ListSearch`: the shorter, the fewer items that don't matter are scored; a divisor of `BLOCK`."""

CLUSTER = 64
"""Items of a cluster of `list_order`, about."""

WIDTHS = 3.0
"""Standard deviations that the best item of a list is thought to be above its mean."""

TARGET = 0.99
"""Share of the 20 best items that `ListSearch` has to find."""

MOST = 128
"""Of more items `ListSearch` would find a smaller share: it finds them exactly."""


class ExactSearch:
    """Scores every item.

    Args:
        table: float [R, D], R a multiple of `BLOCK`: item i is row i, and all other rows can't be found.
        num_items: V.

    Attributes:
        table: as given.
        largest: numbers a user needs in the largest tensor.
    """

    def __init__(self, table: tf.Variable, num_items: int) -> None:
        self.table = table
        self._num_items = num_items
        self.largest = int(table.shape[0])

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """The rows of the table where int32 `items` are, of their shape; 0 for 0."""
        return items

    def scores(self, users: tf.Tensor) -> tf.Tensor:
        """[B, R] scores of every row of the table."""
        return tf.matmul(users, tf.cast(tf.convert_to_tensor(self.table), tf.float32), transpose_b=True)

    def best(self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The k best items of each user; of equals that with the lowest number comes first.

        Args:
            users: float32 [B, D].
            excluded: int32 [B, E], items that can't be found; 0 is none.
            k: int32 scalar, at most V.

        Returns:
            scores float32 [B, k], descending, -inf where no item is left, and items int32 [B, k].
        """
        return best_columns(hide(self.scores(users), self.hidden(excluded)), k)

    def hidden(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 [B, E] `rows` and all those without an item."""
        never = [0, *range(self._num_items + 1, self.table.shape[0])]
        return tf.concat([tf.broadcast_to(never, [tf.shape(rows)[0], len(never)]), rows], axis=1)


class GivenScores:
    """Takes scores for users: of models that have no vectors.

    Args:
        rows: R, a multiple of `BLOCK`.
        num_items: V.
    """

    table: tf.Variable | None = None

    def __init__(self, rows: int, num_items: int) -> None:
        self._num_items = num_items
        self.largest = rows

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """As in `ExactSearch`."""
        return items

    def scores(self, users: tf.Tensor) -> tf.Tensor:
        """As in `ExactSearch`."""
        return users

    def best(self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As in `ExactSearch`."""
        never = [0, *range(self._num_items + 1, self.largest)]
        columns = tf.concat([tf.broadcast_to(never, [tf.shape(excluded)[0], len(never)]), excluded], axis=1)
        return best_columns(hide(users, columns), k)


class ListSearch:
    """Scores the items of the most promising lists only (an inverted file: IVF).

    A list is `LIST` neighbouring rows of the table, into which `list_order` puts similar items. Its promise is the
    score of its mean vector plus `WIDTHS` times the spread of its items: what the best of them may reach. Exact is the
    search for more than `MOST` items, and where much of what the lists hold is excluded: for a user with fewer than k
    items left there, or with a quarter of them gone.

    Args:
        table: float [R, D], R a multiple of `BLOCK`.
        order: int [V], the item of row i + 1 at position i.
        probes: how many lists are scored for a user.

    """

    def __init__(self, table: tf.Variable, order: np.ndarray, probes: int) -> None:
        size = int(table.shape[0])
        self.table = table
        self._exact = ExactSearch(table, len(order))
        self.probes = probes
        items = np.zeros(size, np.int32)
        items[1 : len(order) + 1] = order
        rows = np.zeros(len(order) + 1, np.int32)
        rows[order] = np.arange(1, len(order) + 1)
        self._items = tf.Variable(items, trainable=False)
        self._rows = tf.Variable(rows, trainable=False)
        self._lists = tf.Variable(_list_vectors(np.asarray(table), items > 0), trainable=False)  # [R / LIST, D + 1]

    @property
    def largest(self) -> int:
        """Numbers a user needs in the largest tensor."""
        return max(self.table.shape[0], self.probes * LIST * self.table.shape[1])

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """As in `ExactSearch`."""
        return tf.gather(self._rows, items)

    def scores(self, users: tf.Tensor) -> tf.Tensor:
        """As in `ExactSearch`."""
        return self._exact.scores(users)

    def best(self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As in `ExactSearch`, except that of equals any may come first."""
        rows = self.rows(excluded)

        def exact() -> tuple[tf.Tensor, tf.Tensor]:
            return self._exact.best(users, rows, k)

        def probed() -> tuple[tf.Tensor, tf.Tensor]:
            scores, best, gone = self._best_probed(users, rows, k)
            enough = tf.reduce_all(scores > -float("inf")) & tf.reduce_all(4 * gone <= self.probes * LIST)
            return tf.cond(enough, lambda: (scores, best), exact)

        scores, best = tf.cond(k <= min(MOST, self.probes * LIST), probed, exact)
        return scores, tf.gather(self._items, best)

    def _best_probed(
        self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores and rows [B, k], the best of the probed lists without the `excluded`, and how many those are [B]."""
        count, width = self._lists.shape
        batch = tf.shape(users)[0]
        long = tf.concat([users, WIDTHS * tf.norm(users, axis=1, keepdims=True)], axis=1)
        lists = tf.math.top_k(tf.matmul(long, self._lists, transpose_b=True), self.probes, sorted=False).indices
        vectors = tf.gather(
            tf.reshape(tf.convert_to_tensor(self.table), [count, LIST * (width - 1)]), lists
        )  # [B, P, LIST * D]
        vectors = tf.cast(tf.reshape(vectors, [batch, self.probes * LIST, width - 1]), tf.float32)
        scores = tf.squeeze(tf.matmul(users[:, None, :], vectors, transpose_b=True), axis=1)  # [B, P * LIST]
        # Where each list is among the probed ones, to find the excluded rows in them; the rest go to a last column.
        probe = tf.broadcast_to(tf.range(self.probes), [batch, self.probes])
        place = tf.fill([batch, count], self.probes)
        cells = tf.stack([tf.broadcast_to(tf.range(batch)[:, None], [batch, self.probes]), lists], axis=2)
        place = tf.tensor_scatter_nd_update(place, tf.reshape(cells, [-1, 2]), tf.reshape(probe, [-1]))
        hidden = self._exact.hidden(excluded)
        columns = tf.gather(place, hidden // LIST, batch_dims=1) * LIST + hidden % LIST
        columns = tf.minimum(columns, self.probes * LIST)
        gone = tf.math.count_nonzero(columns < self.probes * LIST, axis=1, dtype=tf.int32)
        scores = hide(tf.pad(scores, [[0, 0], [0, 1]]), columns)[:, :-1]
        best = tf.math.top_k(scores, k)
        rows = tf.gather(lists, best.indices // LIST, batch_dims=1) * LIST + best.indices % LIST
        return best.values, rows, gone


def list_order(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """The items (from 1) of `vectors` [V, D] in an order in which neighbours are similar: int [V].

    Two levels of k-means; in a cluster of the first, those of the second follow each other along its main direction.
    """
    clusters = max(1, round((len(vectors) / CLUSTER) ** 0.5))
    parts = []
    # One OpenMP thread: several add up their sums in the order they finish, and two exports would differ.
    with threadpool_limits(limits=1, user_api="openmp"):
        coarse = MiniBatchKMeans(clusters, batch_size=4096, n_init=1, max_iter=20, random_state=seed)
        cluster_of = coarse.fit_predict(vectors)
        for cluster in range(clusters):
            members = np.flatnonzero(cluster_of == cluster)
            count = round(len(members) / CLUSTER)
            if count > 1:
                fine = KMeans(count, init="random", n_init=1, max_iter=8, random_state=seed).fit(vectors[members])
                centroids = fine.cluster_centers_ - fine.cluster_centers_.mean(axis=0)
                along = centroids @ np.linalg.svd(centroids, full_matrices=False)[2][0]
                members = members[np.argsort(along[fine.labels_], kind="stable")]
            parts.append(members)
    return np.concatenate(parts) + 1


def enough_lists(
    table: tf.Variable, order: np.ndarray, users: np.ndarray, seen: np.ndarray
) -> tuple[ListSearch, dict[str, Any]]:
    """The search with as many lists as find the 20 best items of users, and what is to know of it.

    Half of the users decide how many lists; the recall that is told is that of the others.

    Args:
        table, order: of `ListSearch`.
        users: float32 [N, D].
        seen: int32 [N, T], items that they are not to get; 0 is none.

    Raises:
        InputError: if a sixteenth of the items isn't enough; exact search is then about as fast.
    """
    received = "too few for lists"
    search = ListSearch(table, order, probes=8)
    if search.probes * LIST * 16 <= len(order):
        rows = np.zeros(len(order) + 1, np.int32)
        rows[order] = np.arange(1, len(order) + 1)
        true = order[_found(ExactSearch(table, len(order)), users, rows[seen]) - 1]
    while search.probes * LIST * 16 <= len(order):
        found = _found(search, users, seen)
        recall, told = (_recall(found[half::2], true[half::2], 20) for half in (0, 1))
        if recall >= TARGET + 0.002 and told >= TARGET:
            facts = {"lists": -(-len(order) // LIST), "rows_of_a_list": LIST, "probes": search.probes}
            return search, facts | {"recall@20": told, "recall@100": _recall(found[1::2], true[1::2], 100)}
        received = f"recall@20 {recall:.3f}"
        search.probes += search.probes // 2
    raise InputError(
        f'`index` should be "exact" for these items: a sixteenth of them should hold {TARGET:.0%} of the 20 best. '
        f"Received: {len(order)} items, {received}"
    )


def _found(search: ExactSearch | ListSearch, users: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """int [N, 100], the items of each user."""
    starts = range(0, len(users), 32)
    parts = [(tf.constant(users[start : start + 32]), tf.constant(excluded[start : start + 32])) for start in starts]
    return np.concatenate([search.best(*part, tf.constant(100))[1].numpy() for part in parts])


def _recall(found: np.ndarray, true: np.ndarray, k: int) -> float:
    """Share of the first k of `true` [N, K] that are among the first k of `found`."""
    return float(np.mean([np.isin(true[row, :k], found[row, :k]).mean() for row in range(len(true))]))


def _list_vectors(table: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """float32 [R / LIST, D + 1], the mean of the items of each list, and how far they spread around it."""
    lists = table.reshape(-1, LIST, table.shape[1]).astype(np.float32)
    taken = taken.reshape(-1, LIST, 1)
    count = np.maximum(taken.sum(axis=1), 1)
    mean = (lists * taken).sum(axis=1) / count
    variance = (((lists - mean[:, None]) * taken) ** 2).sum(axis=1) / count
    return np.concatenate([mean, np.sqrt(variance.mean(axis=1, keepdims=True))], axis=1).astype(np.float32)


def hide(scores: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """`scores` [B, R] with -inf at the `columns` int32 [B, E] of each row, in place where TensorFlow can."""
    row = tf.broadcast_to(tf.range(tf.shape(columns)[0])[:, None], tf.shape(columns))
    cells = tf.reshape(tf.stack([row, columns], axis=2), [-1, 2])
    return tf.tensor_scatter_nd_update(scores, cells, tf.fill(tf.shape(cells)[:1], -float("inf")))


def best_columns(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.math.top_k` of [B, R], R a multiple of `BLOCK`, in two stages where k is small.

    The k best columns are in the k blocks with the best maxima: each of those has a column that is better than all of
    any other block (or equal and further left, as ties go to the lower number in both stages).

    One sort of all scores takes as long for one user of up to 100,000 items, and up to twice as long beyond
    (benchmarks/topk.py); for more than a quarter of the blocks the second stage would copy much of the scores.
    """
    count = scores.shape[1] // BLOCK

    def two_stages() -> tuple[tf.Tensor, tf.Tensor]:
        blocks = tf.reshape(scores, [-1, count, BLOCK])
        chosen = tf.sort(tf.math.top_k(tf.reduce_max(blocks, axis=2), k, sorted=False).indices, axis=1)  # [B, k]
        kept = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [tf.shape(scores)[0], k * BLOCK])
        best = tf.math.top_k(kept, k)
        block = tf.gather(chosen, best.indices // BLOCK, batch_dims=1)
        return best.values, block * BLOCK + best.indices % BLOCK

    def plain() -> tuple[tf.Tensor, tf.Tensor]:
        best = tf.math.top_k(scores, k)
        return best.values, best.indices

    return tf.cond(4 * k <= count, two_stages, plain)
