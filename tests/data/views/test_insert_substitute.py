"""Insert and substitute against the golden ones, and their draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import join, split
from tf_fenrec.data.views import Insert, Substitute
from tf_fenrec.data.views.insert_substitute import insert, substitute
from tf_fenrec.errors import InputError

SEQUENCES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=8)
SIMILAR = np.arange(11, dtype=np.int32) + 20  # of items that stand in no sequence


def table(similarity: str) -> np.ndarray:
    found = np.full(14, -1, np.int32)
    for item, neighbour in golden("baselines/coserec_augmentations")["neighbour_used"][similarity].items():
        found[int(item)] = neighbour
    return found


@pytest.mark.parametrize(
    ("name", "kind", "change"), [("insert", Insert, insert), ("substitute", Substitute, substitute)]
)
def test_changes_equal_the_golden_ones(name: str, kind: type[Insert | Substitute], change: object) -> None:
    cases = golden("baselines/coserec_augmentations")[name]
    assert len(cases) > 10
    for case in cases:
        drawn = np.isin(np.arange(len(case["sequence"])), case["positions"])
        assert kind(case["rate"], lambda: SIMILAR).counts(np.array([len(drawn)])).tolist() == [drawn.sum()]
        assert split(change(join([case["sequence"]]), drawn, table(case["similarity"]))) == [case["out"]]


@given(sequences=SEQUENCES, rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_similar_items_stand_before_as_many_as_said(sequences: list[list[int]], rate: float, seed: int) -> None:
    changed = Insert(rate, lambda: SIMILAR)(join(sequences), np.random.default_rng(seed))
    assert changed.items.dtype == np.int32
    for one, new in zip(sequences, split(changed), strict=True):
        assert [item for item in new if item < 20] == one
        inserted = [place for place, item in enumerate(new) if item >= 20]
        assert len(inserted) == max(1, int(rate * len(one)))
        assert all(new[place] == SIMILAR[new[place + 1]] for place in inserted)


@given(sequences=SEQUENCES, rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_similar_items_replace_as_many_as_said(sequences: list[list[int]], rate: float, seed: int) -> None:
    changed = Substitute(rate, lambda: SIMILAR)(join(sequences), np.random.default_rng(seed))
    assert changed.items.dtype == np.int32
    for one, new in zip(sequences, split(changed), strict=True):
        assert sum(item >= 20 for item in new) == max(1, int(rate * len(one)))
        assert all(item in (old, SIMILAR[old]) for old, item in zip(one, new, strict=True))


def test_the_table_may_change_from_batch_to_batch() -> None:
    tables = iter([SIMILAR, SIMILAR + 10])
    operation = Substitute(1.0, lambda: next(tables))
    changed = [split(operation(join([[1, 2]]), np.random.default_rng(0))) for _ in range(2)]
    assert changed == [[[21, 22]], [[31, 32]]]


def test_a_rate_is_from_0_to_1() -> None:
    with pytest.raises(InputError, match=r"`rate` should be from 0 to 1\. Received: -0\.1"):
        Insert(-0.1, lambda: SIMILAR)
