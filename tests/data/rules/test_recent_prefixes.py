"""Prefixes of the last L training items only, with the empty one among them (BSARec)."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, split, user_sequences
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels

RNG = np.random.default_rng(0)


def test_examples_equal_the_golden_ones() -> None:
    corpus = golden("baselines/training_examples")
    rule = Prefixes(dataset_of(corpus["users"]), corpus["max_len"], recent=True, empty=True)
    drawn = rule.examples(np.arange(len(rule)), RNG)
    padded = [[0] * (corpus["max_len"] - len(one)) + one for one in split(drawn)]
    found = zip(rule.user.tolist(), padded, drawn.labels.ids[:, 0].tolist(), strict=True)
    assert [list(example) for example in found] == corpus["prefix_last_bsarec"]["examples"]
    assert drawn.labels.tokens.tolist() == (np.cumsum(drawn.lengths) - 1).tolist()


@given(
    sequences=user_sequences(),
    max_length=st.integers(2, 6),
    recent=st.booleans(),
    empty=st.booleans(),
    soft=st.booleans(),
)
def test_examples_equal_slow_ones(
    sequences: list[list[int]], max_length: int, recent: bool, empty: bool, soft: bool
) -> None:
    expected, histories = [], []
    for sequence in sequences:
        training = sequence[:-2]
        dropped = max(0, len(training) - max_length) if recent else 0
        for end in range(dropped + (not empty), len(training)):
            begin = max(dropped, end - max_length)
            expected.append((training[begin:end] or [0], training[end]))
            histories.append(training[:end] or [0])
    assume(expected)
    rule = Prefixes(dataset_of(sequences), max_length, SoftLabels(0.2) if soft else None, recent, empty)
    rows = RNG.permutation(len(expected))
    drawn = rule.examples(rows, RNG)
    assert [(one, target) for one, target in zip(split(drawn), rule.ids(rows).tolist(), strict=True)] == [
        expected[row] for row in rows
    ]
    assert rule.lengths[rows].tolist() == drawn.lengths.tolist()
    assert split(rule.histories(rows)) == [histories[row] for row in rows]
    assert len(drawn.labels.ids) == len(rows)
