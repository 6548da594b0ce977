"""Small datasets, and the data rules of the method in slow plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.sequences import SequenceDataset

MOST_ITEMS = 6


def dataset_of(sequences: list[list[int]], num_items: int | None = None) -> SequenceDataset:
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    items = np.array([item for sequence in sequences for item in sequence], np.int32)
    return SequenceDataset("small", items, offsets, num_items or int(items.max()))


def user_sequences(most_users: int = 6, longest: int = 12) -> st.SearchStrategy[list[list[int]]]:
    """Sequences of a few users over few items, so that targets, repeats and equal prefixes are frequent."""
    return st.lists(st.lists(st.integers(1, MOST_ITEMS), min_size=3, max_size=longest), min_size=1, max_size=most_users)


def random_dataset(users: int = 40, num_items: int = 20, longest: int = 11, seed: int = 0) -> SequenceDataset:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, longest + 1, users)
    return dataset_of([rng.integers(1, num_items + 1, length).tolist() for length in lengths], num_items)


def slow_examples(sequences: list[list[int]], max_length: int) -> list[tuple[int, list[int], int]]:
    """User, input and target of every training example, in the official order."""
    return [
        (user, sequence[max(0, end - max_length) : end], sequence[end])
        for user, sequence in enumerate(sequences)
        for end in range(1, len(sequence) - 2)
    ]


def split(sequences: Sequences) -> list[list[int]]:
    """The sequences as lists."""
    parts = np.split(sequences.items, np.cumsum(sequences.lengths)[:-1])
    return [part.tolist() for part in parts]


def join(sequences: list[list[int]]) -> Sequences:
    """The inverse of `split`."""
    items = np.array([item for sequence in sequences for item in sequence], np.int32)
    return Sequences(items, np.array([len(sequence) for sequence in sequences], np.int64))


def unpack(batch: dict[str, np.ndarray]) -> list[list[int]]:
    """The sequences of a sequence batch in order, read back through `last` and `segments` alone."""
    width = batch["items"].shape[1]
    sequences = []
    for row, column in (divmod(int(token), width) for token in batch["last"]):
        mine = batch["segments"][row] == batch["segments"][row, column]
        assert np.flatnonzero(mine)[-1] == column
        sequences.append(batch["items"][row, mine].tolist())
    return sequences
