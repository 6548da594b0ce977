"""Sequences changed by one of several operations, drawn anew for each (CL4SRec, CoSeRec, ICLRec)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tf_fenrec.data.packing import Sequences, join, take
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.errors import InputError


class Operation(Protocol):
    """Changes sequences, each by a draw of its own."""

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        """As many sequences, without labels; no empty one of one that isn't."""


class Augmented:
    """The example's sequence, changed by one of several operations.

    CL4SRec takes two views with different operations, `Augmented(operations, number=0)` and
    `Augmented(operations, number=1)`. CoSeRec takes two independent ones, `Augmented([crop, mask, reorder, insert,
    substitute], short=[insert, substitute, mask], threshold=4, uncut=True)`.

    Args:
        operations: one of them is drawn for each sequence, all equally likely.
        short: those for sequences of at most `threshold` items. Defaults to None, the same.
        threshold: int. See `short`.
        uncut: bool. The operations see all training items that the example's input is cut from, and what they make is
            cut to the last L, instead of the input.
        number: int. Views of one batch with different numbers, from 0, and the same operations, draw different ones for
            each example. Defaults to None: independently of other views.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        short: Sequence[Operation] | None = None,
        threshold: int = 0,
        uncut: bool = False,
        number: int | None = None,
    ) -> None:
        self.operations = list(operations)
        self.short = list(operations if short is None else short)
        least = min(len(self.operations), len(self.short))
        if least < 1 + (number or 0):
            raise InputError(f"`operations` should be at least {1 + (number or 0)} to draw from. Received: {least}")
        self.threshold = threshold
        self.uncut = uncut
        self.number = number

    def __call__(self, rule: Rule, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        sequences = rule.histories(rows) if self.uncut else rule.inputs(rows)
        is_short = sequences.lengths <= self.threshold
        of_view = rng if self.number is None else _shared(rng)
        drawn = np.where(
            is_short,
            self._drawn(len(rows), len(self.short), of_view),
            self._drawn(len(rows), len(self.operations), of_view) + len(self.short),
        )
        parts, places = [], []
        for number, operation in enumerate([*self.short, *self.operations]):
            place = np.flatnonzero(drawn == number)
            if len(place):
                parts.append(operation(_chosen(sequences, place), rng))
                places.append(place)
        changed = _chosen(join(parts), np.argsort(np.concatenate(places)))
        kept = np.minimum(changed.lengths, rule.max_length)
        end = np.cumsum(changed.lengths)
        return take(changed.items, end - kept, end)._replace(users=sequences.users)

    def _drawn(self, count: int, operations: int, rng: np.random.Generator) -> np.ndarray:
        """int64 [count], the number of the operation for each sequence."""
        if self.number is None:
            return rng.integers(operations, size=count)
        return rng.random((count, operations)).argsort(axis=1)[:, self.number]


def _shared(rng: np.random.Generator) -> np.random.Generator:
    """A generator that all views of a batch make alike, whatever they drew before: a child of what `rng` grew from."""
    seeds = rng.bit_generator.seed_seq
    assert isinstance(seeds, np.random.SeedSequence)
    return np.random.default_rng(np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, 0)))


def _chosen(sequences: Sequences, numbers: np.ndarray) -> Sequences:
    """The sequences of these numbers, in this order."""
    end = np.cumsum(sequences.lengths)[numbers]
    return take(sequences.items, end - sequences.lengths[numbers], end)
