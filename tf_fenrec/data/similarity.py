"""Which item is most similar to which: what CoSeRec inserts and substitutes.

Reference:
    - CoSeRec (Liu et al., 2021, arXiv 2108.06479).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from tf_fenrec.data.sequences import SequenceDataset

BLOCK = 2**22  # scores held at a time


class Neighbours(NamedTuple):
    """The most similar item of each row of the item table; rows 0 and V + 1 have themselves.

    Args:
        items: int32 [V + 2].
        scores: float64 [V + 2], how similar it is: from 0, the least of all scores of all pairs, to 1, the greatest.
    """

    items: np.ndarray
    scores: np.ndarray


def offline_neighbours(dataset: SequenceDataset, seed: int = 0) -> Neighbours:
    """Similar are items that the same users have (ItemCF-IUF), the more the fewer items these users have.

    The score of two items is the sum over the users who have both of 1 / log(1 + items of the user), divided by the
    root of the product of the items' numbers of users. A user's items are the training items but the last, as a set.
    The least id is taken among equals. An item that shares no user with another has a random one, of score 0.

    Args:
        dataset: the sequences.
        seed: int. Of the random items.
    """
    rows = dataset.num_items + 2
    inputs = dataset.in_training()
    inputs[dataset.offsets[1:] - 3] = False
    user = np.repeat(np.arange(dataset.num_users), dataset.lengths)[inputs]
    items = dataset.items[inputs]
    has = sparse.csr_array((np.ones(len(items)), (items, user)), (rows, dataset.num_users))
    has.data[:] = 1  # an item that a user repeats was added up
    items_of_user, users_of_item = has.sum(axis=0), has.sum(axis=1)
    by_popularity = sparse.diags_array(1 / np.sqrt(np.maximum(users_of_item, 1)))
    by_activity = sparse.diags_array(1 / np.log1p(np.maximum(items_of_user, 1)))
    left, right = (by_popularity @ has @ by_activity).tocsr(), (by_popularity @ has).T.tocsr()

    best, nearest = np.full(rows, -np.inf), np.arange(rows)
    least = np.inf
    pairs = np.cumsum(has @ items_of_user)  # at most, in all rows up to each
    begin = 0
    while begin < rows:
        end = max(begin + 1, int(np.searchsorted(pairs, (pairs[begin - 1] if begin else 0) + BLOCK, side="right")))
        scores = (left[begin:end] @ right).tocoo()
        row, column = scores.row + begin, scores.col
        other = row != column
        row, column, data = row[other], column[other], scores.data[other]
        least = min(least, data.min(initial=np.inf))
        np.maximum.at(best, row, data)
        is_best = data == best[row]
        nearest[row[is_best]] = rows
        np.minimum.at(nearest, row[is_best], column[is_best])
        begin = end

    alone = np.isneginf(best)
    scores = np.zeros(rows) if alone.all() else (np.where(alone, least, best) - least) / _spread(least, best.max())
    alone[[0, -1]] = False
    known = np.flatnonzero(users_of_item) if len(items) else np.arange(1, rows - 1)
    nearest[alone] = np.random.default_rng(seed).choice(known, alone.sum())
    return Neighbours(nearest.astype(np.int32), scores)


def online_neighbours(table: np.ndarray) -> Neighbours:
    """Similar are items whose vectors have a great inner product.

    As in the released program the padding and the mask count among the neighbours.

    Args:
        table: [V + 2, D], item vectors.
    """
    rows = len(table)
    best, nearest = np.zeros(rows), np.arange(rows)
    least, greatest = np.inf, -np.inf
    size = max(1, BLOCK // rows)
    for begin in range(1, rows, size):
        numbers = np.arange(begin, min(begin + size, rows))
        scores = table[numbers] @ table.T
        least, greatest = min(least, scores.min()), max(greatest, scores.max())
        scores[np.arange(len(numbers)), numbers] = -np.inf
        nearest[numbers] = scores.argmax(axis=1)
        best[numbers] = scores.max(axis=1)
    scores = (best - least) / _spread(least, greatest)
    nearest[-1], scores[[0, -1]] = rows - 1, 0
    return Neighbours(nearest.astype(np.int32), scores)


def _spread(least: float, greatest: float) -> float:
    """How far the scores are apart; 1 where they differ by rounding alone."""
    return greatest - least if greatest - least > 1e-12 * max(abs(greatest), abs(least)) else 1.0


def hybrid_neighbours(offline: Neighbours, online: Neighbours) -> Neighbours:
    """Of each item's two neighbours the one of the greater score; the offline one of equals."""
    better = online.scores > offline.scores
    return Neighbours(*(np.where(better, one, other) for one, other in zip(online, offline, strict=True)))
