"""The held-out items of all users, and what stands before them."""

from __future__ import annotations

from typing import Literal, get_args

from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import one_of

Split = Literal["valid", "test"]


class HeldOut:
    """The validation or test inputs and targets of all users.

    The target is v_{n-1} ("valid") or v_n ("test"); what stands before it was seen.

    Attributes:
        target: int64 [U], flat position of each user's target.
        history_start: int64 [U], where the user's sequence begins: every item from there to the target was seen.
    """

    def __init__(self, dataset: SequenceDataset, split: Split) -> None:
        one_of("split", split, get_args(Split))
        self.target = dataset.offsets[1:] - (1 if split == "test" else 2)
        self.history_start = dataset.offsets[:-1]

    def __len__(self) -> int:
        return len(self.target)
