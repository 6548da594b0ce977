"""Prefixes, and the item that comes next (RecBole, ICSRec, FENRec): one label a sequence, at its last item.

Nothing here materialises a prefix: an example is the flat position of its target, and its input is the slice of at
most `max_length` items just before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from tf_fenrec.data.packing import Labels, Sequences, hard_labels, take
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError, one_of

LabelRule = Literal["first_occurrence", "position"]
LABEL_WINDOW = 3  # the target and the next two items, Eq. 6


@dataclass(frozen=True)
class SoftLabels:
    """Time-dependent soft labels (Eq. 6-7): the target and the next two items, less the later they come.

    Args:
        gamma: decay of their weights 1, gamma, gamma^2.
        rule: where the window starts, see `Prefixes.windows`.
    """

    gamma: float
    rule: LabelRule = "first_occurrence"

    def __post_init__(self) -> None:
        one_of("rule", self.rule, get_args(LabelRule))


def check_trainable(dataset: SequenceDataset, counts: np.ndarray) -> None:
    """Raises InputError when no user gives an example.

    Args:
        counts: int [U], examples of each user.
    """
    if not counts.any():
        raise InputError(
            "training needs a user with at least 4 items (one training target, one for validation, one for "
            f"test). Received: {dataset.name}, longest sequence {dataset.lengths.max(initial=0)}"
        )


class Prefixes:
    """Every training item from the second on is a target once: a user of n items gives n - 3 examples.

    Examples stand in the released program's order: users in file order, then increasing target position.

    Args:
        dataset: the sequences; v_{n-1} and v_n of each user are held out.
        max_length: L, the longest input.
        soft_labels: the decay gamma of time-dependent soft labels and where their window starts; None for one-hot
            labels.
        recent: only the last L training items of a user are inputs or targets (BSARec). Defaults to False.
        empty: the first of them is a target too, predicted from nothing but a padding item 0 (BSARec). Defaults to
            False.

    Raises:
        InputError: when no user has the 4 items that an example needs.

    Attributes:
        user: int64 [E], number of each example's user.
        lengths: int64 [E], tokens of each example's input.
        target: int64 [E], flat position of each example's target.
        start: int64 [E], flat position of the first item of its input; the input ends just before `target`.
        train_end: int64 [E], flat position just after the last training item v_{n-2} of its user.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        max_length: int = 50,
        soft_labels: SoftLabels | None = None,
        recent: bool = False,
        empty: bool = False,
    ) -> None:
        self.dataset = dataset
        self.max_length = max_length
        self.soft_labels = soft_labels
        begin, train_end = dataset.offsets[:-1], dataset.offsets[1:] - 2
        if recent:
            begin = np.maximum(begin, train_end - max_length)
        first = begin if empty else begin + 1
        counts = train_end - first
        check_trainable(dataset, counts)
        self.user = user = np.repeat(np.arange(dataset.num_users), counts)
        number_in_user = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self.target = first[user] + number_in_user
        self.start = np.maximum(begin[user], self.target - max_length)
        self.train_end = train_end[user]
        self.lengths = np.maximum(self.target - self.start, 1)

    def __len__(self) -> int:
        return len(self.target)

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        """The inputs of examples `rows` int [B], each with the label of its last item."""
        inputs = self.inputs(rows)
        tokens = np.cumsum(inputs.lengths) - 1
        if self.soft_labels is None:
            return inputs._replace(labels=hard_labels(tokens, self.target_items[rows]))
        ids, weights = self.windows(rows, self.soft_labels.gamma, self.soft_labels.rule)
        return inputs._replace(labels=Labels(tokens, ids, weights.astype(np.float32)))

    def inputs(self, rows: np.ndarray) -> Sequences:
        """The inputs of examples `rows` int [B] alone."""
        inputs = take(self.dataset.items, self.start[rows], self.target[rows])
        return with_padding(inputs)._replace(users=self.user[rows])

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """int32 [B], the targets: examples of one target are no negatives of each other."""
        return self.target_items[rows]

    def histories(self, rows: np.ndarray) -> Sequences:
        """All training items of the users before the targets."""
        return with_padding(take(self.dataset.items, self.dataset.offsets[self.user[rows]], self.target[rows]))

    @cached_property
    def target_items(self) -> np.ndarray:
        """int32 [E], the item id of each example's target."""
        return self.dataset.items[self.target]

    def windows(
        self, rows: np.ndarray, gamma: float, rule: LabelRule = "first_occurrence"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Time-dependent soft labels (Eq. 6-7): the target and the next two items of the training part.

        Args:
            rows: int [B], example numbers.
            gamma: decay of the weights 1, gamma, gamma^2, normalised over the items that exist.
            rule: "position" starts the window at the target (Eq. 7); "first_occurrence", the released program, at
                the first occurrence of the target item in the user's training part. They differ only where a user
                repeats items; the weights of a repeated item add up.

        Returns:
            int32 [B, 3] item ids and float64 [B, 3] weights; missing items have id 0 and weight 0.
        """
        one_of("rule", rule, get_args(LabelRule))
        first = self._first_occurrence[rows] if rule == "first_occurrence" else self.target[rows]
        window = first[:, None] + np.arange(LABEL_WINDOW)
        exists = window < self.train_end[rows][:, None]
        weights = np.where(exists, float(gamma) ** np.arange(LABEL_WINDOW), 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        ids = np.where(exists, self.dataset.items[np.where(exists, window, 0)], 0)
        return ids.astype(np.int32), weights

    @cached_property
    def _first_occurrence(self) -> np.ndarray:
        items = self.dataset.items
        user = np.repeat(np.arange(self.dataset.num_users, dtype=np.int64), self.dataset.lengths)
        # Held-out items come after all training items of their user, so they can't be a training target's first.
        _, first, inverse = np.unique(
            user * (self.dataset.num_items + 2) + items, return_index=True, return_inverse=True
        )
        return first[inverse[self.target]]

    @cached_property
    def last_partner(self) -> np.ndarray:
        """int64 [E], the released same-target view: the last example with the same target and another input.

        The example itself where there is none.
        """
        order, begin, end = self._target_groups
        group_begin, group_end = begin[self.target_items], end[self.target_items]
        last = order[group_end - 1]
        same_as_last = self._same_input(np.arange(len(self)), last)
        # Those equal to the last example of their group take the last example that differs from it.
        differs = ~same_as_last[order]
        position = np.where(differs, np.arange(len(order)), -1)
        latest_differing = np.maximum.accumulate(position)[group_end - 1]
        other = np.where(latest_differing >= group_begin, order[latest_differing], np.arange(len(self)))
        return np.where(same_as_last, other, last)

    def random_partners(self, examples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 [B], a uniformly drawn other example with the same target; the example itself if there is none."""
        order, group_begin, group_end = self._target_groups
        item = self.target_items[examples]
        begin, count = group_begin[item], (group_end - group_begin)[item]
        draw = (rng.random(len(examples)) * np.maximum(count - 1, 1)).astype(np.int64)
        draw += (draw >= self._number_in_group[examples] - begin) & (count > 1)  # skip the example itself
        return order[begin + draw]

    @cached_property
    def _target_groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Examples sorted by target item (stable), and for each item [V + 2] where its group begins and ends there."""
        counts = np.bincount(self.target_items, minlength=self.dataset.num_items + 2)
        end = np.cumsum(counts)
        return np.argsort(self.target_items, kind="stable"), end - counts, end

    @cached_property
    def _number_in_group(self) -> np.ndarray:
        order = self._target_groups[0]
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        return number

    def _same_input(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """bool [E], whether the inputs of examples a and b hold the same items."""
        items, target = self.dataset.items, self.target
        lengths = target - self.start
        same = lengths[a] == lengths[b]
        alike = np.flatnonzero(same)  # so far, looking back from the targets
        for back in range(1, self.max_length + 1):
            alike = alike[lengths[a[alike]] >= back]
            equal = items[target[a[alike]] - back] == items[target[b[alike]] - back]
            same[alike[~equal]] = False
            alike = alike[equal]
        return same


def with_padding(sequences: Sequences) -> Sequences:
    """The sequences, empty ones as one padding item."""
    if sequences.lengths.all():
        return sequences
    before = np.cumsum(sequences.lengths)[sequences.lengths == 0]
    items = np.insert(sequences.items, before, 0)
    return Sequences(items, np.maximum(sequences.lengths, 1))
