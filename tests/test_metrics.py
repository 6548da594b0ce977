"""Full ranking against the golden evaluation and a slow NumPy ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden_vectors import cases
from tf_fenrec.metrics import _COUNT_AHEAD, CUTOFFS, exclude, rank_values, ranking_metrics, target_ranks


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", cases("evaluation"), ids=lambda case: case["name"])
def test_the_paper_protocol_equals_the_golden_evaluation(case: dict[str, Any], dtype: str) -> None:
    scores, answers = tf.constant(case["scores"], dtype), tf.constant(case["answers"])
    seen = tf.constant([(row, item) for row, items in enumerate(case["seen"]) for item in set(items)])
    masked = exclude(scores, seen, tf.constant(0.0))
    best = tf.sort(masked, axis=1, direction="DESCENDING")[:, :20]
    np.testing.assert_allclose(best, case["top20_scores_after_mask"], rtol=1e-6)
    values = rank_values(target_ranks(scores, answers, seen, tf.constant(0.0)))
    for cutoff in CUTOFFS:
        assert values[f"hr@{cutoff}"].numpy().mean() == pytest.approx(case[f"hit{cutoff}"], rel=1e-6)
        assert values[f"ndcg@{cutoff}"].numpy().mean() == pytest.approx(case[f"ndcg{cutoff}"], rel=1e-6)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, list[list[int]], list[int]]:
    """Scores with many ties over items 0 to V + 1, what each user has seen, and targets, seen before or not."""
    users, rows = draw(st.integers(1, 4)), draw(st.integers(4, 30))
    real = st.integers(1, rows - 2)
    levels = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0])
    scores = draw(st.lists(st.lists(levels, min_size=rows, max_size=rows), min_size=users, max_size=users))
    seen = draw(st.lists(st.lists(real, max_size=8), min_size=users, max_size=users))
    return np.array(scores, np.float32), seen, draw(st.lists(real, min_size=users, max_size=users))


def slow_metrics(order: list[int], target: int) -> dict[str, float]:
    """From the candidates in their order, best first."""
    rank = order.index(target) + 1
    values = {"mrr": 1 / rank}
    for cutoff in (5, 10, 20):
        values[f"hr@{cutoff}"] = float(target in order[:cutoff])
        values[f"ndcg@{cutoff}"] = 1 / np.log2(rank + 1) if rank <= cutoff else 0.0
    return values


@settings(max_examples=60)
@given(ranking=rankings(), strict=st.booleans())
def test_both_protocols_equal_a_slow_ranking(
    ranking: tuple[np.ndarray, list[list[int]], list[int]], strict: bool
) -> None:
    scores, seen, targets = ranking
    mask = scores.shape[1] - 1
    expected, excluded = [], []
    for user, (row, items, target) in enumerate(zip(scores.tolist(), seen, targets, strict=True)):
        if strict:
            left_out = ({0, mask} | set(items)) - {target}
            candidates = {item: score for item, score in enumerate(row) if item not in left_out}
        else:
            left_out = set(items)
            candidates = {item: 0.0 if item in left_out else score for item, score in enumerate(row)}
        order = sorted(candidates, key=lambda item: (-candidates[item], item))
        expected.append(slow_metrics(order, target))
        excluded += [(user, item) for item in left_out]
    pairs = tf.constant(np.array(excluded, np.int32).reshape(-1, 2))
    score = tf.constant(-np.inf if strict else 0.0)
    found = rank_values(target_ranks(tf.constant(scores), tf.constant(targets), pairs, score))
    assert set(found) == set(expected[0])
    for name, values in found.items():
        np.testing.assert_allclose(values, [user[name] for user in expected], rtol=1e-6)


def test_all_batch_sizes_share_a_trace() -> None:
    for users in (1, 2, 3):
        targets = tf.ones([users], tf.int32)
        target_ranks(tf.zeros([users, 4]), targets, tf.zeros([0, 2], tf.int32), tf.constant(0.0))
    assert _COUNT_AHEAD[tf.float32].experimental_get_tracing_count() == 1


def test_a_diverged_model_ranks_last() -> None:
    scores = np.ones((2, 9), np.float32)
    scores[0] = np.nan
    scores[1, 3] = np.nan
    pairs, score = tf.constant([[0, 2], [1, 2], [1, 5]]), tf.constant(0.0)
    assert target_ranks(tf.constant(scores), tf.constant([3, 3]), pairs, score).numpy().min() >= 9


def test_the_means_have_the_names_of_the_values() -> None:
    assert set(ranking_metrics()) == set(rank_values(tf.constant([1])))
    assert all(name == mean.name for name, mean in ranking_metrics().items())
