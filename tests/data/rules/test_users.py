"""One example a user, labelled at every token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, split, user_sequences
from tf_fenrec.data.rules.prefixes import LabelRule, Prefixes, SoftLabels
from tf_fenrec.data.rules.users import Users
from tf_fenrec.errors import InputError

RNG = np.random.default_rng(0)


def test_examples_equal_the_golden_ones() -> None:
    corpus = golden("baselines/training_examples")
    rule = Users(dataset_of(corpus["users"]), corpus["max_len"])
    drawn = rule.examples(np.arange(len(rule)), RNG)
    labels = np.split(drawn.labels.ids[:, 0], np.cumsum(drawn.lengths)[:-1])
    for user, (inputs, targets, _) in enumerate(corpus["per_position_coserec_iclrec_mvs"]["train"]):
        assert split(drawn)[user] == [item for item in inputs if item]
        assert labels[user].tolist() == [item for item in targets if item]
    assert drawn.labels.tokens.tolist() == list(range(len(drawn.items)))
    assert (drawn.labels.weights == 1).all()


@given(sequences=user_sequences(), max_length=st.integers(1, 6))
def test_examples_equal_slow_ones(sequences: list[list[int]], max_length: int) -> None:
    dataset = dataset_of(sequences)
    users = [user for user, sequence in enumerate(sequences) if len(sequence) > 3]
    if not users:
        with pytest.raises(InputError, match="at least 4 items"):
            Users(dataset, max_length)
        return
    rule = Users(dataset, max_length)
    rows = np.arange(len(rule))[::-1]
    drawn = rule.examples(rows, RNG)
    assert split(drawn) == [sequences[user][:-3][-max_length:] for user in reversed(users)]
    following = [item for user in reversed(users) for item in sequences[user][1:-2][-max_length:]]
    assert drawn.labels.ids.ravel().tolist() == following
    assert drawn.users.tolist() == users[::-1]
    assert rule.lengths[rows].tolist() == drawn.lengths.tolist()
    assert rule.ids(rows).tolist() == [sequences[user][-3] for user in reversed(users)]
    assert split(rule.histories(rows)) == [sequences[user][:-3] for user in reversed(users)]
    assert split(rule.inputs(rows)) == split(drawn)


@given(
    sequences=user_sequences(),
    max_length=st.integers(1, 6),
    rule=st.sampled_from(["first_occurrence", "position"]),
)
def test_soft_labels_are_those_of_the_prefixes(sequences: list[list[int]], max_length: int, rule: LabelRule) -> None:
    assume(any(len(sequence) > 3 for sequence in sequences))
    dataset, soft = dataset_of(sequences), SoftLabels(0.3, rule)
    users, prefixes = Users(dataset, max_length, soft), Prefixes(dataset, 50, soft)
    expected = prefixes.examples(np.arange(len(prefixes)), RNG).labels
    for row, user in enumerate(users.user.tolist()):
        drawn = users.examples(np.array([row]), RNG)
        mine = np.flatnonzero(prefixes.user == user)[-max_length:]
        assert drawn.labels.ids.tolist() == expected.ids[mine].tolist()
        assert drawn.labels.weights.tolist() == expected.weights[mine].tolist()


def test_a_soft_label_is_the_next_three_training_items() -> None:
    labels = Users(dataset_of([[1, 2, 3, 4, 5, 6]]), 50, SoftLabels(0.5)).examples(np.array([0]), RNG).labels
    assert labels.ids.tolist() == [[2, 3, 4], [3, 4, 0], [4, 0, 0]]
    np.testing.assert_allclose(labels.weights, [[4 / 7, 2 / 7, 1 / 7], [2 / 3, 1 / 3, 0], [1, 0, 0]], rtol=1e-6)
