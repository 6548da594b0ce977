"""Windows with a label at every token, LRURec's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, split, user_sequences
from tf_fenrec.data.rules.windows import Windows
from tf_fenrec.errors import InputError

RNG = np.random.default_rng(0)


def rows_of(rule: Windows, rows: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Input and labels of each window."""
    drawn = rule.examples(rows, RNG)
    assert drawn.labels.tokens.tolist() == list(range(len(drawn.items)))
    labels = np.split(drawn.labels.ids[:, 0], np.cumsum(drawn.lengths)[:-1])
    return list(zip(split(drawn), (part.tolist() for part in labels), strict=True))


def test_windows_equal_the_golden_ones() -> None:
    """Left-padded, an input and its labels are the released program's rows, the first item after padding."""
    corpus = golden("baselines/training_examples")
    length = corpus["max_len"]
    rule = Windows(dataset_of(corpus["users"]), length)
    found = [[[0] * (length - len(part)) + part for part in row] for row in rows_of(rule, np.arange(len(rule)))]
    assert found == corpus["windows_lrurec"]["rows"]


@given(sequences=user_sequences(longest=16), max_length=st.integers(1, 6), step=st.integers(1, 7))
def test_windows_equal_slow_ones(sequences: list[list[int]], max_length: int, step: int) -> None:
    expected, users, histories = [], [], []
    for user, sequence in enumerate(sequences):
        training = sequence[:-2]
        if len(training) < 2:
            continue
        if len(training) < max_length + step:
            starts = [max(0, len(training) - max_length)]
            shifted = [0, *training[:-1]]
        else:
            starts = list(range(len(training) - max_length, -1, -step))
            shifted = []
        for start in starts:
            labels = training[start : start + max_length]
            expected.append((shifted[start : start + max_length] or [0, *labels[:-1]], labels))
            users.append(user)
            histories.append(training[: start + len(labels) - 1] or [0])
    assume(expected)
    rule = Windows(dataset_of(sequences), max_length, step)
    rows = RNG.permutation(len(rule))
    assert rows_of(rule, rows) == [expected[row] for row in rows]
    assert rule.ids(rows).tolist() == rule.examples(rows, RNG).users.tolist() == [users[row] for row in rows]
    assert rule.lengths.tolist() == [len(labels) for _, labels in expected]
    assert split(rule.histories(rows)) == [histories[row] for row in rows]


def test_inputs_leave_the_dataset_alone() -> None:
    """The padding item is written into a copy."""
    dataset = dataset_of([[1, 2, 3, 4], [5, 6, 7, 8]])
    rule = Windows(dataset, 2)
    rule.examples(np.arange(2), RNG)
    assert dataset.items.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_windows_must_move() -> None:
    with pytest.raises(InputError, match=r"`step` should be at least 1\. Received: 0"):
        Windows(dataset_of([[1, 2, 3, 4]]), 2, 0)
