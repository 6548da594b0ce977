"""Training examples, held-out inputs, soft labels and views against the golden vectors and slow Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, random_dataset, slow_examples, split, user_sequences
from tf_fenrec.data import load
from tf_fenrec.data.held_out import HeldOut, Split
from tf_fenrec.data.packing import take
from tf_fenrec.data.rules.prefixes import LabelRule, Prefixes, SoftLabels
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views import Again, SameTarget
from tf_fenrec.errors import InputError

VALID, TEST = 101, 102  # held-out items that occur nowhere else


@pytest.fixture(scope="module")
def golden_examples() -> Prefixes:
    return Prefixes(dataset_of([user["sequence"] for user in golden("soft_labels")["users"]]))


def test_a_batch_has_a_label_at_each_last_item(golden_examples: Prefixes) -> None:
    rows = np.array([5, 0, 7])
    soft = Prefixes(golden_examples.dataset, 50, SoftLabels(0.3))
    for rule in (golden_examples, soft):
        drawn = rule.examples(rows, np.random.default_rng(0))
        assert split(drawn) == inputs_of(rule, rows)
        assert drawn.labels.tokens.tolist() == (np.cumsum(drawn.lengths) - 1).tolist()
        assert rule.ids(rows).tolist() == rule.target_items[rows].tolist()
    hard = golden_examples.examples(rows, np.random.default_rng(0)).labels
    assert hard.ids.tolist() == [[item] for item in golden_examples.target_items[rows]]
    assert (hard.weights == 1).all()
    ids, weights = soft.windows(rows, 0.3)
    found = soft.examples(rows, np.random.default_rng(0)).labels
    assert found.ids.tolist() == ids.tolist()
    np.testing.assert_allclose(found.weights, weights, rtol=1e-6)


def users_of(examples: Prefixes) -> list[int]:
    return (np.searchsorted(examples.dataset.offsets, examples.target, side="right") - 1).tolist()


def inputs_of(examples: Prefixes, chosen: np.ndarray) -> list[list[int]]:
    return split(take(examples.dataset.items, examples.start[chosen], examples.target[chosen]))


def label(ids: np.ndarray, weights: np.ndarray) -> dict[int, float]:
    """A label as weight by item, repeated items added up, missing ones left out."""
    total: Counter[int] = Counter()
    for item, weight in zip(ids.tolist(), weights.tolist(), strict=True):
        total[item] += weight
    assert total[0] == 0
    return {item: weight for item, weight in total.items() if weight}


def test_examples_equal_the_golden_ones(golden_examples: Prefixes) -> None:
    expected = golden("soft_labels")["examples"]
    everything = np.arange(len(golden_examples))
    assert inputs_of(golden_examples, everything) == [example["prefix"] for example in expected]
    assert golden_examples.target_items.tolist() == [example["target"] for example in expected]


@pytest.mark.parametrize(("gamma", "key"), [(0.2, "label_gamma_0_2"), (0.3, "label_gamma_0_3")])
def test_labels_equal_the_golden_ones(golden_examples: Prefixes, gamma: float, key: str) -> None:
    expected = golden("soft_labels")["examples"]
    labels = golden_examples.windows(np.arange(len(expected)), gamma)
    for ids, weights, example in zip(*labels, expected, strict=True):
        assert label(ids, weights) == pytest.approx(dict(example[key]), rel=1e-12)


def test_second_views_equal_the_golden_ones(golden_examples: Prefixes) -> None:
    expected = golden("soft_labels")["examples"]
    views = SameTarget()(golden_examples, np.arange(len(expected)), np.random.default_rng())
    assert split(views) == [example["second_view"] for example in expected]
    alone = golden_examples.last_partner == np.arange(len(expected))
    for is_alone, example in zip(alone, expected, strict=True):
        assert is_alone == example["second_view_is_self_fallback"]


@given(sequences=user_sequences(), max_length=st.integers(1, 12))
def test_every_training_item_from_the_second_on_is_a_target_once(sequences: list[list[int]], max_length: int) -> None:
    dataset = dataset_of(sequences)
    expected = slow_examples(sequences, max_length)
    if not expected:
        with pytest.raises(InputError, match="at least 4 items"):
            Prefixes(dataset, max_length)
        return
    examples = Prefixes(dataset, max_length)
    inputs = inputs_of(examples, np.arange(len(examples)))
    assert list(zip(users_of(examples), inputs, examples.target_items.tolist(), strict=True)) == expected
    assert examples.user.tolist() == users_of(examples)
    assert examples.lengths.tolist() == [len(prefix) for prefix in inputs]
    assert split(examples.histories(np.arange(len(examples)))) == [
        prefix for _, prefix, _ in slow_examples(sequences, 99)
    ]
    positions = [
        position
        for begin, end in zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True)
        for position in range(begin + 1, end - 2)
    ]
    assert examples.target.tolist() == positions


@given(
    sequences=user_sequences(),
    max_length=st.integers(1, 12),
    gamma=st.sampled_from([0.0, 0.2, 1.0]),
    rule=st.sampled_from(["first_occurrence", "position"]),
)
def test_held_out_items_never_enter_training(
    sequences: list[list[int]], max_length: int, gamma: float, rule: LabelRule
) -> None:
    examples = Prefixes(
        dataset_of([[*sequence, VALID, TEST] for sequence in sequences]), max_length, SoftLabels(gamma, rule)
    )
    everything, rng = np.arange(len(examples)), np.random.default_rng(0)
    held_out = {VALID, TEST}
    ids, weights = examples.windows(everything, gamma, rule)
    assert not held_out & set(ids[weights > 0].tolist())
    assert not held_out & set(examples.target_items.tolist())
    drawn = examples.examples(everything, rng)
    assert not held_out & {*drawn.items.tolist(), *drawn.labels.ids.ravel().tolist()}
    for view in (Again(), SameTarget("last"), SameTarget("random")):
        assert not held_out & set(view(examples, everything, rng).items.tolist())


def slow_label(training: list[int], number: int, gamma: float, rule: LabelRule) -> dict[int, float]:
    """Eq. 6-7 for the target `training[number]`."""
    first = training.index(training[number]) if rule == "first_occurrence" else number
    window = training[first : first + 3]
    weights: Counter[int] = Counter()
    for power, item in enumerate(window):
        weights[item] += gamma**power / sum(gamma**other for other in range(len(window)))
    return {item: weight for item, weight in weights.items() if weight}


@given(
    sequences=user_sequences(),
    gamma=st.sampled_from([0.0, 0.3, 1.0]),
    rule=st.sampled_from(["first_occurrence", "position"]),
    rng=st.randoms(use_true_random=False),
)
def test_labels_equal_slow_ones(sequences: list[list[int]], gamma: float, rule: LabelRule, rng) -> None:
    assume(slow_examples(sequences, 50))
    examples = Prefixes(dataset_of(sequences))
    expected = [
        slow_label(sequence[:-2], number, gamma, rule)
        for sequence in sequences
        for number in range(1, len(sequence) - 2)
    ]
    chosen = list(range(len(expected)))
    rng.shuffle(chosen)
    labels = examples.windows(np.array(chosen, np.int64), gamma, rule)
    for number, ids, weights in zip(chosen, *labels, strict=True):
        assert label(ids, weights) == pytest.approx(expected[number], rel=1e-12)


def test_without_decay_labels_are_one_hot() -> None:
    dataset = random_dataset()
    examples = Prefixes(dataset)
    for rule in ("first_occurrence", "position"):
        ids, weights = examples.windows(np.arange(len(examples)), 0.0, rule)
        assert ids[weights > 0].tolist() == examples.target_items.tolist()
        assert (weights.max(axis=1) == 1).all()


@given(sequences=user_sequences(), max_length=st.integers(1, 5))
def test_last_partners_equal_slow_ones(sequences: list[list[int]], max_length: int) -> None:
    assume(slow_examples(sequences, 50))
    slow = slow_examples(sequences, max_length)
    expected = [
        max(
            (other for other, (_, prefix, item) in enumerate(slow) if item == target and prefix != own),
            default=number,
        )
        for number, (_, own, target) in enumerate(slow)
    ]
    assert Prefixes(dataset_of(sequences), max_length).last_partner.tolist() == expected


@settings(max_examples=30)
@given(sequences=user_sequences(most_users=4, longest=9), seed=st.integers(0, 2**32))
def test_random_partners_are_all_others_with_the_target(sequences: list[list[int]], seed: int) -> None:
    assume(slow_examples(sequences, 50))
    targets = [target for _, _, target in slow_examples(sequences, 50)]
    examples = Prefixes(dataset_of(sequences))
    rng = np.random.default_rng(seed)
    for number, target in enumerate(targets):
        others = {other for other, item in enumerate(targets) if item == target} - {number}
        # At most 23 others: missing one in 1000 draws has a probability below 1e-17.
        drawn = examples.random_partners(np.full(1000, number), rng)
        assert set(drawn.tolist()) == (others or {number})


def test_random_partners_are_uniform() -> None:
    dataset = dataset_of([[item, 1, 9, 9] for item in (2, 3, 4, 5, 6)])  # five examples, all with target 1
    drawn = Prefixes(dataset).random_partners(np.full(4000, 2), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=5)
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 1000).max() < 5 * np.sqrt(1000 * 0.75)


def test_a_dropout_view_is_the_example_itself() -> None:
    examples = Prefixes(random_dataset(), max_length=4)
    chosen = np.array([5, 0, 7])
    assert split(Again()(examples, chosen, np.random.default_rng())) == inputs_of(examples, chosen)


@given(sequences=user_sequences(), which=st.sampled_from(["valid", "test"]))
def test_held_out_items_equal_slow_ones(sequences: list[list[int]], which: Split) -> None:
    dataset = dataset_of(sequences)
    held_out = HeldOut(dataset, which)
    back: Literal[1, 2] = 1 if which == "test" else 2
    assert dataset.items[held_out.target].tolist() == [sequence[-back] for sequence in sequences]
    history = take(dataset.items, held_out.history_start, held_out.target)
    assert split(history) == [sequence[:-back] for sequence in sequences]


@pytest.mark.parametrize("name", ["beauty", "yelp"])
def test_benchmark_examples_equal_slow_ones(data_dir: Path, name: str) -> None:
    dataset = load(name, data_dir, download=False)
    sequences = [dataset.sequence(user).tolist() for user in range(dataset.num_users)]
    slow = slow_examples(sequences, 50)
    examples = Prefixes(dataset)
    assert examples.target_items.tolist() == [target for _, _, target in slow]
    same_target: dict[int, list[int]] = {}
    for number, (_, _, target) in enumerate(slow):
        same_target.setdefault(target, []).append(number)
    chosen = np.random.default_rng(0).choice(len(slow), 3000, replace=False)
    prefixes = inputs_of(examples, chosen)
    ids, weights = examples.windows(chosen, 0.3)
    for row, number in enumerate(chosen.tolist()):
        user, prefix, target = slow[number]
        assert prefixes[row] == prefix
        expected = slow_label(sequences[user][:-2], sequences[user].index(target), 0.3, "first_occurrence")
        assert label(ids[row], weights[row]) == pytest.approx(expected, rel=1e-12)
        others = [other for other in same_target[target] if slow[other][1] != prefix]
        assert examples.last_partner[number] == (others[-1] if others else number)


def test_no_example_of_users_without_training_target() -> None:
    dataset = dataset_of([[1, 2, 3], [4, 5, 6, 7]])
    examples = Prefixes(dataset)
    assert isinstance(examples.dataset, SequenceDataset)
    assert users_of(examples) == [1]
    assert examples.target_items.tolist() == [5]
