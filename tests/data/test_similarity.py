"""Most similar items against the golden ones and slow Python."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, user_sequences
from tf_fenrec.data import similarity
from tf_fenrec.data.similarity import Neighbours, hybrid_neighbours, offline_neighbours, online_neighbours

GOLDEN = "baselines/coserec_similarity"
Best = dict[str, list[list[float]]]


def offline() -> Neighbours:
    corpus = golden(GOLDEN)
    return offline_neighbours(dataset_of(corpus["users"], corpus["num_items"]))


def online() -> Neighbours:
    return online_neighbours(np.array(golden(GOLDEN)["online"]["item_embeddings"]))


def equally_similar(item: int) -> set[int]:
    """The offline neighbours of an item among which the golden one was chosen by the order of the users."""
    row = np.array(golden(GOLDEN)["offline"]["ItemCF_IUF"]["matrix"][item])
    return set(np.flatnonzero(np.abs(row - row.max()) < 1e-9).tolist())


def test_offline_neighbours_equal_the_golden_ones() -> None:
    expected: Best = golden(GOLDEN)["offline"]["ItemCF_IUF"]["best_with_normalised_score"]
    found = offline()
    assert len(found.items) == len(found.scores) == golden(GOLDEN)["num_items"] + 2
    for item, [[neighbour, score]] in expected.items():
        assert found.scores[int(item)] == pytest.approx(score, rel=1e-9)
        assert neighbour in equally_similar(int(item))
        assert found.items[int(item)] in equally_similar(int(item))


def test_online_neighbours_equal_the_golden_ones() -> None:
    expected: Best = golden(GOLDEN)["online"]["best_with_normalised_score"]
    found = online()
    for item, [[neighbour, score], *_] in expected.items():
        assert found.items[int(item)] == neighbour
        assert found.scores[int(item)] == pytest.approx(score, rel=1e-9)


def test_hybrid_neighbours_equal_the_golden_ones() -> None:
    one, other = offline(), online()
    found = hybrid_neighbours(one, other)
    from_online = other.scores > one.scores
    assert 0 < from_online.sum() < len(from_online)
    for item, [neighbour] in golden(GOLDEN)["hybrid_best"].items():
        if from_online[int(item)]:
            assert found.items[int(item)] == neighbour
        else:
            assert {int(found.items[int(item)]), neighbour} <= equally_similar(int(item))
    assert (found.scores == np.maximum(one.scores, other.scores)).all()


def test_offline_neighbours_win_ties() -> None:
    one = Neighbours(np.array([1, 2]), np.array([0.5, 0.5]))
    other = Neighbours(np.array([3, 4]), np.array([0.5, 0.6]))
    assert hybrid_neighbours(one, other).items.tolist() == [1, 4]


@given(sequences=user_sequences(longest=9), block=st.integers(1, 200))
def test_offline_neighbours_equal_slow_ones(sequences: list[list[int]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK", block)
        found = offline_neighbours(dataset_of(sequences, num_items=7))
    scores: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    users: dict[int, int] = defaultdict(int)
    for have in (set(sequence[:-3]) for sequence in sequences):
        for item in have:
            users[item] += 1
            for other in have - {item}:
                scores[item][other] += 1 / math.log(1 + len(have))
    for item, others in scores.items():
        for other in others:
            others[other] /= math.sqrt(users[item] * users[other])
    everything = [score for others in scores.values() for score in others.values()]
    assert found.items.dtype == np.int32
    assert (found.items[0], found.items[-1]) == (0, 8)
    for item in range(1, 8):
        if item in scores:
            span = max(everything) - min(everything)
            best = max(scores[item].values())
            expected = (best - min(everything)) / span if span > 1e-12 else 0
            if span > 1e-12 or span == 0:  # between, rounding decides
                assert found.scores[item] == pytest.approx(expected, abs=1e-9)
            assert scores[item][int(found.items[item])] == pytest.approx(best, rel=1e-9)
        else:
            assert found.scores[item] == 0
            assert int(found.items[item]) in (users or range(1, 8))


@given(block=st.integers(1, 60), seed=st.integers(0, 99))
def test_online_neighbours_equal_slow_ones(block: int, seed: int) -> None:
    table = np.random.default_rng(seed).normal(size=(9, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK", block)
        found = online_neighbours(table)
    products = table @ table.T
    least, greatest = products[1:].min(), products[1:].max()
    for item in range(1, 8):
        best = max((row for row in range(9) if row != item), key=lambda row: products[item, row])
        assert found.items[item] == best
        assert found.scores[item] == pytest.approx((products[item, best] - least) / (greatest - least))
    assert (found.items[0], found.items[8]) == (0, 8)


def test_items_alone_have_a_random_one() -> None:
    dataset = dataset_of([[1, 2, 9, 9, 9], [3, 9, 9, 9]], num_items=300)
    found = [offline_neighbours(dataset, seed) for seed in (0, 0, 1)]
    assert (found[0].items == found[1].items).all()
    assert (found[0].items != found[2].items).any()
    assert (found[0].items[1], found[0].items[2]) == (2, 1)
    assert set(found[0].items[3:-1].tolist()) == {1, 2, 3}  # what some user has
    assert not found[0].scores[3:].any()
