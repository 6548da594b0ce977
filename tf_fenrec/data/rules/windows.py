"""Windows of a user's training items, each item predicted from those before it (LRURec)."""

from __future__ import annotations

import numpy as np

from tf_fenrec.data.packing import Sequences, hard_labels, take
from tf_fenrec.data.rules.prefixes import check_trainable, with_padding
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError


def latest_first(
    dataset: SequenceDataset, counts: np.ndarray, max_length: int, step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, start and end (flat positions) of windows of at most L training items, each user's latest first.

    Args:
        dataset: the sequences.
        counts: int64 [U], windows of each user. The first one ends with the last training item; each other starts
            `step` items before the one before it, or with the user's first item.
        max_length: L.
        step: items between the starts.
    """
    user = np.repeat(np.arange(dataset.num_users), counts)
    number = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    trained = dataset.lengths[user] - 2
    begin = dataset.offsets[user]
    start = begin + np.maximum(np.maximum(trained - max_length, 0) - number * step, 0)
    return user, start, np.minimum(start + max_length, begin + trained)


def check_step(step: int) -> None:
    """Raises InputError when windows wouldn't move."""
    if step < 1:
        raise InputError(f"`step` should be at least 1. Received: {step}")


class Windows:
    """Windows over the training items, whose every item is a label: an item more than `Prefixes` or `Users` predict.

    A user of fewer than L + `step` training items gives one window, the last L of them; others give windows of L
    items, from the last item back as long as whole ones fit. The label of a window's first item stands at the item
    before it where the user gives one window and has such an item, and else at a padding item 0, which no other token
    sees. Users need two training items.

    Args:
        dataset: the sequences; v_{n-1} and v_n of each user are held out.
        max_length: L, the longest window.
        step: items between the starts of a user's windows. Defaults to None, L: they don't overlap.

    Raises:
        InputError: when no user has two training items, or `step` is less than 1.

    Attributes:
        user: int64 [E], number of each example's user.
        lengths: int64 [E], labels of each window, which are as many as the tokens of its input.
        start, end: int64 [E], flat positions of its first label and just after its last one.
        begins: bool [E], whether its input begins with the padding item.
    """

    def __init__(self, dataset: SequenceDataset, max_length: int = 50, step: int | None = None) -> None:
        step = max_length if step is None else step
        check_step(step)
        self.dataset = dataset
        self.max_length = max_length
        trained = dataset.lengths - 2
        several = trained >= max_length + step
        counts = np.where(several, (trained - max_length) // step + 1, trained >= 2)
        check_trainable(dataset, counts)
        self.user, self.start, self.end = latest_first(dataset, counts, max_length, step)
        self.begins = several[self.user] | (self.start == dataset.offsets[self.user])
        self.lengths = self.end - self.start

    def __len__(self) -> int:
        return len(self.user)

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        """The inputs of examples `rows` int [B], with a label at every token."""
        labels = take(self.dataset.items, self.start[rows], self.end[rows]).items
        return self.inputs(rows)._replace(labels=hard_labels(np.arange(len(labels)), labels))

    def inputs(self, rows: np.ndarray) -> Sequences:
        """The inputs of examples `rows` int [B] alone."""
        inputs = take(self.dataset.items, self.start[rows] - 1, self.end[rows] - 1)
        first = np.cumsum(inputs.lengths) - inputs.lengths
        inputs.items[first[self.begins[rows]]] = 0
        return inputs._replace(users=self.user[rows])

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """int32 [B], the users: windows of one user are no negatives of each other."""
        return self.user[rows].astype(np.int32)

    def histories(self, rows: np.ndarray) -> Sequences:
        """All training items of the users before the windows' last labels."""
        begin = self.dataset.offsets[self.user[rows]]
        return with_padding(take(self.dataset.items, begin, self.end[rows] - 1))._replace(users=self.user[rows])
