"""Crop, mask and reorder: what CL4SRec does to sequences.

The last item takes part like any other. In the released programs of CoSeRec and ICLRec it is never in a crop of more
than one item and never reordered, because the last start is left out.

Reference:
    - CL4SRec (Xie et al., ICDE 2022, arXiv 2010.14395).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_fenrec.data.draws import check_share, random_tokens, share_of
from tf_fenrec.data.packing import Sequences, runs, take


@dataclass(frozen=True)
class Crop:
    """floor(ratio n) neighbouring items of n, but at least one; the others are left out.

    Args:
        ratio: float from 0 to 1.
    """

    ratio: float

    def __post_init__(self) -> None:
        check_share(ratio=self.ratio)

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """int64 [S], items that are kept."""
        return np.maximum(share_of(self.ratio, lengths), 1)

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        counts = self.counts(sequences.lengths)
        return crop(sequences, rng.integers(0, sequences.lengths - counts + 1), counts)


@dataclass(frozen=True)
class Mask:
    """floor(ratio n) random items of n are hidden.

    Args:
        ratio: float from 0 to 1.
        token: int, what stands for a hidden item: the mask V + 1 (CL4SRec), or the padding 0, which no other token sees
            (CoSeRec, ICLRec).
    """

    ratio: float
    token: int

    def __post_init__(self) -> None:
        check_share(ratio=self.ratio)

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """int64 [S], items that are hidden."""
        return share_of(self.ratio, lengths)

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        return mask(sequences, random_tokens(sequences.lengths, self.counts(sequences.lengths), rng), self.token)


@dataclass(frozen=True)
class Reorder:
    """floor(ratio n) neighbouring items of n are shuffled.

    Args:
        ratio: float from 0 to 1.
    """

    ratio: float

    def __post_init__(self) -> None:
        check_share(ratio=self.ratio)

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """int64 [S], items that are shuffled."""
        return share_of(self.ratio, lengths)

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        counts = self.counts(sequences.lengths)
        start = rng.integers(0, sequences.lengths - counts + 1)
        return reorder(sequences, start, counts, rng.random(len(sequences.items)))


def crop(sequences: Sequences, start: np.ndarray, counts: np.ndarray) -> Sequences:
    """`counts` [S] items of each sequence from number `start` [S] (from 0) on."""
    begin = np.cumsum(sequences.lengths) - sequences.lengths + start
    return take(sequences.items, begin, begin + counts)


def mask(sequences: Sequences, hidden: np.ndarray, token: int) -> Sequences:
    """The sequences with `token` where `hidden` (bool [M])."""
    return sequences._replace(items=np.where(hidden, np.int32(token), sequences.items))


def reorder(sequences: Sequences, start: np.ndarray, counts: np.ndarray, keys: np.ndarray) -> Sequences:
    """The sequences with `counts` [S] items of each, from number `start` [S] (from 0) on, sorted by `keys` [M]."""
    lengths = sequences.lengths
    column = runs(np.zeros(len(lengths), np.int64), lengths)
    first = np.repeat(start, lengths)
    inside = (column >= first) & (column < first + np.repeat(counts, lengths))
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    return sequences._replace(items=sequences.items[np.lexsort((keys, np.where(inside, first, column), sequence))])
