"""Counting which items go together, at what distance and in which order.

C[a, b] adds up over the training parts of all users: exp(-(d - 1) / decay) where b comes d items after a, and
`backward` times that where it comes d items before; d is at most `max_distance`, and an item doesn't go with itself.
S[a, b] = C[a, b] / (n_a^source_power n_b^target_power), n how often the training parts hold an item. The score of b for
a history is the sum over its last items a of exp(-age / recency) S[a, b], age 0 being the most recent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from tf_fenrec.data.held_out import HeldOut
from tf_fenrec.data.sequences import SequenceDataset

BLOCK_PAIRS = 2**24  # pairs that are counted at a time
BLOCK_SCORES = 2**24  # scores of users that are held at a time
CUTOFF = 20


@dataclass(frozen=True)
class Numbers:
    """The five numbers of the model, see above."""

    decay: float = 10.0
    backward: float = 0.4
    source_power: float = 0.3
    target_power: float = 0.1
    recency: float = 3.0


class Neighbours(NamedTuple):
    """The items that go best with each, the best first.

    Args:
        items: int32 [V + 2, N], 0 where there are fewer.
        weights: float32 [V + 2, N], S of each; 0 where there are fewer.
    """

    items: np.ndarray
    weights: np.ndarray


def count_neighbours(
    dataset: SequenceDataset, numbers: Numbers, max_distance: int = 20, num_neighbours: int = 100
) -> Neighbours:
    """The neighbours of all items, in memory of about their size.

    Items are counted in blocks: all places of a block's items, and what stands before and after each.

    Args:
        dataset: the sequences, of which v_{n-1} and v_n of each user don't count.
        numbers: the model's.
        max_distance: the greatest distance d that counts.
        num_neighbours: N.
    """
    rows = dataset.num_items + 2
    items = np.zeros((rows, num_neighbours), np.int32)
    weights = np.zeros((rows, num_neighbours), np.float32)
    for first, block in _blocks(dataset, numbers, max_distance):
        _keep_best(block, items[first : first + block.shape[0]], weights[first : first + block.shape[0]])
    return Neighbours(items, weights)


def _blocks(dataset: SequenceDataset, numbers: Numbers, max_distance: int) -> Iterator[tuple[int, sparse.csr_array]]:
    """Rows of S: the number of the first, and a block of them."""
    rows = dataset.num_items + 2
    trained = dataset.items[dataset.in_training()]
    lengths = dataset.lengths - 2
    place = np.arange(len(trained))
    ends = np.cumsum(lengths)
    # How many items stand after each in its sequence, and before it.
    room = {1: np.repeat(ends, lengths) - 1 - place, -1: place - np.repeat(ends - lengths, lengths)}
    popularity = np.bincount(trained, minlength=rows)
    by_item = np.argsort(trained, kind="stable")  # the places of each item, in order
    last = np.cumsum(popularity)
    source = np.maximum(popularity, 1).astype(np.float64) ** -numbers.source_power
    target = np.maximum(popularity, 1).astype(np.float64) ** -numbers.target_power
    first = 0
    while first < rows:
        before = last[first - 1] if first else 0
        end = int(np.searchsorted(last, before + BLOCK_PAIRS // (2 * max_distance), side="right"))
        end = max(end, first + 1)
        places = by_item[before : last[end - 1]]
        here = trained[places]
        room_here = {side: count[places] for side, count in room.items()}
        found = []
        for distance in range(1, max_distance + 1):
            forward = np.exp(-(distance - 1) / numbers.decay)
            for side, weight in ((1, forward), (-1, numbers.backward * forward)):
                if not weight:
                    continue
                inside = room_here[side] >= distance
                item, other = here[inside], trained[places[inside] + side * distance]
                pair = item != other
                found.append((item[pair] - first, other[pair], np.full(np.count_nonzero(pair), weight, np.float32)))
        row, column, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
        counts = sparse.coo_array((value, (row, column)), (end - first, rows)).tocsr()
        counts.data = (
            counts.data * np.repeat(source[first:end], np.diff(counts.indptr)) * target[counts.indices]
        ).astype(np.float32)
        yield first, counts
        first = end


def _keep_best(block: sparse.csr_array, items: np.ndarray, weights: np.ndarray) -> None:
    """Writes the greatest entries of each row; of equals the lower item first."""
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    # One number to sort by: the row, then the greater weight first. Weights are positive, so their bits are in their
    # order. The items of a row are in order already, and a stable sort leaves those of equal weight so.
    descending = np.int64(2**31) - block.data.view(np.int32)
    order = np.argsort((row << 32) + descending, kind="stable")
    place = np.arange(len(order)) - np.repeat(block.indptr[:-1], np.diff(block.indptr))
    kept = place < items.shape[1]
    order = order[kept]
    items[row[kept], place[kept]] = block.indices[order]
    weights[row[kept], place[kept]] = block.data[order]


def history_weights(length: int, recency: float) -> np.ndarray:
    """float64 [length], exp(-age / recency) of the items of a history, the most recent last."""
    return np.exp(-np.arange(length - 1, -1, -1) / recency)


def ndcg(dataset: SequenceDataset, neighbours: Neighbours, recency: float, length: int = 20) -> float:
    """NDCG@20 on the validation items, in the `paper` protocol: exact, from the few items that score at all.

    Args:
        dataset: the sequences.
        neighbours: of all items.
        recency: see above.
        length: items of a history that count.
    """
    held_out, rows = HeldOut(dataset, "valid"), dataset.num_items + 2
    exists = neighbours.weights > 0
    table = sparse.csr_array(
        (neighbours.weights[exists], neighbours.items[exists], np.cumsum([0, *exists.sum(axis=1)])), (rows, rows)
    )
    gains = 0.0
    step = max(1, BLOCK_SCORES // (length * neighbours.items.shape[1]))
    for begin in range(0, dataset.num_users, step):
        users = np.arange(begin, min(begin + step, dataset.num_users))
        start, target = held_out.history_start[users], held_out.target[users]
        column = np.arange(-length, 0) + target[:, None]
        inside = column >= start[:, None]
        recent = dataset.items[np.where(inside, column, 0)]
        values = np.broadcast_to(history_weights(length, recency), recent.shape)
        ends = np.cumsum([0, *inside.sum(axis=1)])
        scores = (sparse.csr_array((values[inside], recent[inside], ends), (len(users), rows)) @ table).tocsr()
        gains += _gains(dataset, start, target, scores)
    return gains / dataset.num_users


def _gains(dataset: SequenceDataset, start: np.ndarray, target: np.ndarray, scores: sparse.csr_array) -> float:
    """The sum over users of 1 / log2(rank + 1) where the rank is at most 20; all other items score 0."""
    rows = scores.shape[1]
    user = np.repeat(np.arange(len(target)), np.diff(scores.indptr))
    code = user * rows + scores.indices
    length = target - start
    owner = np.repeat(np.arange(len(target)), length)
    place = np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)
    seen = np.unique(owner * rows + dataset.items[place])
    unseen = ~np.isin(code, seen)
    user, item, value = user[unseen], scores.indices[unseen], scores.data[unseen]
    wanted = dataset.items[target]
    own = np.zeros(len(target))
    is_target = item == wanted[user]
    own[user[is_target]] = value[is_target]
    lower = item < wanted[user]
    ahead = np.bincount(user, (value > own[user]) | ((value == own[user]) & lower), len(target))
    zeros_below = wanted - np.bincount(user, lower, len(target))
    rank = 1 + ahead + np.where(own == 0, zeros_below, 0)
    return float((1 / np.log2(rank[rank <= CUTOFF] + 1)).sum())


STEPS: dict[str, Callable[[float], tuple[float, float]]] = {
    "recency": lambda value: (value / 1.6, value * 1.6),
    "decay": lambda value: (value / 2, value * 2),
    "backward": lambda value: (max(0.0, value - 0.2), min(1.0, value + 0.2)),
    "source_power": lambda value: (value - 0.1, value + 0.1),
    "target_power": lambda value: (value - 0.1, value + 0.1),
}
"""The values beside one that the walk looks at, by number, in the order it walks."""


def choose_numbers(
    dataset: SequenceDataset,
    start: Numbers,
    max_distance: int = 20,
    num_neighbours: int = 100,
    length: int = 20,
) -> Numbers:
    """The numbers of the best validation NDCG@20 that a coordinate walk finds: once through all five and back.

    Each number goes on in the direction that is better as long as it is.

    Args:
        dataset: the sequences.
        start: where the walk begins.
        max_distance, num_neighbours: as in `count_neighbours`.
        length: items of a history that count.
    """
    tried: dict[Numbers, float] = {}
    counted: dict[Numbers, Neighbours] = {}

    def value(numbers: Numbers) -> float:
        if numbers not in tried:
            counts = replace(numbers, recency=1.0)
            if counts not in counted:
                counted.clear()  # the last one is all that comes again
                counted[counts] = count_neighbours(dataset, numbers, max_distance, num_neighbours)
            tried[numbers] = ndcg(dataset, counted[counts], numbers.recency, length)
        return tried[numbers]

    best = start
    for name in (*STEPS, "recency"):
        for side in (0, 1):
            moved = False
            while True:
                near = replace(best, **{name: round(STEPS[name](getattr(best, name))[side], 4)})
                if value(near) <= value(best):
                    break
                best, moved = near, True
            if moved:
                break
    return best
