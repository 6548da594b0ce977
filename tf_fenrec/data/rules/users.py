"""One example a user: every training item is predicted from those before it (SASRec, CoSeRec, ICLRec, MVS)."""

from __future__ import annotations

import numpy as np

from tf_fenrec.data.packing import Labels, Sequences, hard_labels, runs, take
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels, check_trainable
from tf_fenrec.data.sequences import SequenceDataset


class Users:
    """One example a user: the last `max_length` training items but one, each labelled with the item that follows.

    Its labels are those of the user's last `max_length` examples of `Prefixes`. Users need two training items.

    Args:
        dataset: the sequences; v_{n-1} and v_n of each user are held out.
        max_length: L, the longest input.
        soft_labels: the decay gamma of time-dependent soft labels and where their window starts; None for one-hot
            labels.

    Raises:
        InputError: when no user has the 4 items that an example needs.

    Attributes:
        user: int64 [E], number of each example's user.
        lengths: int64 [E], items of each example's input.
        start: int64 [E], flat position of the first item of its input.
        end: int64 [E], flat position just after its input: that of the user's last training item v_{n-2}.
    """

    def __init__(self, dataset: SequenceDataset, max_length: int = 50, soft_labels: SoftLabels | None = None) -> None:
        self.dataset = dataset
        self.max_length = max_length
        self.soft_labels = soft_labels
        labels = np.maximum(dataset.lengths - 3, 0)
        check_trainable(dataset, labels)
        self.user = user = np.flatnonzero(labels)
        self.end = dataset.offsets[user + 1] - 3
        self.start = np.maximum(dataset.offsets[user], self.end - max_length)
        self.lengths = self.end - self.start
        if soft_labels is not None:
            self._prefixes = Prefixes(dataset, max_length, soft_labels)
            self._prefixes_end = np.cumsum(labels)[user]  # the number just after each user's last example of Prefixes

    def __len__(self) -> int:
        return len(self.user)

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        """The inputs of examples `rows` int [B], with a label at every token."""
        inputs = self.inputs(rows)
        tokens = np.arange(len(inputs.items))
        if self.soft_labels is None:
            following = take(self.dataset.items, self.start[rows] + 1, self.end[rows] + 1)
            return inputs._replace(labels=hard_labels(tokens, following.items))
        examples = runs(self._prefixes_end[rows] - inputs.lengths, inputs.lengths)
        ids, weights = self._prefixes.windows(examples, self.soft_labels.gamma, self.soft_labels.rule)
        return inputs._replace(labels=Labels(tokens, ids, weights.astype(np.float32)))

    def inputs(self, rows: np.ndarray) -> Sequences:
        """The inputs of examples `rows` int [B] alone."""
        return take(self.dataset.items, self.start[rows], self.end[rows])._replace(users=self.user[rows])

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """int32 [B], the last targets, as with `Prefixes`: the users of a batch all differ."""
        return self.dataset.items[self.end[rows]]

    def histories(self, rows: np.ndarray) -> Sequences:
        """All training items of the users but the last, which is a target only."""
        begin = self.dataset.offsets[self.user[rows]]
        return take(self.dataset.items, begin, self.end[rows])._replace(users=self.user[rows])
