"""Packing loses nothing, overlaps nothing and says where everything is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_data import join, split, unpack
from tf_fenrec.data.packing import ROWS_MULTIPLE, most_in_a_row, pack, take


@st.composite
def widths_and_sequences(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    width = draw(st.integers(1, 9))
    sequence = st.lists(st.integers(1, 30), min_size=1, max_size=width)
    return width, draw(st.lists(sequence, min_size=1, max_size=60))


@settings(deadline=None)
@given(drawn=widths_and_sequences(), packed=st.booleans())
def test_unpacking_gives_the_sequences_back(drawn: tuple[int, list[list[int]]], packed: bool) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), width, packed)
    assert unpack(batch) == sequences
    assert all(array.dtype == np.int32 for array in batch.values())
    assert batch["items"].shape == batch["segments"].shape == batch["positions"].shape
    assert batch["items"].shape[1] == width


@settings(deadline=None)
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


@settings(deadline=None)
@given(drawn=widths_and_sequences())
def test_the_padded_form_is_right_aligned(drawn: tuple[int, list[list[int]]]) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), width, packed=False)
    assert batch["items"].tolist() == [[0] * (width - len(sequence)) + sequence for sequence in sequences]
    assert batch["last"].tolist() == [row * width + width - 1 for row in range(len(sequences))]


@settings(deadline=None)
@given(drawn=widths_and_sequences())
def test_rows_are_few(drawn: tuple[int, list[list[int]]]) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), width)
    rows = batch["items"].shape[0]
    filled = (batch["segments"] > 0).sum(axis=1)
    used = int((filled > 0).sum())
    assert rows == -(-used // ROWS_MULTIPLE) * ROWS_MULTIPLE
    assert (filled[:used] > 0).all()
    # Two rows at most half full would have shared one, unless one had as many sequences as a row may have.
    open_rows = batch["segments"][:used].max(axis=1) < most_in_a_row(width)
    assert (filled[:used][open_rows] <= width / 2).sum() <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=9))
def test_take_slices(slices: list[tuple[int, int]]) -> None:
    items = np.arange(100, 114, dtype=np.int32)
    start = np.array([begin for begin, _ in slices])
    end = start + np.array([length for _, length in slices])
    assert split(take(items, start, end)) == [list(range(100 + a, 100 + b)) for a, b in zip(start, end, strict=True)]
