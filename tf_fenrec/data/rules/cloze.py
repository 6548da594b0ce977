"""Windows with hidden items, which are predicted from what stands on both sides (BERT4Rec, CBiT)."""

from __future__ import annotations

import numpy as np

from tf_fenrec.data.draws import check_share, random_tokens
from tf_fenrec.data.packing import Sequences, hard_labels, take
from tf_fenrec.data.rules.prefixes import check_trainable
from tf_fenrec.data.rules.windows import check_step, latest_first
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError


class Cloze:
    """Windows of at most L training items, some of which are hidden and to be predicted; drawn anew at every step.

    The last L training items are a window, and all those that start `step`, 2 `step`, ... items before them; the last
    of these is cut short so that it starts with the user's first item. Users need two training items.

    A chosen item becomes the mask V + 1; with `masked_share` below 1, the rest of the chosen ones are left as they are
    or become a random item, half of them each. All chosen items are labels, and no others are.

    BERT4Rec on Beauty is `Cloze(dataset, 50, step=5, mask_probability=0.6, exact=True, last_probability=1 / 11)`: its
    program stores each window ten times, masked at random, and once with its last item masked. CBiT is
    `Cloze(dataset, 15, mask_probability=0.15, masked_share=0.8)`.

    Args:
        dataset: the sequences; v_{n-1} and v_n of each user are held out.
        max_length: L, the longest window.
        step: items between the starts of a user's windows.
        mask_probability: p. Each item is chosen with this probability, independently: perhaps none of a window.
        exact: round(p n) of a window's n items are chosen instead, but at least one.
        masked_share: share of the chosen items that become the mask.
        last_probability: with this probability a window's last item alone is chosen, and masked, as when the model is
            asked for the next item.

    Raises:
        InputError: when no user has two training items, or an argument is out of its range.

    Reference:
        - BERT4Rec (Sun et al., CIKM 2019, arXiv 1904.06690), CBiT (Du et al., CIKM 2022, arXiv 2208.03895).

    Attributes:
        user: int64 [E], number of each example's user.
        lengths: int64 [E], items of each window.
        start, end: int64 [E], flat positions of its first item and just after its last one.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        max_length: int = 50,
        step: int = 1,
        mask_probability: float = 0.15,
        exact: bool = False,
        masked_share: float = 1.0,
        last_probability: float = 0.0,
    ) -> None:
        check_step(step)
        check_share(mask_probability=mask_probability, masked_share=masked_share, last_probability=last_probability)
        if not mask_probability:
            raise InputError("`mask_probability` should be more than 0. Received: 0")
        self.dataset = dataset
        self.max_length = max_length
        self.mask_probability = mask_probability
        self.exact = exact
        self.masked_share = masked_share
        self.last_probability = last_probability
        trained = dataset.lengths - 2
        counts = np.where(trained >= 2, -(-np.maximum(trained - max_length, 0) // step) + 1, 0)
        check_trainable(dataset, counts)
        self.user, self.start, self.end = latest_first(dataset, counts, max_length, step)
        self.lengths = self.end - self.start

    def __len__(self) -> int:
        return len(self.user)

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        """The windows of examples `rows` int [B], with the hidden items as labels where they stood."""
        windows = self.inputs(rows)
        items, mask = windows.items, self.dataset.num_items + 1
        chosen, fates = self._chosen(windows.lengths, rng), rng.random(len(items))
        random_items = rng.integers(1, mask, len(items), np.int32)
        hidden = hide(items, chosen, fates, random_items, self.masked_share, mask)
        if self.last_probability:
            only_last = rng.random(len(rows)) < self.last_probability
            of_these = np.repeat(only_last, windows.lengths)
            chosen &= ~of_these
            hidden[of_these] = items[of_these]
            last = np.cumsum(windows.lengths)[only_last] - 1
            chosen[last], hidden[last] = True, mask
        tokens = np.flatnonzero(chosen)
        return windows._replace(items=hidden, labels=hard_labels(tokens, items[tokens]))

    def _chosen(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """bool [M], the items to be predicted."""
        if not self.exact:
            return rng.random(lengths.sum()) < self.mask_probability
        counts = np.floor(self.mask_probability * lengths + 0.5).astype(np.int64)
        return random_tokens(lengths, np.maximum(counts, 1), rng)

    def inputs(self, rows: np.ndarray) -> Sequences:
        """The windows of examples `rows` int [B] with nothing hidden."""
        return take(self.dataset.items, self.start[rows], self.end[rows])._replace(users=self.user[rows])

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """int32 [B], the users: windows of one user are no negatives of each other."""
        return self.user[rows].astype(np.int32)

    def histories(self, rows: np.ndarray) -> Sequences:
        """All training items of the users up to the windows' ends."""
        begin = self.dataset.offsets[self.user[rows]]
        return take(self.dataset.items, begin, self.end[rows])._replace(users=self.user[rows])


def hide(
    items: np.ndarray, chosen: np.ndarray, fates: np.ndarray, random_items: np.ndarray, masked_share: float, mask: int
) -> np.ndarray:
    """int32 [M], items of which the chosen ones are masked, replaced or left as they are.

    Args:
        items: int32 [M].
        chosen: bool [M].
        fates: [M] from 0 to 1. Below `masked_share`: the mask; in the first half of the rest: the random item.
        random_items: int32 [M].
        masked_share: share of the chosen ones that are masked.
        mask: V + 1.
    """
    replaced = np.where(fates < (1 + masked_share) / 2, random_items, items)
    return np.where(chosen, np.where(fates < masked_share, np.int32(mask), replaced), items).astype(np.int32)
