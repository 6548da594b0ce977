"""Packing loses nothing, overlaps nothing and says where everything is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_data import join, split, unpack
from tf_fenrec.data.packing import (
    ROWS_MULTIPLE,
    Labels,
    Layout,
    Sequences,
    Size,
    hard_labels,
    pack,
    pack_histories,
    pack_with_labels,
    sizes_of,
    take,
)
from tf_fenrec.data.packing import join as joined


@st.composite
def widths_and_sequences(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    width = draw(st.integers(1, 9))
    sequence = st.lists(st.integers(1, 30), min_size=1, max_size=width)
    return width, draw(st.lists(sequence, min_size=1, max_size=60))


@given(drawn=widths_and_sequences(), packed=st.booleans())
def test_unpacking_gives_the_sequences_back(drawn: tuple[int, list[list[int]]], packed: bool) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), Layout(width, packed))
    assert unpack(batch) == sequences
    assert all(array.dtype == np.int32 for array in batch.values())
    assert batch["items"].shape == batch["segments"].shape == batch["positions"].shape
    assert batch["items"].shape[1] == width


@given(drawn=widths_and_sequences(), packed=st.booleans())
def test_segments_and_positions(drawn: tuple[int, list[list[int]]], packed: bool) -> None:
    width, sequences = drawn
    batch = pack(join(sequences), Layout(width, packed))
    segments, positions = batch["segments"], batch["positions"]
    assert ((segments == 0) == (batch["items"] == 0)).all()
    assert (segments > 0).sum() == sum(map(len, sequences))
    if packed:
        assert (positions[segments == 0] == 0).all()
    else:
        assert (positions == np.arange(width)).all()
    owners = [(token // width, segments.flat[token]) for token in batch["last"].tolist()]
    assert len(set(owners)) == len(sequences)  # no two sequences share a segment of a row
    most = most_in_a_row([len(sequence) for sequence in sequences], width) if packed else 1
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
    batch = pack(join(sequences), Layout(width, packed=False))
    assert batch["items"].tolist() == [[0] * (width - len(sequence)) + sequence for sequence in sequences]
    assert batch["last"].tolist() == [row * width + width - 1 for row in range(len(sequences))]


def most_in_a_row(lengths: list[int], width: int) -> int:
    """Twice what a row holds on average and two more, at most a quarter of its width."""
    rows = max(1, -(-sum(lengths) // width))
    return min(-(-width // 4), 2 * -(-len(lengths) // rows) + 2)


def fewest_rows(lengths: list[int], width: int, multiple: int = ROWS_MULTIPLE) -> int:
    """As many as there are tokens and sequences for, up to the multiple."""
    needed = max(-(-sum(lengths) // width), -(-len(lengths) // most_in_a_row(lengths, width)))
    return -(-needed // multiple) * multiple


@given(drawn=widths_and_sequences())
def test_more_rows_than_the_fewest_come_only_when_all_are_half_full(drawn: tuple[int, list[list[int]]]) -> None:
    width, sequences = drawn
    lengths = [len(sequence) for sequence in sequences]
    most = most_in_a_row(lengths, width)
    fewest = fewest_rows(lengths, width, 1)
    segments = pack(join(sequences), Layout(width), Size(fewest, most))["segments"]
    assert len(segments) >= fewest
    if len(segments) > fewest:
        before = segments[:fewest]
        assert ((2 * (before > 0).sum(axis=1) >= width) | (before.max(axis=1) == most)).all()


@pytest.mark.parametrize("mean", [2, 4.5, 7])
def test_sequences_as_logs_have_them_take_the_fewest_rows(mean: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = np.minimum(rng.geometric(1 / mean, 768), 50)
        batch = pack(Sequences(np.ones(lengths.sum(), np.int32), lengths), Layout(50))
        assert len(batch["items"]) == fewest_rows(lengths.tolist(), 50)


@given(drawn=widths_and_sequences(), spare=st.integers(0, 5))
def test_a_size_that_holds_the_batch_is_its_size(drawn: tuple[int, list[list[int]]], spare: int) -> None:
    width, sequences = drawn
    [rows], most = sizes_of([np.array([len(sequence) for sequence in sequences])], width)
    batch = pack(join(sequences), Layout(width), Size(rows + spare, most))
    assert batch["items"].shape == (rows + spare, width)
    assert batch["slots"].shape == (rows + spare, most)
    assert unpack(batch) == sequences


@given(drawn=widths_and_sequences(), packed=st.booleans(), data=st.data())
def test_labels_find_their_tokens(drawn: tuple[int, list[list[int]]], packed: bool, data: st.DataObject) -> None:
    width, sequences = drawn
    together = join(sequences)
    tokens = np.array(sorted(data.draw(st.sets(st.integers(0, len(together.items) - 1), min_size=1))))
    labelled = together._replace(labels=hard_labels(tokens, together.items[tokens]))
    batch, places = pack_with_labels(labelled, Layout(width, packed))
    assert batch["items"].ravel()[places].tolist() == together.items[tokens].tolist()
    sequence = np.repeat(np.arange(len(sequences)), together.lengths)[tokens]
    owner = batch["segments"].ravel()[places], places // width
    last = batch["segments"].ravel()[batch["last"]][sequence], batch["last"][sequence] // width
    assert [array.tolist() for array in owner] == [array.tolist() for array in last]


def test_joining_groups_moves_their_labels() -> None:
    one, two, three = join([[1, 2], [3]]), join([[4, 5, 6]]), join([[7]])
    one = one._replace(labels=hard_labels(np.array([1, 2]), np.array([20, 30])), users=np.array([5, 6]))
    three = three._replace(labels=Labels(np.array([0]), np.array([[70]], np.int32), np.array([[0.5]], np.float32)))
    found = joined([one, two, three])
    assert split(found) == [[1, 2], [3], [4, 5, 6], [7]]
    assert found.labels.tokens.tolist() == [1, 2, 6]
    assert found.labels.ids.tolist() == [[20], [30], [70]]
    assert found.labels.weights.tolist() == [[1], [1], [0.5]]
    assert found.known_users().tolist() == [6, 7, 0, 0]


@given(drawn=widths_and_sequences(), packed=st.booleans())
def test_histories_that_are_asked_at_a_mask_end_with_it(drawn: tuple[int, list[list[int]]], packed: bool) -> None:
    width, sequences = drawn
    batch = pack_histories(join(sequences), Layout(width, packed, mask_query=True), num_items=30)
    kept = width - 1
    assert unpack(batch) == [[*(sequence[-kept:] if kept else []), 31] for sequence in sequences]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=9))
def test_take_slices(slices: list[tuple[int, int]]) -> None:
    items = np.arange(100, 114, dtype=np.int32)
    start = np.array([begin for begin, _ in slices])
    end = start + np.array([length for _, length in slices])
    assert split(take(items, start, end)) == [list(range(100 + a, 100 + b)) for a, b in zip(start, end, strict=True)]
