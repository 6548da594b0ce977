"""Raw item ids to internal ones and back, inside the served graph."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


class StringIds:
    """Raw ids that are strings; the vocabulary is a file asset, one id a line in internal order.

    Attributes:
        dtype: what raw ids are.
        padding: the raw id that stands for no item.
        tables: the lookup tables it needs.
    """

    dtype = tf.string
    padding = ""

    def __init__(self, path: Path, num_items: int) -> None:
        whole_line, line_number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        lines = tf.lookup.TextFileInitializer(str(path), tf.string, whole_line, tf.int64, line_number, num_items)
        self._lines = tf.lookup.StaticHashTable(lines, default_value=-1)
        self._raw = line_table(path, num_items)
        self.tables = (self._lines, self._raw)

    def internal(self, raw: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `raw`: 1..V, or 0 where no item has that id (the padding never has)."""
        return tf.cast(self._lines.lookup(raw), tf.int32) + 1

    def raw(self, items: tf.Tensor) -> tf.Tensor:
        """The inverse for int32 `items`; padding for 0."""
        return self._raw.lookup(tf.cast(items, tf.int64) - 1)


class IntegerIds:
    """Raw ids that are the integers 1..V themselves; 0 is padding."""

    dtype = tf.int64
    padding = 0
    tables = ()

    def __init__(self, num_items: int) -> None:
        self._num_items = num_items

    def internal(self, raw: tf.Tensor) -> tf.Tensor:
        """int32 of the shape of `raw`: 1..V, or 0 where no item has that id."""
        known = (raw >= 1) & (raw <= self._num_items)
        return tf.cast(tf.where(known, raw, tf.zeros_like(raw)), tf.int32)

    def raw(self, items: tf.Tensor) -> tf.Tensor:
        """The inverse for int32 `items`; padding for 0."""
        return tf.cast(items, tf.int64)


def line_table(path: Path, num_lines: int) -> tf.lookup.StaticHashTable:
    """A table from line number (int64, from 0) to that line of the file asset `path`; "" elsewhere.

    The number of lines is kept in the graph, so that a copy with a truncated file is refused when it is loaded.
    """
    whole_line, line_number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    lines = tf.lookup.TextFileInitializer(str(path), tf.int64, line_number, tf.string, whole_line, num_lines)
    return tf.lookup.StaticHashTable(lines, default_value="")
