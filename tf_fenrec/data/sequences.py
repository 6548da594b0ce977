"""The one form in which every dataset is held: flat item ids and user offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SequenceDataset:
    """Interaction sequences of U users over V items, in time order.

    User u's sequence v_1..v_n is `items[offsets[u]:offsets[u + 1]]`. Ids run from 1 to V; 0 is padding and V + 1 the
    mask, neither occurs here.

    Attributes:
        name: what the user asked for: a dataset's name or the path it was read from.
        items: int32 [M], all sequences one after the other.
        offsets: int64 [U + 1], where each user's sequence begins; the last entry is M.
        num_items: V.
        item_ids: the raw string id of item i at position i - 1, or None where the raw ids are the integers 1..V.
        item_names: a readable name of item i at position i - 1, or None.
    """

    name: str
    items: np.ndarray
    offsets: np.ndarray
    num_items: int
    item_ids: tuple[str, ...] | None = None
    item_names: tuple[str, ...] | None = None

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [U], the number of interactions of each user."""
        return np.diff(self.offsets)

    def sequence(self, user: int) -> np.ndarray:
        """int32 [n], the sequence of user number `user` (from 0, in file order)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]
