"""The published files have the counts that the papers report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tf_fenrec.data import load


@pytest.mark.parametrize(
    ("name", "users", "items", "interactions", "examples", "longest", "repeated_tests"),
    [
        ("beauty", 22_363, 12_101, 198_502, 131_413, 204, 0),
        ("Sports_and_Outdoors", 35_598, 18_357, 296_337, 189_543, 296, 0),
        ("toys", 19_412, 11_924, 167_597, 109_361, 550, 0),
        ("Yelp.txt", 30_431, 20_033, 316_354, 225_061, 350, 2_027),
    ],
)
def test_counts(
    data_dir: Path,
    name: str,
    users: int,
    items: int,
    interactions: int,
    examples: int,
    longest: int,
    repeated_tests: int,
) -> None:
    dataset = load(name, data_dir, download=False)
    assert (dataset.num_users, dataset.num_items, len(dataset.items)) == (users, items, interactions)
    assert (dataset.lengths - 3).sum() == examples
    assert (dataset.lengths.min(), dataset.lengths.max()) == (5, longest)
    sequences = map(dataset.sequence, range(dataset.num_users))
    assert sum(sequence[-1] in sequence[:-1] for sequence in sequences) == repeated_tests
    assert len(np.unique(dataset.items)) == dataset.items.max() == items
