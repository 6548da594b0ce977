"""Counting co-occurrence against slow counts in plain Python."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_data import dataset_of, random_dataset, user_sequences
from tf_fenrec.data import cooccurrence
from tf_fenrec.data.batches import EvaluationBatches
from tf_fenrec.data.cooccurrence import Numbers, choose_numbers, count_neighbours, ndcg
from tf_fenrec.data.demo import demo_dataset
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.evaluation import baseline_metrics
from tf_fenrec.export import export_model
from tf_fenrec.systems.cooccurrence import Cooccurrence, CooccurrenceConfig


def slow_counts(sequences: list[list[int]], numbers: Numbers, max_distance: int) -> dict[tuple[int, int], float]:
    """S of every pair of items that go together."""
    counts: dict[tuple[int, int], float] = defaultdict(float)
    popularity: Counter[int] = Counter()
    for sequence in sequences:
        trained = sequence[:-2]
        popularity.update(trained)
        for i, a in enumerate(trained):
            for j in range(i + 1, min(i + max_distance, len(trained) - 1) + 1):
                b, weight = trained[j], math.exp(-(j - i - 1) / numbers.decay)
                if a != b:
                    counts[a, b] += weight
                    counts[b, a] += numbers.backward * weight
    return {
        (a, b): value / (popularity[a] ** numbers.source_power * popularity[b] ** numbers.target_power)
        for (a, b), value in counts.items()
        if value
    }


@settings(max_examples=40)
@given(
    sequences=user_sequences(),
    decay=st.sampled_from([0.5, 3.0]),
    backward=st.sampled_from([0.0, 0.4, 1.0]),
    powers=st.tuples(st.sampled_from([0.0, 0.3, -0.2]), st.sampled_from([0.0, 0.1])),
    max_distance=st.integers(1, 6),
    block=st.sampled_from([4, 10_000]),
)
def test_counts_equal_slow_ones(
    sequences: list[list[int]],
    decay: float,
    backward: float,
    powers: tuple[float, float],
    max_distance: int,
    block: int,
) -> None:
    numbers = Numbers(decay, backward, *powers)
    expected = slow_counts(sequences, numbers, max_distance)
    whole, cooccurrence.BLOCK_PAIRS = cooccurrence.BLOCK_PAIRS, block
    try:
        found = count_neighbours(dataset_of(sequences, 7), numbers, max_distance, 6)
    finally:
        cooccurrence.BLOCK_PAIRS = whole
    pairs = {
        (a, int(b)): weight
        for a, (items, weights) in enumerate(zip(*found, strict=True))
        for b, weight in zip(items, weights, strict=True)
        if weight
    }
    assert pairs == pytest.approx(expected, rel=1e-5)
    assert (np.diff(found.weights, axis=1) <= 0).all()


def test_the_best_neighbours_are_kept() -> None:
    data = dataset_of([[1, 2, 3, 4, 5, 9, 9], [1, 2, 3, 9, 9], [1, 2, 9, 9]], 9)
    numbers = Numbers(1.0, 0.0, 0.0, 0.0)
    assert count_neighbours(data, numbers, 20, 2).items[1].tolist() == [2, 3]
    assert count_neighbours(data, numbers, 20, 2).items[5].tolist() == [0, 0]


def test_of_equal_neighbours_the_lower_items_are_kept() -> None:
    # Even items stand next to item 1, odd ones a place further.
    data = dataset_of([[1, other, other + 1, 1, 1] for other in range(998, 1, -2)], 999)
    found = count_neighbours(data, Numbers(1.0, 0.0, 0.0, 0.0), 20, 600).items[1].tolist()
    assert found == [*range(2, 1000, 2), *range(3, 205, 2)]


def fitted(data: object, **changes: object) -> Cooccurrence:
    model = Cooccurrence(CooccurrenceConfig(**({"choose": False} | changes)), data.num_items)
    model.compile()
    model.fit(data)
    return model


def test_scores_equal_slow_ones() -> None:
    data = random_dataset(50, 20)
    model = fitted(data, max_length=4)
    expected = slow_counts([data.sequence(user).tolist() for user in range(50)], model.config.numbers, 20)
    history = [7, 3, 3, 9, 12]
    slow = np.zeros(22)
    for age, item in enumerate(reversed(history[-4:])):
        for other in range(1, 21):
            slow[other] += math.exp(-age / model.config.recency) * expected.get((item, other), 0.0)
    np.testing.assert_allclose(model(np.array([history]))[0], slow, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("longest", [6, 11])
def test_the_quick_ndcg_is_that_of_evaluate(longest: int) -> None:
    """Where nearly nothing scores, too: rows 0 and V + 1 and what was seen are candidates with the score 0."""
    data = random_dataset(60, 30, longest, seed=2)
    model = fitted(data, max_length=5)
    found = model.evaluate(EvaluationBatches(data, "valid"), verbose=0, return_dict=True)["ndcg@20"]
    neighbours = count_neighbours(data, model.config.numbers)
    assert ndcg(data, neighbours, model.config.recency, 5) == pytest.approx(found, abs=1e-6)


def test_the_walk_finds_better_numbers_and_reads_validation_alone() -> None:
    shop = demo_dataset()
    start = Numbers(decay=40.0, backward=1.0, source_power=0.8, target_power=0.5, recency=20.0)
    best = choose_numbers(shop, start)

    def value(numbers: Numbers) -> float:
        return ndcg(shop, count_neighbours(shop, numbers), numbers.recency)

    assert value(best) > 1.05 * value(start)
    tests = shop.items.copy()
    tests[shop.offsets[1:] - 1] = 1
    other = type(shop)("other", tests, shop.offsets, shop.num_items)
    assert choose_numbers(other, start) == best


def test_it_stands_beside_the_other_baselines() -> None:
    rows = baseline_metrics(demo_dataset(), "test")
    assert list(rows) == ["popularity", "last item", "co-occurrence"]
    assert rows["co-occurrence"]["ndcg@20"] > rows["last item"]["ndcg@20"] > rows["popularity"]["ndcg@20"]


def test_an_export_without_vectors_says_what_it_cannot_do(tmp_path: Path) -> None:
    data = random_dataset(50, 20)
    model = fitted(data)
    vocabulary = Vocabulary.of(data)
    with pytest.raises(InputError, match='`index` should be "exact" for a model without vectors'):
        export_model(model, vocabulary, tmp_path, "counts", index="ivf")
    (tmp_path / "new.jsonl").write_text('{"id": 21, "similar": [1]}')
    with pytest.raises(InputError, match="`add_items` should not be given"):
        export_model(model, vocabulary, tmp_path, "counts", add_items=tmp_path / "new.jsonl")
    assert not (tmp_path / "counts").exists() or not list((tmp_path / "counts").iterdir())
