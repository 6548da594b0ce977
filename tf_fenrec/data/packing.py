"""Packing: many short sequences share one row of T tokens, so that almost no computation goes into padding.

The encoder sees a *sequence batch*, a dict of int32 arrays (R rows of T tokens hold S sequences):

- `items` [R, T]: item ids, 0 where a row is not full
- `segments` [R, T]: number of the sequence within its row, from 1; 0 where a row is not full
- `positions` [R, T]: index into the position table; the most recent item of every sequence has T - 1
- `last` [S]: flat index (row * T + column) of each sequence's most recent item
- `slots` [R, M]: number (0 to S - 1) of the row's 1st, 2nd, ... sequence; 0 where it has fewer

The plain padded form is the same thing with one right-aligned sequence a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROWS_MULTIPLE = 16  # rows are filled up to a multiple, so that XLA compiles a handful of shapes only


class Sequences(NamedTuple):
    """S sequences one after the other: `items` int32 [M], `lengths` int64 [S]; none is empty."""

    items: np.ndarray
    lengths: np.ndarray


def take(items: np.ndarray, start: np.ndarray, end: np.ndarray) -> Sequences:
    """The slices items[start[i]:end[i]] as `Sequences`."""
    lengths = end - start
    return Sequences(items[_runs(start, lengths)], lengths)


def pack(sequences: Sequences, width: int, packed: bool = True) -> dict[str, np.ndarray]:
    """Builds the sequence batch.

    Args:
        sequences: S sequences of 1 to `width` items.
        width: T, tokens in a row.
        packed: False puts every sequence in a row of its own, right-aligned.
    """
    lengths = sequences.lengths
    if packed:
        most = most_in_a_row(width)
        row, column = _best_fit(lengths, width, most)
        number = _number_within(row)
        rows = -(-(int(row.max(initial=-1)) + 1) // ROWS_MULTIPLE) * ROWS_MULTIPLE
    else:
        most = 1
        row, column, number = np.arange(len(lengths)), width - lengths, np.zeros(len(lengths), np.int64)
        rows = len(lengths)
    begin = row * width + column
    token = _runs(begin, lengths)
    slots = np.zeros((rows, most), np.int32)
    slots[row, number] = np.arange(len(lengths))
    batch = {name: np.zeros(rows * width, np.int32) for name in ("items", "segments", "positions")}
    batch["items"][token] = sequences.items
    batch["segments"][token] = np.repeat(number + 1, lengths)
    batch["positions"][token] = _runs(width - lengths, lengths)
    return {name: flat.reshape(rows, width) for name, flat in batch.items()} | {
        "last": (begin + lengths - 1).astype(np.int32),
        "slots": slots,
    }


def most_in_a_row(width: int) -> int:
    """M, the sequences that may share a row of `width` tokens.

    The last block of an encoder computes M ends for every row, used or not; a third of the width binds only where
    sequences have fewer than three items on average.
    """
    return -(-width // 3)


def _runs(start: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start[i], start[i] + 1, ... lengths[i] numbers each, one run after the other."""
    shift = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(start - shift, lengths)


def _best_fit(lengths: np.ndarray, width: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Best-fit decreasing bin packing, at most `most` sequences a row: row and first column of each sequence.

    Open rows are kept by free space; a bit set tells which free spaces exist, so the tightest fit is one bit scan.
    """
    row = np.empty(len(lengths), np.int64)
    column = np.empty(len(lengths), np.int64)
    order = np.argsort(-lengths, kind="stable")
    open_rows: list[list[int]] = [[] for _ in range(width + 1)]
    held: list[int] = []  # sequences in each row
    free_bits = 0
    chosen_rows, chosen_columns = [], []
    for length in lengths[order].tolist():
        fits = free_bits >> length
        if fits:
            free = length + (fits & -fits).bit_length() - 1
            stack = open_rows[free]
            chosen = stack.pop()
            if not stack:
                free_bits ^= 1 << free
        else:
            free, chosen = width, len(held)
            held.append(0)
        chosen_rows.append(chosen)
        chosen_columns.append(width - free)
        held[chosen] += 1
        left = free - length
        if left and held[chosen] < most:
            open_rows[left].append(chosen)
            free_bits |= 1 << left
    row[order], column[order] = chosen_rows, chosen_columns
    return row, column


def _number_within(row: np.ndarray) -> np.ndarray:
    """How many earlier sequences share each sequence's row."""
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row)
    number = np.empty_like(row)
    number[order] = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return number
