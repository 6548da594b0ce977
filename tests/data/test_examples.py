"""Training examples, held-out inputs, soft labels and views against the golden vectors and slow Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, random_dataset, slow_examples, split, user_sequences
from tf_fenrec.data import load
from tf_fenrec.data.examples import HeldOut, LabelRule, Split, TrainingExamples
from tf_fenrec.data.packing import take
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views import DropoutView, SameTargetView

VALID, TEST = 101, 102  # held-out items that occur nowhere else


@pytest.fixture(scope="module")
def golden_examples() -> TrainingExamples:
    return TrainingExamples(dataset_of([user["sequence"] for user in golden("soft_labels")["users"]]))


def users_of(examples: TrainingExamples) -> list[int]:
    return (np.searchsorted(examples.dataset.offsets, examples.target, side="right") - 1).tolist()


def inputs_of(examples: TrainingExamples, chosen: np.ndarray) -> list[list[int]]:
    return split(take(examples.dataset.items, examples.start[chosen], examples.target[chosen]))


def label(ids: np.ndarray, weights: np.ndarray) -> dict[int, float]:
    """A label as weight by item, repeated items added up, missing ones left out."""
    total: Counter[int] = Counter()
    for item, weight in zip(ids.tolist(), weights.tolist(), strict=True):
        total[item] += weight
    assert total[0] == 0
    return {item: weight for item, weight in total.items() if weight}


def test_examples_equal_the_golden_ones(golden_examples: TrainingExamples) -> None:
    expected = golden("soft_labels")["examples"]
    everything = np.arange(len(golden_examples))
    assert inputs_of(golden_examples, everything) == [example["prefix"] for example in expected]
    assert golden_examples.target_items.tolist() == [example["target"] for example in expected]


@pytest.mark.parametrize(("gamma", "key"), [(0.2, "label_gamma_0_2"), (0.3, "label_gamma_0_3")])
def test_labels_equal_the_golden_ones(golden_examples: TrainingExamples, gamma: float, key: str) -> None:
    expected = golden("soft_labels")["examples"]
    labels = golden_examples.soft_labels(np.arange(len(expected)), gamma)
    for ids, weights, example in zip(*labels, expected, strict=True):
        assert label(ids, weights) == pytest.approx(dict(example[key]), rel=1e-12)


def test_second_views_equal_the_golden_ones(golden_examples: TrainingExamples) -> None:
    expected = golden("soft_labels")["examples"]
    views = SameTargetView()(golden_examples, np.arange(len(expected)), np.random.default_rng())
    assert split(views) == [example["second_view"] for example in expected]
    alone = golden_examples.last_partner == np.arange(len(expected))
    for is_alone, example in zip(alone, expected, strict=True):
        assert is_alone == example["second_view_is_self_fallback"]


@given(sequences=user_sequences(), max_length=st.integers(1, 12))
def test_every_training_item_from_the_second_on_is_a_target_once(sequences: list[list[int]], max_length: int) -> None:
    dataset = dataset_of(sequences)
    examples = TrainingExamples(dataset, max_length)
    found = list(
        zip(
            users_of(examples),
            inputs_of(examples, np.arange(len(examples))) if len(examples) else [],
            examples.target_items.tolist(),
            strict=True,
        )
    )
    assert found == slow_examples(sequences, max_length)
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
    examples = TrainingExamples(dataset_of([[*sequence, VALID, TEST] for sequence in sequences]), max_length)
    everything, rng = np.arange(len(examples)), np.random.default_rng(0)
    held_out = {VALID, TEST}
    ids, weights = examples.soft_labels(everything, gamma, rule)
    assert not held_out & set(ids[weights > 0].tolist())
    assert not held_out & set(examples.target_items.tolist())
    for view in (DropoutView(), SameTargetView("last"), SameTargetView("random")):
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
    examples = TrainingExamples(dataset_of(sequences))
    expected = [
        slow_label(sequence[:-2], number, gamma, rule)
        for sequence in sequences
        for number in range(1, len(sequence) - 2)
    ]
    chosen = list(range(len(expected)))
    rng.shuffle(chosen)
    labels = examples.soft_labels(np.array(chosen, np.int64), gamma, rule)
    for number, ids, weights in zip(chosen, *labels, strict=True):
        assert label(ids, weights) == pytest.approx(expected[number], rel=1e-12)


def test_without_decay_labels_are_one_hot() -> None:
    dataset = random_dataset()
    examples = TrainingExamples(dataset)
    for rule in ("first_occurrence", "position"):
        ids, weights = examples.soft_labels(np.arange(len(examples)), 0.0, rule)
        assert ids[weights > 0].tolist() == examples.target_items.tolist()
        assert (weights.max(axis=1) == 1).all()


@given(sequences=user_sequences(), max_length=st.integers(1, 5))
def test_last_partners_equal_slow_ones(sequences: list[list[int]], max_length: int) -> None:
    slow = slow_examples(sequences, max_length)
    expected = [
        max(
            (other for other, (_, prefix, item) in enumerate(slow) if item == target and prefix != own),
            default=number,
        )
        for number, (_, own, target) in enumerate(slow)
    ]
    assert TrainingExamples(dataset_of(sequences), max_length).last_partner.tolist() == expected


@settings(max_examples=30)
@given(sequences=user_sequences(most_users=4, longest=9), seed=st.integers(0, 2**32))
def test_random_partners_are_all_others_with_the_target(sequences: list[list[int]], seed: int) -> None:
    targets = [target for _, _, target in slow_examples(sequences, 50)]
    examples = TrainingExamples(dataset_of(sequences))
    rng = np.random.default_rng(seed)
    for number, target in enumerate(targets):
        others = {other for other, item in enumerate(targets) if item == target} - {number}
        # At most 23 others: missing one in 1000 draws has a probability below 1e-17.
        drawn = examples.random_partners(np.full(1000, number), rng)
        assert set(drawn.tolist()) == (others or {number})


def test_random_partners_are_uniform() -> None:
    dataset = dataset_of([[item, 1, 9, 9] for item in (2, 3, 4, 5, 6)])  # five examples, all with target 1
    drawn = TrainingExamples(dataset).random_partners(np.full(4000, 2), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=5)
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 1000).max() < 5 * np.sqrt(1000 * 0.75)


def test_a_dropout_view_is_the_example_itself() -> None:
    examples = TrainingExamples(random_dataset(), max_length=4)
    chosen = np.array([5, 0, 7])
    assert split(DropoutView()(examples, chosen, np.random.default_rng())) == inputs_of(examples, chosen)


@given(sequences=user_sequences(), max_length=st.integers(1, 12), which=st.sampled_from(["valid", "test"]))
def test_held_out_inputs_equal_slow_ones(sequences: list[list[int]], max_length: int, which: Split) -> None:
    dataset = dataset_of(sequences)
    held_out = HeldOut(dataset, which, max_length)
    back: Literal[1, 2] = 1 if which == "test" else 2
    assert dataset.items[held_out.target].tolist() == [sequence[-back] for sequence in sequences]
    assert split(take(dataset.items, held_out.start, held_out.target)) == [
        sequence[:-back][-max_length:] for sequence in sequences
    ]
    history = take(dataset.items, held_out.history_start, held_out.target)
    assert split(history) == [sequence[:-back] for sequence in sequences]


@pytest.mark.parametrize("name", ["beauty", "yelp"])
def test_benchmark_examples_equal_slow_ones(data_dir: Path, name: str) -> None:
    dataset = load(name, data_dir, download=False)
    sequences = [dataset.sequence(user).tolist() for user in range(dataset.num_users)]
    slow = slow_examples(sequences, 50)
    examples = TrainingExamples(dataset)
    assert examples.target_items.tolist() == [target for _, _, target in slow]
    same_target: dict[int, list[int]] = {}
    for number, (_, _, target) in enumerate(slow):
        same_target.setdefault(target, []).append(number)
    chosen = np.random.default_rng(0).choice(len(slow), 3000, replace=False)
    prefixes = inputs_of(examples, chosen)
    ids, weights = examples.soft_labels(chosen, 0.3)
    for row, number in enumerate(chosen.tolist()):
        user, prefix, target = slow[number]
        assert prefixes[row] == prefix
        expected = slow_label(sequences[user][:-2], sequences[user].index(target), 0.3, "first_occurrence")
        assert label(ids[row], weights[row]) == pytest.approx(expected, rel=1e-12)
        others = [other for other in same_target[target] if slow[other][1] != prefix]
        assert examples.last_partner[number] == (others[-1] if others else number)


def test_no_example_of_users_without_training_target() -> None:
    dataset = dataset_of([[1, 2, 3], [4, 5, 6, 7]])
    examples = TrainingExamples(dataset)
    assert isinstance(examples.dataset, SequenceDataset)
    assert users_of(examples) == [1]
    assert examples.target_items.tolist() == [5]
