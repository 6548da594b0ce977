"""Two baselines without a model, popularity and last-item transitions, fitted on the training part only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tf_fenrec.data.sequences import SequenceDataset

Scorer = Callable[[np.ndarray], np.ndarray]
"""Takes inputs int [B, T], right-aligned item ids padded with 0; returns scores float32 [B, V + 2]."""


def popularity_scores(dataset: SequenceDataset) -> Scorer:
    """Scores every item by how often the training parts v_1..v_{n-2} hold it.

    Returns:
        A function from inputs int [B, T] to scores float32 [B, V + 2]; rows 0 and V + 1 score -inf.
    """
    popularity = _popularity(dataset)

    def score(inputs: np.ndarray) -> np.ndarray:
        return np.tile(popularity, (len(inputs), 1))

    return score


def markov_scores(dataset: SequenceDataset) -> Scorer:
    """Scores every item by how often it follows the input's last item in the training parts v_1..v_{n-2}.

    Ties are broken by popularity, scaled to stay below half a transition.

    Returns:
        A function from inputs int [B, T] to scores float32 [B, V + 2]; rows 0 and V + 1 score -inf. Memory is
        that of the observed transitions, not V x V.
    """
    rows = dataset.num_items + 2
    popularity = _popularity(dataset)
    tie_break = popularity * np.float32(0.5 / max(popularity.max(), 1))
    follows = dataset.in_training()
    follows[dataset.offsets[:-1]] = False  # the first item follows nothing
    pairs = np.flatnonzero(follows)
    codes, counts = np.unique(
        dataset.items[pairs - 1].astype(np.int64) * rows + dataset.items[pairs], return_counts=True
    )
    begins = np.searchsorted(codes, np.arange(rows + 1) * rows)

    def score(inputs: np.ndarray) -> np.ndarray:
        scores = np.tile(tie_break, (len(inputs), 1))
        for row, last in zip(scores, inputs[:, -1], strict=True):
            seen = slice(begins[last], begins[last + 1])
            row[codes[seen] % rows] += counts[seen]
        return scores

    return score


def _popularity(dataset: SequenceDataset) -> np.ndarray:
    """Returns counts float32 [V + 2] over the training parts, -inf for padding and mask."""
    counts = np.bincount(dataset.items[dataset.in_training()], minlength=dataset.num_items + 2)
    scores = counts.astype(np.float32)
    scores[[0, -1]] = -np.inf
    return scores
