"""Which operation changes which sequence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from tests.small_data import dataset_of, random_dataset, split
from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.rules.prefixes import Prefixes
from tf_fenrec.data.rules.users import Users
from tf_fenrec.data.views import Augmented, Crop
from tf_fenrec.errors import InputError


@dataclass(frozen=True)
class Marked:
    """Adds a number to all items, and so tells which operation was drawn."""

    number: int

    def __call__(self, sequences: Sequences, rng: np.random.Generator) -> Sequences:
        rng.random(self.number)  # draws as many numbers as it likes
        return sequences._replace(items=sequences.items + 1000 * self.number)


MARKED = [Marked(number) for number in (1, 2, 3)]
RULE = Prefixes(random_dataset(users=400), 5)
ROWS = np.arange(len(RULE))[::-1]


def marks(view: Augmented, seed: int, rule: Prefixes | Users = RULE, rows: np.ndarray = ROWS) -> np.ndarray:
    """The operation each example was given; its items must be its input's, in place."""
    drawn = view(rule, rows, np.random.default_rng([seed, 1]))
    assert split(drawn._replace(items=drawn.items % 1000)) == split(rule.inputs(rows))
    assert drawn.users.tolist() == rule.user[rows].tolist()
    found = [{item // 1000 for item in sequence} for sequence in split(drawn)]
    assert all(len(one) == 1 for one in found)
    return np.array([one.pop() for one in found])


def check_uniform(counts: Counter, outcomes: int) -> None:
    total = counts.total()
    assert len(counts) == outcomes
    for count in counts.values():
        assert abs(count - total / outcomes) < 5 * np.sqrt(total / outcomes)


def test_every_operation_is_drawn_alike() -> None:
    check_uniform(Counter(marks(Augmented(MARKED), 0).tolist()), 3)


def test_views_of_different_numbers_differ_in_every_example() -> None:
    one, other = (marks(Augmented(MARKED, number=number), 0) for number in (0, 1))
    check_uniform(Counter(zip(one.tolist(), other.tolist(), strict=True)), 6)
    assert (one != other).all()
    again, later = (marks(Augmented(MARKED, number=0), seed) for seed in (0, 1))
    assert (one == again).all()
    assert (one != later).any()


def test_views_differ_also_where_one_generator_serves_both() -> None:
    """As in a batch: the second view begins where the first one's draws end."""
    rng = np.random.default_rng([0, 1])
    drawn = [Augmented(MARKED, number=number)(RULE, ROWS, rng).items // 1000 for number in (0, 1)]
    assert (drawn[0] != drawn[1]).all()


def test_views_without_numbers_are_independent() -> None:
    rng = np.random.default_rng(0)
    first = np.cumsum(RULE.lengths[ROWS]) - RULE.lengths[ROWS]
    drawn = [Augmented(MARKED)(RULE, ROWS, rng).items[first] // 1000 for _ in range(2)]
    check_uniform(Counter(zip(*(part.tolist() for part in drawn), strict=True)), 9)


@pytest.mark.parametrize("number", [None, 0, 1])
def test_short_sequences_have_operations_of_their_own(number: int | None) -> None:
    found = marks(Augmented(MARKED, short=MARKED[1:], threshold=2, number=number), 0)
    short = RULE.lengths[ROWS] <= 2
    check_uniform(Counter(found[short].tolist()), 2)
    check_uniform(Counter(found[~short].tolist()), 3)


def test_uncut_sequences_are_cut_afterwards() -> None:
    """The operations see what came before the input; a length is that of all items."""
    sequence = list(range(1, 13))
    rule = Users(dataset_of([sequence]), 4)
    rows = np.zeros(500, int)
    whole = Augmented([Crop(0.5)], uncut=True)(rule, rows, np.random.default_rng(0))
    crops = [sequence[start : start + 4] for start in range(9)]  # of 9 items, all crops of 4
    assert {tuple(one) for one in split(whole)} == {tuple(one) for one in crops if one[-1] <= 9}
    cut = Augmented([Crop(0.5)])(rule, rows, np.random.default_rng(0))
    assert {tuple(one) for one in split(cut)} == {(6, 7), (7, 8), (8, 9)}
    kept = Augmented([Marked(1)], short=[Marked(2)], threshold=8, uncut=True)(rule, rows[:1], np.random.default_rng(0))
    assert split(kept) == [[1006, 1007, 1008, 1009]]


def test_there_must_be_an_operation_for_each_number() -> None:
    with pytest.raises(InputError, match=r"`operations` should be at least 2 .* Received: 1"):
        Augmented(MARKED, short=MARKED[:1], threshold=3, number=1)
    with pytest.raises(InputError, match=r"at least 1 .* Received: 0"):
        Augmented([])
