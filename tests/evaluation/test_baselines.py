"""Popularity and last-item transitions, counted by hand."""

from __future__ import annotations

import numpy as np

from tf_fenrec.data import SequenceDataset
from tf_fenrec.evaluation.baselines import markov_scores, popularity_scores
from tf_fenrec.evaluation.table import table

# Training parts: 1 2 1 2, then 3 4, then 2. The two last items of each user must not count.
ITEMS = [1, 2, 1, 2, 4, 4, 3, 4, 1, 1, 2, 3, 3]
DATASET = SequenceDataset("three", np.array(ITEMS, np.int32), np.array([0, 6, 10, 13]), num_items=5)


def test_a_table_has_every_column() -> None:
    lines = table({"all": {"hr@20": 0.5}, "n <= 5": {"hr@20": 0.25, "users": 7}}).splitlines()
    assert [line.split() for line in lines] == [["hr@20", "users"], ["all", "0.5000"], ["n", "<=", "5", "0.2500", "7"]]


def test_popularity_counts_the_training_parts() -> None:
    scores = popularity_scores(DATASET)(np.array([[0, 1], [3, 4]]))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[-np.inf, 2, 3, 1, 1, 0, -np.inf]] * 2)


def test_markov_counts_what_follows_the_last_item() -> None:
    scores = markov_scores(DATASET)(np.array([[0, 1], [1, 2], [0, 3], [0, 5]]))
    assert scores.dtype == np.float32
    # 1 -> 2 twice, 2 -> 1 once, 3 -> 4 once; popularity / max popularity / 2 breaks ties.
    tie = np.array([-np.inf, 2 / 6, 3 / 6, 1 / 6, 1 / 6, 0, -np.inf])
    follows = np.zeros((4, 7))
    follows[0, 2], follows[1, 1], follows[2, 4] = 2, 1, 1
    np.testing.assert_allclose(scores, follows + tie, rtol=1e-6)
