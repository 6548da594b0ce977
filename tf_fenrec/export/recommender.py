"""The graph that is served: histories of raw ids in, recommendations out. Standard TensorFlow ops only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.export.lookup import IntegerIds, StringIds, line_table

MEANING = {
    "history": 'items of each user in time order, most recent last; "" or 0 anywhere is skipped',
    "k": "how many items to recommend, from 1 to the number of items",
    "exclude_seen": "whether to leave out every item of the given history",
    "ids": 'recommended raw ids, best first; "" or 0 where there are fewer than k candidates',
    "scores": "user times item, descending; 0 on fallback rows; -inf where there is no candidate left",
    "names": "readable names of `ids`; the raw id of an item without a name",
    "unknown": "number of ids in the history that the model doesn't know; they are skipped",
    "fallback": "whether the history held no known item, so that the most popular items are given",
}
"""What each tensor of the signatures is, for the model card."""


class Recommender:
    """Recommends from an encoder, its item embeddings and a vocabulary.

    Args:
        encoder: the layer that maps int32 [B, L], right-aligned and 0-padded, to user vectors [B, D]; it has
            `max_length` (L) and `item_embeddings` (a variable [V + 2, D], row 0 padding, row V + 1 mask).
        vocabulary: of the V items.
        folder: where the vocabulary files are written; they must exist until the graph is saved.

    Attributes:
        tables: the lookup tables of the graph; whoever saves it has to track them.
    """

    def __init__(self, encoder: keras.Layer, vocabulary: Vocabulary, folder: Path) -> None:
        self._encoder = encoder
        self._length = encoder.max_length
        self._num_items = vocabulary.num_items
        # Its own matrix: so padding and mask can't be recommended, at no copy of the scores to hide them.
        items = tf.convert_to_tensor(encoder.item_embeddings)[1 : self._num_items + 1]
        self._items = tf.Variable(tf.cast(items, tf.float32), trainable=False)
        self._popular = tf.Variable(vocabulary.popular, trainable=False, dtype=tf.int32)
        self._ids: StringIds | IntegerIds
        if vocabulary.item_ids is None:
            self._ids = IntegerIds(vocabulary.num_items)
        else:
            self._ids = StringIds(_write_lines(folder / "item_ids.txt", vocabulary.item_ids))
        self._names = None
        if vocabulary.item_names is not None:
            raw_ids = vocabulary.item_ids or range(1, self._num_items + 1)
            # An asset can't hold an empty line.
            names = [name or str(raw) for name, raw in zip(vocabulary.item_names, raw_ids, strict=True)]
            self._names = line_table(_write_lines(folder / "item_names.txt", names))
        self.tables = [*self._ids.tables, *([] if self._names is None else [self._names])]

    @property
    def input_signature(self) -> list[tf.TensorSpec]:
        """The inputs of `recommend`."""
        return [
            tf.TensorSpec([None, None], self._ids.dtype, "history"),
            tf.TensorSpec([], tf.int32, "k"),
            tf.TensorSpec([], tf.bool, "exclude_seen"),
        ]

    def recommend(self, history: tf.Tensor, k: tf.Tensor, exclude_seen: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k best items of each user; `MEANING` describes inputs and outputs.

        Args:
            history: raw ids [B, T] of any T.
            k: int32 scalar.
            exclude_seen: bool scalar.

        Returns:
            ids [B, k] of the raw type, scores float32 [B, k], unknown int32 [B], fallback bool [B], and names
            string [B, k] where items have names.

        Raises:
            InvalidArgumentError: when run, unless 1 <= k <= V.
        """
        rule = f"`k` should be from 1 to {self._num_items}, the number of items. Received:"
        with tf.control_dependencies([tf.debugging.Assert((k >= 1) & (k <= self._num_items), [rule, k])]):
            k = tf.identity(k)
        items = self._ids.internal(history)  # [B, T], 0 where padding or unknown
        unknown = (items == 0) & (history != self._ids.padding)
        fallback = tf.reduce_all(items == 0, axis=1)

        users = tf.cast(self._encoder(most_recent(items, self._length), training=False), tf.float32)
        scores = tf.matmul(users, self._items, transpose_b=True)  # [B, V]
        scores, best = tf.math.top_k(_without(scores, items, exclude_seen), k)
        best = tf.where(scores > -float("inf"), best + 1, 0)

        best = tf.where(fallback[:, None], self._popular[:k], best)
        scores = tf.where(fallback[:, None], 0.0, scores)
        outputs = {
            "ids": self._ids.raw(best),
            "scores": scores,
            "unknown": tf.math.count_nonzero(unknown, axis=1, dtype=tf.int32),
            "fallback": fallback,
        }
        if self._names is not None:
            outputs["names"] = self._names.lookup(tf.cast(best, tf.int64) - 1)
        return outputs


def most_recent(items: tf.Tensor, length: int) -> tf.Tensor:
    """The last `length` non-zero entries of each row of int32 [B, T], right-aligned: [B, length]."""
    later = tf.cumsum(tf.cast(items > 0, tf.int32), axis=1, exclusive=True, reverse=True)
    kept = tf.where((items > 0) & (later < length))  # [n, 2], row and position
    columns = length - 1 - tf.gather_nd(later, kept)
    targets = tf.stack([tf.cast(kept[:, 0], tf.int32), columns], axis=1)
    return tf.scatter_nd(targets, tf.gather_nd(items, kept), [tf.shape(items)[0], length])


def describe(function: Any) -> dict[str, Any]:
    """Names, shapes, dtypes and meanings of a traced signature, as JSON values."""

    def table(specs: Any) -> dict[str, Any]:
        return {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list(), "meaning": MEANING[name]}
            for name, spec in specs
        }

    traced = function.get_concrete_function()
    inputs = [(spec.name, spec) for spec in function.input_signature]
    return {"inputs": table(inputs), "outputs": table(sorted(traced.structured_outputs.items()))}


def _without(scores: tf.Tensor, items: tf.Tensor, exclude: tf.Tensor) -> tf.Tensor:
    """`scores` [B, V] with -inf at the non-zero `items` [B, T] of each row if `exclude`."""
    seen = tf.where((items > 0) & exclude)
    cells = tf.stack([tf.cast(seen[:, 0], tf.int32), tf.gather_nd(items, seen) - 1], axis=1)
    return tf.tensor_scatter_nd_update(scores, cells, tf.fill(tf.shape(cells)[:1], -float("inf")))


def _write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
