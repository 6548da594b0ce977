"""Packing loses nothing, overlaps nothing and says where everything is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_data import join, split, unpack
from tf_fenrec.data.packing import ROWS_MULTIPLE, Sequences, most_in_a_row, pack, take


@st.composite
def widths_and_sequences(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    width = draw(st.integers(1, 9))
    sequence = st.lists(st.integers(1, 30), min_size=1, max_size=width)
    return width, draw(st.lists(sequence, min_size=1, max_size=60))


@given(drawn=widths_and_sequences(), packed=st.booleans())
def test_unpacking_gives_the_sequences_back(drawn: tuple[int, list[list[int]]], packed: bool) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), width, packed)
    assert unpack(batch) == sequences
    assert all(array.dtype == np.int32 for array in batch.values())
    assert batch["items"].shape == batch["segments"].shape == batch["positions"].shape
    assert batch["items"].shape[1] == width


@given(drawn=widths_and_sequences(), packed=st.booleans())
def test_segments_and_positions(drawn: tuple[int, list[list[int]]], packed: bool) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), width, packed)
    segments, positions = batch["segments"], batch["positions"]
    assert ((segments == 0) == (batch["items"] == 0)).all()
    assert (segments > 0).sum() == sum(map(len, sequences))
    assert (positions[segments == 0] == 0).all()
    owners = [(token // width, segments.flat[token]) for token in batch["last"].tolist()]
    assert len(set(owners)) == len(sequences)  # no two sequences share a segment of a row
    most = most_in_a_row(width) if packed else 1
    assert batch["slots"].shape == (len(segments), most)
    assert segments.max() <= most
    assert [batch["slots"][row, segment - 1] for row, segment in owners] == list(range(len(sequences)))
    for (row, segment), sequence in zip(owners, sequences, strict=True):
        columns = np.flatnonzero(segments[row] == segment)
        assert columns.tolist() == list(range(columns[0], columns[0] + len(sequence)))
        assert positions[row, columns].tolist() == list(range(width - len(sequence), width))


@given(drawn=widths_and_sequences())
def test_the_padded_form_is_right_aligned(drawn: tuple[int, list[list[int]]]) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), width, packed=False)
    assert batch["items"].tolist() == [[0] * (width - len(sequence)) + sequence for sequence in sequences]
    assert batch["last"].tolist() == [row * width + width - 1 for row in range(len(sequences))]


def fewest_rows(lengths: list[int], width: int) -> int:
    """As many as there are tokens and sequences for, up to the multiple."""
    needed = max(-(-sum(lengths) // width), -(-len(lengths) // most_in_a_row(width)))
    return -(-needed // ROWS_MULTIPLE) * ROWS_MULTIPLE


@given(drawn=widths_and_sequences())
def test_more_rows_than_the_fewest_come_only_when_all_are_half_full(drawn: tuple[int, list[list[int]]]) -> None:
    width, sequences = drawn
    segments = pack(join(sequences), width)["segments"]
    fewest = fewest_rows([len(sequence) for sequence in sequences], width)
    assert len(segments) >= fewest
    if len(segments) > fewest:
        before = segments[:-ROWS_MULTIPLE]
        assert ((2 * (before > 0).sum(axis=1) >= width) | (before.max(axis=1) == most_in_a_row(width))).all()


@pytest.mark.parametrize("mean", [2, 4.5, 7])
def test_sequences_as_logs_have_them_take_the_fewest_rows(mean: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = np.minimum(rng.geometric(1 / mean, 768), 50)
        batch = pack(Sequences(np.ones(lengths.sum(), np.int32), lengths), 50)
        assert len(batch["items"]) == fewest_rows(lengths.tolist(), 50)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=9))
def test_take_slices(slices: list[tuple[int, int]]) -> None:
    items = np.arange(100, 114, dtype=np.int32)
    start = np.array([begin for begin, _ in slices])
    end = start + np.array([length for _, length in slices])
    assert split(take(items, start, end)) == [list(range(100 + a, 100 + b)) for a, b in zip(start, end, strict=True)]
