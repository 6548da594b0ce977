"""Windows with hidden items: which windows, which items, and what becomes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import dataset_of, random_dataset, split, user_sequences
from tf_fenrec.data.rules.cloze import Cloze, hide
from tf_fenrec.errors import InputError

BERT4REC: dict[str, Any] = {"mask_probability": 0.6, "exact": True}
CBIT: dict[str, Any] = {"mask_probability": 0.15, "masked_share": 0.8}
HELD_OUT = [13, 13]


@pytest.mark.parametrize("number", [0, 1])
def test_windows_equal_the_golden_ones(number: int) -> None:
    case = golden("baselines/cbit_data")["sliding_windows"][number]
    dataset = dataset_of([[*training, *HELD_OUT] for training in case["train"].values()])
    rule = Cloze(dataset, case["max_len"], case["step"])
    assert split(rule.inputs(np.arange(len(rule)))) == case["windows"]


@pytest.mark.parametrize("number", [0, 1])
def test_hidden_items_equal_the_golden_ones(number: int) -> None:
    case = golden("baselines/cbit_data")["cloze"][number]
    items, draws = np.array(case["sequence"], np.int32), np.array(case["uniform_draws"])
    chosen, fates = draws < case["mask_prob"], draws / case["mask_prob"]
    random_items = np.zeros(len(items), np.int32)
    replaced = chosen & (fates >= 0.8) & (fates < 0.9)
    random_items[replaced] = case["random_items"][: replaced.sum()]  # the program draws one only where it needs it
    hidden = hide(items, chosen, fates, random_items, 0.8, case["mask_id"])
    length = case["max_len"]
    for found, expected in ((hidden, "tokens"), (np.where(chosen, items, 0), "labels")):
        assert [0] * (length - len(found)) + found[-length:].tolist() == case[expected]


@given(sequences=user_sequences(longest=16), max_length=st.integers(1, 6), step=st.integers(1, 7))
def test_windows_equal_slow_ones(sequences: list[list[int]], max_length: int, step: int) -> None:
    expected, users, histories = [], [], []
    for user, sequence in enumerate(sequences):
        training = sequence[:-2]
        if len(training) < 2:
            continue
        for start in [*range(len(training) - max_length, 0, -step), 0]:
            expected.append(training[start : start + max_length])
            users.append(user)
            histories.append(training[: start + max_length])
    assume(expected)
    rule = Cloze(dataset_of(sequences), max_length, step)
    rows = np.random.default_rng(0).permutation(len(rule))
    assert split(rule.inputs(rows)) == [expected[row] for row in rows]
    assert rule.ids(rows).tolist() == [users[row] for row in rows]
    assert rule.lengths.tolist() == [len(window) for window in expected]
    assert split(rule.histories(rows)) == [histories[row] for row in rows]


@given(
    sequences=user_sequences(longest=16),
    options=st.sampled_from([BERT4REC, CBIT, BERT4REC | {"last_probability": 0.5}]),
    seed=st.integers(0, 2**32),
)
def test_labels_are_the_hidden_items_where_they_stood(
    sequences: list[list[int]], options: dict[str, Any], seed: int
) -> None:
    assume(any(len(sequence) > 3 for sequence in sequences))
    rule = Cloze(dataset_of(sequences), 5, **options)
    rows = np.arange(len(rule))
    plain, drawn = rule.inputs(rows), rule.examples(rows, np.random.default_rng(seed))
    tokens = drawn.labels.tokens
    assert (np.diff(tokens) > 0).all()
    assert drawn.labels.ids.ravel().tolist() == plain.items[tokens].tolist()
    assert drawn.lengths.tolist() == plain.lengths.tolist()
    unlabelled = np.setdiff1d(np.arange(len(plain.items)), tokens)
    assert (drawn.items[unlabelled] == plain.items[unlabelled]).all()
    assert drawn.items.dtype == np.int32
    if options.get("exact"):
        assert (drawn.items[tokens] == rule.dataset.num_items + 1).all()
        window = np.repeat(rows, drawn.lengths)
        expected = [max(1, int(0.6 * length + 0.5)) for length in drawn.lengths]
        for counted, usual, end in zip(
            np.bincount(window[tokens], minlength=len(rows)), expected, np.cumsum(drawn.lengths), strict=True
        ):
            assert counted == usual or (options.get("last_probability") and counted == 1 and end - 1 in tokens)


def deviation(count: int, of: int, probability: float) -> float:
    """How many standard deviations a count is off."""
    return abs(count - of * probability) / np.sqrt(of * probability * (1 - probability))


def test_items_are_chosen_and_hidden_as_often_as_said() -> None:
    """CBiT: 15 % are chosen; of these 80 % become the mask, 10 % another item, 10 % stay."""
    dataset = random_dataset(users=3000, num_items=1000)
    rule = Cloze(dataset, 8, **CBIT)
    rows = np.arange(len(rule))
    plain, drawn = rule.inputs(rows), rule.examples(rows, np.random.default_rng(1))
    assert deviation(len(drawn.labels.tokens), len(plain.items), 0.15) < 5
    before, after = plain.items[drawn.labels.tokens], drawn.items[drawn.labels.tokens]
    masked, kept = after == 1001, after == before
    assert deviation(masked.sum(), len(after), 0.8) < 5
    assert deviation(kept.sum(), len(after), 0.1 + 0.1 / 1000) < 5
    others = after[~masked & ~kept]
    assert others.min() >= 1
    assert others.max() <= 1000
    assert len(set(others.tolist())) > 0.5 * min(len(others), 1000)


def test_the_last_item_alone_is_masked_as_often_as_said() -> None:
    dataset = dataset_of([[1, 2, 3, 4, 5, 6, 7]] * 4000)
    rule = Cloze(dataset, 5, 5, last_probability=1 / 11, **BERT4REC)
    drawn = rule.examples(np.arange(len(rule)), np.random.default_rng(2))
    labelled = np.zeros(len(drawn.items), int)
    labelled[drawn.labels.tokens] = 1
    labelled = labelled.reshape(-1, 5)
    only_last = labelled.sum(axis=1) == 1
    assert (labelled[only_last] == [0, 0, 0, 0, 1]).all()
    assert deviation(only_last.sum(), len(rule), 1 / 11) < 5
    # The others are three of five, all alike.
    others = labelled[~only_last]
    assert (others.sum(axis=1) == 3).all()
    assert all(deviation(count, len(others), 0.6) < 5 for count in others.sum(axis=0))


def test_a_last_item_alone_is_always_masked() -> None:
    """As it is when the next item is asked for, whatever becomes of others."""
    rule = Cloze(random_dataset(), 5, masked_share=0.0, last_probability=1.0)
    rows = np.arange(len(rule))
    plain, drawn = rule.inputs(rows), rule.examples(rows, np.random.default_rng(0))
    last = np.cumsum(plain.lengths) - 1
    assert drawn.labels.tokens.tolist() == last.tolist()
    plain.items[last] = rule.dataset.num_items + 1
    assert (drawn.items == plain.items).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_probability": 0.0}, "`mask_probability` should be more than 0"),
        ({"mask_probability": 1.5}, r"`mask_probability` should be from 0 to 1\. Received: 1\.5"),
        ({"masked_share": -0.1}, "`masked_share` should be from 0 to 1"),
        ({"last_probability": 2.0}, "`last_probability` should be from 0 to 1"),
        ({"step": 0}, "`step` should be at least 1"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Cloze(random_dataset(), 5, **options)
