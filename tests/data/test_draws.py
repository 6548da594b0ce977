"""Draws of tokens."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_fenrec.data.draws import check_share, random_tokens, share_of
from tf_fenrec.errors import InputError


@given(data=st.data(), lengths=st.lists(st.integers(0, 7), max_size=9), seed=st.integers(0, 2**32))
def test_as_many_tokens_are_drawn_of_each_sequence_as_said(data: st.DataObject, lengths: list[int], seed: int) -> None:
    counts = [data.draw(st.integers(0, length)) for length in lengths]
    drawn = random_tokens(np.array(lengths, int), np.array(counts, int), np.random.default_rng(seed))
    parts = np.split(drawn, np.cumsum(lengths)[:-1]) if lengths else []
    assert [int(part.sum()) for part in parts] == counts
    assert len(drawn) == sum(lengths)


def test_all_sets_of_tokens_are_equally_likely() -> None:
    drawn = random_tokens(np.full(6000, 4), np.full(6000, 2), np.random.default_rng(0)).reshape(-1, 4)
    counts = Counter(map(tuple, drawn.tolist()))
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts.values()) < 5 * np.sqrt(6000 * 5 / 36)


@given(share=st.floats(0, 1), length=st.integers(0, 50))
def test_shares_are_rounded_down_as_python_does(share: float, length: int) -> None:
    assert share_of(share, np.array([length])).tolist() == [int(share * length)]


def test_a_share_is_from_0_to_1() -> None:
    check_share(ratio=0.0, rate=1.0)
    with pytest.raises(InputError, match=r"`rate` should be from 0 to 1\. Received: 1\.2"):
        check_share(ratio=0.5, rate=1.2)
