"""Packing: many short sequences share one row of T tokens, so that almost no computation goes into padding.

The encoder sees a *sequence batch*, a dict of int32 arrays (R rows of T tokens hold S sequences):

- `items` [R, T]: item ids, 0 where a row is not full
- `segments` [R, T]: number of the sequence within its row, from 1; 0 where a row is not full
- `positions` [R, T]: index into the position table; the most recent item of every sequence has T - 1. Where a row is
  not full: 0, or the column where rows are not packed, as some encoders mix the padding in
- `last` [S]: flat index (row * T + column) of each sequence's most recent item
- `slots` [R, M]: number (0 to S - 1) of the row's 1st, 2nd, ... sequence; 0 where it has fewer
- `users` [S]: the users from 1, 0 where one is unknown; only for encoders that know users

The plain padded form is the same thing with one right-aligned sequence a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SequenceBatch = dict[str, np.ndarray]
"""The arrays above by name."""

ROWS_MULTIPLE = 16  # rows are filled up to a multiple, so that XLA compiles a handful of shapes only


class Labels(NamedTuple):
    """What is predicted where. A label belongs to a token: P labels of k weighted items each.

    Args:
        tokens: int64 [P], index into `Sequences.items` of the token whose vector predicts; ascending.
        ids: int32 [P, k], the items predicted; 0 where a label has fewer than k.
        weights: float32 [P, k], their weights, which sum to 1; 0 where the id is 0.
    """

    tokens: np.ndarray
    ids: np.ndarray
    weights: np.ndarray


class Sequences(NamedTuple):
    """S sequences one after the other.

    Args:
        items: int32 [M], item ids from 1 to V, or the mask V + 1, or 0 for a padding item, which no other token sees.
        lengths: int64 [S]; a sequence may be empty only where rows are not packed.
        labels: what is predicted at which tokens, None where nothing is.
        users: int64 [S], number of each sequence's user from 0, -1 where it is unknown; None for all unknown.
    """

    items: np.ndarray
    lengths: np.ndarray
    labels: Labels | None = None
    users: np.ndarray | None = None

    def known_users(self) -> np.ndarray:
        """int32 [S], the users from 1; 0 where one is unknown."""
        return np.zeros(len(self.lengths), np.int32) if self.users is None else (self.users + 1).astype(np.int32)


class Layout(NamedTuple):
    """How an encoder takes sequences.

    Args:
        width: T, tokens in a row.
        packed: many sequences a row, or one right-aligned sequence each.
        mask_query: the next item is predicted at a mask token appended to the history.
        users: batches name the users.
    """

    width: int
    packed: bool = True
    mask_query: bool = False
    users: bool = False


def hard_labels(tokens: np.ndarray, items: np.ndarray) -> Labels:
    """Labels of one item each: `items` [P] at `tokens` [P]."""
    return Labels(tokens.astype(np.int64), items.astype(np.int32)[:, None], np.ones((len(items), 1), np.float32))


def join(parts: Iterable[Sequences]) -> Sequences:
    """All sequences of several groups, one group after the other, with the labels of those that have any."""
    parts = list(parts)
    begins = np.cumsum([0, *(len(part.items) for part in parts)])
    labels = [
        part.labels._replace(tokens=part.labels.tokens + begin)
        for part, begin in zip(parts, begins, strict=False)
        if part.labels is not None
    ]
    return Sequences(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        Labels(*(np.concatenate(arrays) for arrays in zip(*labels, strict=True))) if labels else None,
        np.concatenate([part.known_users() for part in parts]) - 1,
    )


def take(items: np.ndarray, start: np.ndarray, end: np.ndarray) -> Sequences:
    """The slices items[start[i]:end[i]] as `Sequences`."""
    lengths = end - start
    return Sequences(items[runs(start, lengths)], lengths)


class Size(NamedTuple):
    """The shape that a batch of packed rows is given.

    Args:
        rows: R, at least; 0 for as many as are needed.
        most: M, the sequences that may share a row.
    """

    rows: int
    most: int


def sizes_of(batches: Iterable[np.ndarray], width: int) -> tuple[list[int], int]:
    """The rows that batches of sequences of these lengths, int [S] each, pack into, and M for all of them.

    The last block of an encoder computes M sequences for every row, used or not. So M is about twice what a row holds
    on average, and a quarter of the width at most, which binds only where sequences have fewer than four items on
    average.
    """
    batches = list(batches)
    rows = max(1, *(-(-int(lengths.sum()) // width) for lengths in batches))
    most = min(-(-width // 4), 2 * -(-max(map(len, batches)) // rows) + 2)
    return [_spread(lengths, width, most, 0, multiple=1)[0] for lengths in batches], most


def pack(sequences: Sequences, layout: Layout, size: Size | None = None) -> SequenceBatch:
    """The batch of sequences of at most `layout.width` items, of `size` where they are packed and it holds them."""
    return pack_with_labels(sequences, layout, size)[0]


def pack_with_labels(
    sequences: Sequences, layout: Layout, size: Size | None = None
) -> tuple[SequenceBatch, np.ndarray]:
    """The batch of sequences, and int32 [P], the flat index (row * T + column) of each label's token in it."""
    lengths, width = sequences.lengths, layout.width
    if layout.packed:
        if size is None:
            [needed], most = sizes_of([lengths], width)
            size = Size(-(-needed // ROWS_MULTIPLE) * ROWS_MULTIPLE, most)
        most = size.most
        rows, row, column = _spread(lengths, width, most, size.rows)
        number = _number_within(row)
    else:
        most = 1
        row, column, number = np.arange(len(lengths)), width - lengths, np.zeros(len(lengths), np.int64)
        rows = len(lengths)
    begin = row * width + column
    token = runs(begin, lengths)
    slots = np.zeros((rows, most), np.int32)
    slots[row, number] = np.arange(len(lengths))
    flat = {name: np.zeros(rows * width, np.int32) for name in ("items", "segments", "positions")}
    flat["items"][token] = sequences.items
    flat["segments"][token] = np.repeat(number + 1, lengths)
    if layout.packed:
        flat["positions"][token] = runs(width - lengths, lengths)
    else:  # some systems read the padding too
        flat["positions"] = np.tile(np.arange(width, dtype=np.int32), rows)
    batch: SequenceBatch = {name: array.reshape(rows, width) for name, array in flat.items()} | {
        "last": (begin + lengths - 1).astype(np.int32),
        "slots": slots,
    }
    if layout.users:
        batch["users"] = sequences.known_users()
    labelled = token[sequences.labels.tokens] if sequences.labels is not None else np.zeros(0)
    return batch, labelled.astype(np.int32)


def pack_histories(histories: Sequences, layout: Layout, num_items: int, size: Size | None = None) -> SequenceBatch:
    """The batch of histories whose next items are asked for.

    Args:
        histories: sequences of at most `layout.width` items.
        layout: with `mask_query`, histories lose their oldest item where they are full, and end with the mask.
        num_items: V.
        size: of the batch.
    """
    if not layout.mask_query:
        return pack(histories, layout, size)
    kept = np.minimum(histories.lengths, layout.width - 1)
    ends = np.cumsum(histories.lengths)
    recent = take(histories.items, ends - kept, ends)
    items = np.insert(recent.items, np.cumsum(kept), num_items + 1).astype(np.int32)
    return pack(histories._replace(items=items, lengths=kept + 1), layout, size)


def runs(start: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start[i], start[i] + 1, ... lengths[i] numbers each, one run after the other."""
    shift = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(start - shift, lengths)


def _spread(
    lengths: np.ndarray, width: int, most: int, least: int, multiple: int = ROWS_MULTIPLE
) -> tuple[int, np.ndarray, np.ndarray]:
    """How many rows there are, and the row and first column of each sequence.

    The longest sequence first, each goes into the emptiest row: all rows fill up alike, with long and short ones, and
    there are seldom more than the tokens need. (The tightest fit leaves the short ones for rows of their own, which
    hold `most` of them and are half empty.) Rows are kept by free space; a bit set tells which free spaces there are.
    There are at least `least` rows; where they don't hold all, more are opened, `multiple` at a time.
    """
    row, column = np.empty((2, len(lengths)), np.int64)
    order = np.argsort(-lengths, kind="stable")
    by_free: list[list[int]] = [[] for _ in range(width + 1)]
    free_bits = 0
    held: list[int] = []  # sequences in each row

    def open_rows(count: int) -> None:
        nonlocal free_bits
        by_free[width].extend(range(len(held), len(held) + count))
        held.extend([0] * count)
        free_bits |= (count > 0) << width

    needed = max(-(-int(lengths.sum()) // width), -(-len(lengths) // most))
    open_rows(least if needed <= least else -(-needed // multiple) * multiple)
    chosen_rows, chosen_columns = [], []
    for length in lengths[order].tolist():
        if free_bits.bit_length() <= length:
            open_rows(multiple)
        free = free_bits.bit_length() - 1
        chosen = by_free[free].pop()
        if not by_free[free]:
            free_bits ^= 1 << free
        chosen_rows.append(chosen)
        chosen_columns.append(width - free)
        held[chosen] += 1
        left = free - length
        if left and held[chosen] < most:
            by_free[left].append(chosen)
            free_bits |= 1 << left
    row[order], column[order] = chosen_rows, chosen_columns
    return len(held), row, column


def _number_within(row: np.ndarray) -> np.ndarray:
    """How many earlier sequences share each sequence's row."""
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row)
    number = np.empty_like(row)
    number[order] = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return number
