"""Insert and substitute: similar items beside, or instead of, those of a sequence.

Reference:
    - CoSeRec (Liu et al., 2021, arXiv 2108.06479).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tf_fenrec.data.draws import check_share, random_tokens, share_of
from tf_fenrec.data.packing import Sequences

Similar = Callable[[], np.ndarray]
"""Gives int32 [V + 2], the most similar item of each row of the item table (see `tf_fenrec.data.similarity`). It is
asked at every batch, as similarities may change while a model learns."""


@dataclass(frozen=True)
class _WithSimilar:
    """An operation with similar items.

    Args:
        rate: float from 0 to 1.
        similar: gives the most similar items.
    """

    rate: float
    similar: Similar

    def __post_init__(self) -> None:
        check_share(rate=self.rate)

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """int64 [S], items that are drawn."""
        return np.maximum(share_of(self.rate, lengths), 1)

    def _drawn(self, sequences: Sequences, rng: np.random.Generator) -> np.ndarray:
        return random_tokens(sequences.lengths, self.counts(sequences.lengths), rng)


class Insert(_WithSimilar):
    """Before floor(rate n) random items of n, but at least one, the most similar item is put."""

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        return insert(sequences, self._drawn(sequences, rng), self.similar())


class Substitute(_WithSimilar):
    """floor(rate n) random items of n, but at least one, become the most similar item."""

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        return substitute(sequences, self._drawn(sequences, rng), self.similar())


def insert(sequences: Sequences, drawn: np.ndarray, similar: np.ndarray) -> Sequences:
    """The sequences with `similar[item]` before each item that is `drawn` (bool [M])."""
    sequence = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    before = np.flatnonzero(drawn)
    items = np.insert(sequences.items, before, similar[sequences.items[before]])
    added = np.bincount(sequence[before], minlength=len(sequences.lengths))
    return sequences._replace(items=items, lengths=sequences.lengths + added)


def substitute(sequences: Sequences, drawn: np.ndarray, similar: np.ndarray) -> Sequences:
    """The sequences with `similar[item]` in the place of each item that is `drawn` (bool [M])."""
    return sequences._replace(items=np.where(drawn, similar[sequences.items], sequences.items).astype(np.int32))
