"""The one form in which every dataset is held: flat item ids and user offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_fenrec.errors import InputError


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

    Raises:
        InputError: when offsets or items break these rules, or a user has fewer than 3 items (training, validation,
            test).
    """

    name: str
    items: np.ndarray
    offsets: np.ndarray
    num_items: int
    item_ids: tuple[str, ...] | None = None
    item_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        offsets, items = self.offsets, self.items
        if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(items):
            received = f"{offsets[0]} to {offsets[-1]}" if len(offsets) else "none"
            raise InputError(f"`offsets` should run from 0 to the {len(items)} items. Received: {received}")
        short = np.flatnonzero(self.lengths < 3)
        if len(short):
            user = short[0]
            raise InputError(f"a user should have at least 3 items. Received: {self.lengths[user]} of user {user}")
        if len(items) and not 1 <= items.min() <= items.max() <= self.num_items:
            raise InputError(
                f"`items` should be from 1 to `num_items`, {self.num_items}. Received: {items.min()} to {items.max()}"
            )

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [U], the number of interactions of each user."""
        return np.diff(self.offsets)

    def in_training(self) -> np.ndarray:
        """bool [M], whether an item is in its user's training part v_1..v_{n-2}."""
        inside = np.ones(len(self.items), bool)
        inside[self.offsets[1:] - 1] = False
        inside[self.offsets[1:] - 2] = False
        return inside

    def sequence(self, user: int) -> np.ndarray:
        """int32 [n], the sequence of user number `user` (from 0, in file order)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]
