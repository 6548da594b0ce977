"""Draws for many sequences at once."""

from __future__ import annotations

import numpy as np

from tf_fenrec.errors import InputError


def check_share(**shares: float) -> None:
    """Raises InputError when one isn't from 0 to 1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"`{name}` should be from 0 to 1. Received: {share}")


def share_of(share: float, lengths: np.ndarray) -> np.ndarray:
    """int64 [S], floor(share n) tokens of each sequence."""
    return (share * lengths).astype(np.int64)


def random_tokens(lengths: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [M], which tokens are drawn: `counts[i]` different ones of the i-th sequence, each set equally likely.

    Args:
        lengths: int64 [S], tokens of each sequence; M in all.
        counts: int64 [S], how many of them, at most `lengths`.
        rng: what is drawn from.
    """
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    number = np.arange(len(sequence)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shuffled = np.lexsort((rng.random(len(sequence)), sequence))  # within each sequence
    drawn = np.empty(len(sequence), bool)
    drawn[shuffled] = number < np.repeat(counts, lengths)
    return drawn
