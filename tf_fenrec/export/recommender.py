"""The graph that is served: histories of raw ids in, recommendations out. Standard TensorFlow ops only.

Shapes: B rows of a request, T ids of a history, X excluded and A allowed ids, C candidates, K = max(k), V items, D
width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.encoders.calls import encode, user_vectors
from tf_fenrec.export.lookup import IntegerIds, StringIds, line_table
from tf_fenrec.export.search import ExactSearch, GivenScores, ListSearch

Search = ExactSearch | GivenScores | ListSearch

MEANING = {
    "history": 'items of each user in time order, most recent last; "" or 0 anywhere is skipped',
    "k": "how many items to recommend, from 1 to the number of items; the outputs have as many columns as the largest",
    "exclude_seen": "whether to leave out every item of the given history",
    "exclude": 'items never to recommend; "" or 0 is skipped, unknown ids are ignored',
    "allow": 'only these can be recommended, unless all are "" or 0: then all items can',
    "candidates": 'items to score; "" or 0 where there is none',
    "positions": "catalogue numbers of items, from 1 to the number of items",
    "ids": 'raw ids, best first; "" or 0 where there is no candidate left, or beyond the k of the row',
    "scores": "user times item; 0 on fallback rows; -inf where there is no item",
    "names": "readable names of `ids`; the raw id of an item without a name",
    "unknown": "number of ids in the history that the model doesn't know; they are skipped",
    "fallback": "whether the history held no known item: then the most popular items are given",
    "vectors": "vectors whose product is the score of user and item; zeros where there is none",
}
"""What each tensor of the signatures is, for the model card."""

LARGEST = 2**27
"""Numbers in the largest tensor that a request may need: 512 MiB; it bounds the rows of a request."""


class Recommender:
    """Recommends from an encoder, its item embeddings and a vocabulary.

    Args:
        encoder: the layer that maps int32 [B, L], right-aligned and 0-padded, to user vectors [B, D]; it has
            `max_length` (L), and looks items up by their rows in the table of `search`, row 0 padding.
        search: finds items by their vectors.
        vocabulary: of the V items.
        folder: where the vocabulary files are written; they must exist until the graph is saved.

    Attributes:
        tables: the lookup tables of the graph; whoever saves it has to track them.
        max_rows: the most rows B of a request.
        max_positions: the most positions of a request for vectors.
    """

    def __init__(self, encoder: keras.Layer, search: Search, vocabulary: Vocabulary, folder: Path) -> None:
        self._encoder = encoder
        self._search = search
        self._length = encoder.max_length
        self._num_items = vocabulary.num_items
        # Without vectors the scores of all items are made; with, those of a few items are made of their vectors, as
        # long as these are not more numbers than the scores of all.
        self._width = search.table.shape[1] if search.table is not None else search.largest
        self._few = search.table.shape[0] // self._width if search.table is not None else -1
        # The items in order of popularity, and the place of each item in that order.
        popular = np.array(vocabulary.popular, np.int32)
        self._popular = tf.Variable(popular, trainable=False)
        self._place = tf.Variable(np.argsort(popular).astype(np.int32), trainable=False)
        self._ids: StringIds | IntegerIds
        if vocabulary.item_ids is None:
            self._ids = IntegerIds(vocabulary.num_items)
        else:
            self._ids = StringIds(_write_lines(folder / "item_ids.txt", vocabulary.item_ids), self._num_items)
        self._names = None
        if vocabulary.item_names is not None:
            raw_ids = vocabulary.item_ids or range(1, self._num_items + 1)
            # An asset can't hold an empty line.
            names = [name or str(raw) for name, raw in zip(vocabulary.item_names, raw_ids, strict=True)]
            self._names = line_table(_write_lines(folder / "item_names.txt", names), self._num_items)
        self.tables = [*self._ids.tables, *([] if self._names is None else [self._names])]
        # The feed-forward network's hidden layer and the attention of each head.
        encoding = self._length * max(4 * self._width, getattr(encoder, "num_heads", 1) * self._length)
        self.max_rows = max(1, min(4096, LARGEST // max(search.largest, encoding)))
        self.max_positions = LARGEST // self._width

    @property
    def signatures(self) -> dict[str, tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]]:
        """Function and inputs of each signature by name; the first is the default."""
        spec = tf.TensorSpec
        history = spec([None, None], self._ids.dtype, "history")
        signatures: dict[str, tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]] = {
            "recommend": (
                self.recommend,
                [
                    history,
                    spec([None], tf.int32, "k"),
                    spec([None], tf.bool, "exclude_seen"),
                    spec([None, None], self._ids.dtype, "exclude"),
                    spec([None, None], self._ids.dtype, "allow"),
                ],
            ),
            "score": (self.score, [history, spec([None, None], self._ids.dtype, "candidates")]),
        }
        if self._search.table is not None:
            signatures["embed"] = (self.embed, [history])
            signatures["item_vectors"] = (self.item_vectors, [spec([None], tf.int32, "positions")])
        return signatures

    def recommend(
        self, history: tf.Tensor, k: tf.Tensor, exclude_seen: tf.Tensor, exclude: tf.Tensor, allow: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The k best items of each user; `MEANING` describes inputs and outputs.

        Args:
            history: raw ids [B, T].
            k: int32 [B].
            exclude_seen: bool [B].
            exclude: raw ids [B, X].
            allow: raw ids [B, A].

        Returns:
            ids [B, K] of the raw type, scores float32 [B, K], unknown int32 [B], fallback bool [B], and names
            string [B, K] where items have names.

        Raises:
            InvalidArgumentError: when run, for a `k` that is not from 1 to V, and shapes that don't fit.
        """
        [history, k, exclude_seen, exclude, allow] = self._checked(
            {"history": history, "k": k, "exclude_seen": exclude_seen, "exclude": exclude, "allow": allow}
        )
        good = (k >= 1) & (k <= self._num_items)
        rule = f"`k` should be from 1 to {self._num_items}, the number of items. Received:"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(good), [rule, tf.boolean_mask(k, ~good)])]):
            k = tf.identity(k)
        columns = tf.reduce_max(tf.concat([[0], k], axis=0))  # K; 0 if there are no rows
        items, users, unknown, fallback = self._users(history)
        allowed = self._ids.internal(allow)  # [B, A], 0 where padding or unknown
        seen = tf.where(exclude_seen[:, None], items, 0)
        excluded = tf.concat([seen, self._ids.internal(exclude)], axis=1)  # [B, T + X]

        restricted = tf.reduce_any(allow != self._ids.padding, axis=1)
        listed = restricted | fallback

        def whole() -> tuple[tf.Tensor, tf.Tensor]:
            return self._search.best(users, excluded, columns)

        def given() -> tuple[tf.Tensor, tf.Tensor]:
            # As many popular items as are left when all excluded ones are among them.
            popular = self._popular[: tf.minimum(columns + tf.shape(excluded)[1], self._num_items)]
            width = tf.maximum(tf.shape(allowed)[1], tf.where(tf.reduce_all(restricted), 0, tf.size(popular)))
            popular = tf.broadcast_to(_widen(popular[None], width), [tf.shape(allowed)[0], width])
            lists = tf.where(restricted[:, None], _widen(allowed, width), popular)
            return self._best_listed(users, lists, fallback, excluded, columns)

        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            shape = tf.stack([tf.size(k), columns])
            return tf.fill(shape, -float("inf")), tf.zeros(shape, tf.int32)

        some_scores, some = tf.cond(tf.reduce_any(listed), given, nothing)
        scores, best = tf.cond(tf.reduce_all(listed), nothing, whole)
        scores = tf.where(listed[:, None], some_scores, scores)
        scores = tf.where(tf.range(columns) < k[:, None], scores, -float("inf"))
        best = tf.where(scores > -float("inf"), tf.where(listed[:, None], some, best), 0)
        outputs = {
            "ids": self._ids.raw(best),
            "scores": tf.where(fallback[:, None] & (best > 0), 0.0, scores),
            "unknown": unknown,
            "fallback": fallback,
        }
        if self._names is not None:
            outputs["names"] = self._names.lookup(tf.cast(best, tf.int64) - 1)
        return outputs

    def score(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """The scores of given items.

        Args:
            history: raw ids [B, T].
            candidates: raw ids [B, C].

        Returns:
            scores float32 [B, C], unknown int32 [B], fallback bool [B].
        """
        [history, candidates] = self._checked({"history": history, "candidates": candidates})
        _, users, unknown, fallback = self._users(history)
        items = self._ids.internal(candidates)
        scores = tf.where(items > 0, self._scores_of(users, items), -float("inf"))
        return {"scores": scores, "unknown": unknown, "fallback": fallback}

    def embed(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """The vectors of users.

        Args:
            history: raw ids [B, T].

        Returns:
            vectors float32 [B, D], unknown int32 [B], fallback bool [B].
        """
        [history] = self._checked({"history": history})
        _, users, unknown, fallback = self._users(history)
        return {"vectors": users, "unknown": unknown, "fallback": fallback}

    def item_vectors(self, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """The vectors of items, for an index elsewhere.

        Args:
            positions: int32 [N], from 1 to V.

        Returns:
            ids [N] of the raw type and vectors float32 [N, D]; padding and zeros for other positions.
        """
        [positions] = self._checked({"positions": positions}, self.max_positions)
        known = (positions >= 1) & (positions <= self._num_items)
        items = tf.where(known, positions, 0)
        return {"ids": self._ids.raw(items), "vectors": tf.where(known[:, None], self._vectors(items), 0.0)}

    def _checked(self, inputs: dict[str, tf.Tensor], most: int | None = None) -> list[tf.Tensor]:
        """The inputs of a signature, behind assertions that name what has not the shape of its specification."""
        most = most or self.max_rows
        first = next(iter(inputs))
        checked: list[tf.Tensor] = []
        rows: tf.Tensor = None
        for name, value in inputs.items():
            # A server may feed any shape, while TensorFlow takes the specified one for granted: hide that from it.
            unknown = tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(None))
            shape, rank = tf.raw_ops.Shape(input=unknown), len(value.shape)
            rule = f"`{name}` should have {rank} dimension{'s' * (rank > 1)}. Received the shape:"
            with tf.control_dependencies([tf.debugging.Assert(tf.size(shape) == rank, [rule, shape])]):
                own = tf.gather(shape, 0)
            if rows is None:
                rows, right, rule = own, own <= most, f"`{name}` should have at most {most} rows. Received:"
            else:
                right, rule = own == rows, f"`{name}` should have as many rows as `{first}`. Received:"
            with tf.control_dependencies([tf.debugging.Assert(right, [rule, own])]):
                checked.append(tf.identity(value))
        return checked

    def _users(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Items int32 [B, T], user vectors [B, D] (0 on fallback rows), unknown int32 [B] and fallback bool [B]."""
        items = self._ids.internal(history)  # 0 where padding or unknown
        unknown = tf.math.count_nonzero((items == 0) & (history != self._ids.padding), axis=1, dtype=tf.int32)
        recent = self._search.rows(most_recent(items, self._length))
        fallback = tf.reduce_all(items == 0, axis=1)
        users = tf.cast(user_vectors(self._encoder, encode(self._encoder, recent)), tf.float32)
        return items, tf.where(fallback[:, None], 0.0, users), unknown, fallback

    def _vectors(self, items: tf.Tensor) -> tf.Tensor:
        table = tf.convert_to_tensor(self._search.table)
        return tf.cast(tf.gather(table, self._search.rows(items)), tf.float32)

    def _scores_of(self, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Scores [B, C] of int32 `items` [B, C]; anything where they are 0."""
        if self._search.table is None:
            return tf.gather(self._search.scores(users), items, batch_dims=1)
        return tf.cond(
            tf.shape(items)[1] <= self._few,
            lambda: tf.linalg.matvec(self._vectors(items), users),
            lambda: tf.gather(self._search.scores(users), self._search.rows(items), batch_dims=1),
        )

    def _best_listed(
        self, users: tf.Tensor, lists: tf.Tensor, fallback: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and items [B, k], the best of int32 `lists` [B, C]; by popularity on fallback rows."""
        lists = _widen(tf.sort(lists, axis=1), tf.maximum(k, tf.shape(lists)[1]))  # equals: the lowest number first
        repeated = tf.pad(lists[:, 1:] == lists[:, :-1], [[0, 0], [1, 0]])
        good = (lists > 0) & ~repeated & ~_is_in(lists, excluded)
        popularity = -tf.cast(tf.gather(self._place, tf.maximum(lists - 1, 0)), tf.float32)
        scores = tf.where(fallback[:, None], popularity, self._scores_of(users, lists))
        best = tf.math.top_k(tf.where(good, scores, -float("inf")), k)
        return best.values, tf.gather(lists, best.indices, batch_dims=1)


def most_recent(items: tf.Tensor, length: int) -> tf.Tensor:
    """The last `length` non-zero entries of each row of int32 [B, T], right-aligned: [B, length]."""
    later = tf.cumsum(tf.cast(items > 0, tf.int32), axis=1, exclusive=True, reverse=True)
    kept = tf.where((items > 0) & (later < length))  # [n, 2], row and position
    columns = length - 1 - tf.gather_nd(later, kept)
    targets = tf.stack([tf.cast(kept[:, 0], tf.int32), columns], axis=1)
    return tf.scatter_nd(targets, tf.gather_nd(items, kept), [tf.shape(items)[0], length])


def describe(function: Any, bounds: dict[str, list[int]]) -> dict[str, Any]:
    """Names, shapes, dtypes, meanings and bounds of a traced signature, as JSON values."""

    def table(specs: Any) -> dict[str, Any]:
        return {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list(), "meaning": MEANING[name]}
            | ({"bounds": bounds[name]} if name in bounds else {})
            for name, spec in specs
        }

    traced = function.get_concrete_function()
    inputs = [(spec.name, spec) for spec in function.input_signature]
    return {"inputs": table(inputs), "outputs": table(sorted(traced.structured_outputs.items()))}


def _widen(items: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """int32 [B, C] with columns of 0 added or last ones dropped up to `width`."""
    return tf.pad(items[:, :width], [[0, 0], [0, tf.maximum(width - tf.shape(items)[1], 0)]])


def _is_in(items: tf.Tensor, lists: tf.Tensor) -> tf.Tensor:
    """bool [B, C], whether each of int32 `items` [B, C] is in `lists` [B, E] of its row; 0 always is."""
    lists = tf.sort(tf.pad(lists, [[0, 0], [1, 0]]), axis=1)
    place = tf.minimum(tf.searchsorted(lists, items), tf.shape(lists)[1] - 1)
    return tf.gather(lists, place, batch_dims=1) == items


def _write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
