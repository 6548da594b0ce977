"""Batches: what is in them, and that they depend on seed, epoch and step alone."""

from __future__ import annotations

import ctypes
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.small_data import dataset_of, random_dataset, slow_examples, unpack, user_sequences
from tf_fenrec.data.batches import Batch, EvaluationBatches, Protocol, TrainingBatches, even_chunks
from tf_fenrec.data.examples import Split
from tf_fenrec.data.views import DropoutView, SameTargetView
from tf_fenrec.errors import InputError

DATASET = random_dataset()
VIEWS = (DropoutView(), SameTargetView("random"))


def flat(batches: list[Batch]) -> list[tuple[str, bytes, tuple[int, ...]]]:
    """Every array of every batch, as bytes: equal exactly when the batches are."""
    return [
        (name, np.asarray(array).tobytes(), np.shape(array))
        for batch in batches
        for part in batch
        for name, array in sorted(part.items())
    ]


def training(**changes: Any) -> TrainingBatches:
    return TrainingBatches(DATASET, **{"batch_size": 32, "views": VIEWS, "max_length": 8, "seed": 7} | changes)


@settings(max_examples=40)
@given(sequences=user_sequences(), batch_size=st.integers(2, 9), packed=st.booleans(), max_length=st.integers(1, 6))
def test_an_epoch_holds_every_example_once(
    sequences: list[list[int]], batch_size: int, packed: bool, max_length: int
) -> None:
    expected = slow_examples(sequences, max_length)
    assume(expected)
    batches = TrainingBatches(dataset_of(sequences), batch_size, (DropoutView(),), 0.5, "position", max_length, packed)
    seen: Counter[tuple[tuple[int, ...], int]] = Counter()
    sizes = []
    for inputs, targets in batches.epoch_batches(3):
        size = len(targets["item"])
        sizes.append(size)
        own, view = unpack(inputs)[:size], unpack(inputs)[size:]
        assert own == view
        seen.update((tuple(prefix), item) for prefix, item in zip(own, targets["item"].tolist(), strict=True))
        assert (targets["label_ids"][:, 0] == targets["item"]).all()
        np.testing.assert_allclose(targets["label_weights"].sum(axis=1), 1, rtol=1e-6)
        assert targets["label_weights"].dtype == np.float32
    assert seen == Counter((tuple(prefix), target) for _, prefix, target in expected)
    assert len(batches) == len(sizes)
    assert set(sizes[:-1]) <= {batch_size}


def test_packed_and_padded_batches_hold_the_same() -> None:
    for packed, padded in zip(training().epoch_batches(0), training(packed=False).epoch_batches(0), strict=True):
        assert unpack(packed[0]) == unpack(padded[0])
        assert len(padded[0]["items"]) == len(padded[0]["last"])
        assert flat([({}, packed[1])]) == flat([({}, padded[1])])


def test_seed_epoch_and_step_fix_a_batch() -> None:
    first = flat(list(training().epoch_batches(2)))
    again = training()
    list(again.epoch_batches(0))  # what was drawn before has no influence
    assert flat(list(again.epoch_batches(2))) == first
    assert flat(list(training().epoch_batches(3))) != first
    assert flat(list(training(seed=8).epoch_batches(2))) != first


def test_epochs_and_seeds_shuffle_differently() -> None:
    drawn = [(7, 0), (7, 1), (8, 0)]
    orders = {str(flat(list(training(seed=seed, views=()).epoch_batches(epoch)))) for seed, epoch in drawn}
    assert len(orders) == len(drawn)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_starting_at_a_step_is_skipping_to_it(step: int) -> None:
    everything = list(training().epoch_batches(1))
    assert len(everything) > 4
    assert flat(list(training().epoch_batches(1, step))) == flat(everything[step:])


def test_random_views_are_drawn_anew_each_epoch() -> None:
    batches = training(batch_size=10_000, views=(SameTargetView("random"),))

    def pairs(epoch: int) -> set[tuple[tuple[int, ...], ...]]:
        [(inputs, targets)] = batches.epoch_batches(epoch)
        sequences = [tuple(sequence) for sequence in unpack(inputs)]
        size = len(targets["item"])
        return set(zip(sequences[:size], sequences[size:], strict=True))

    assert pairs(0) != pairs(1)


def test_as_dataset_gives_the_epoch_it_is_set_to() -> None:
    batches = training()
    dataset = batches.as_dataset()
    for epoch in (0, 2):
        batches.epoch = epoch
        assert flat(list(dataset.as_numpy_iterator())) == flat(list(training().epoch_batches(epoch)))
    batches.first_step = 2
    later = batches.as_dataset()
    assert int(later.cardinality()) == len(batches) - 2
    assert flat(list(later.as_numpy_iterator())) == flat(list(training().epoch_batches(2, 2)))


class MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`; `hblks` counts the blocks that were mapped one by one."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not glibc")
def test_the_pipeline_does_not_make_malloc_map_every_block_anew() -> None:
    """As `from_generator` does under Python 3.11: by default a size that was freed once comes from the heap."""
    next(iter(training().as_dataset()))
    next(iter(EvaluationBatches(DATASET, "valid").as_dataset()))
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    libc.mallinfo2.restype = MallInfo
    size = 24 << 20  # no heap has that much left
    libc.free(libc.malloc(size))
    before = libc.mallinfo2().hblks
    block = libc.malloc(size)
    after = libc.mallinfo2().hblks
    libc.free(block)
    assert after == before


def test_inputs_are_all_examples() -> None:
    prefixes = [prefix for _, prefix, _ in slow_examples([DATASET.sequence(u).tolist() for u in range(40)], 8)]
    seen: dict[int, list[int]] = {}
    for chosen in even_chunks(len(prefixes), 50):
        seen |= dict(zip(chosen.tolist(), unpack(training().inputs(chosen)), strict=True))
    assert seen == dict(enumerate(prefixes))


@given(count=st.integers(1, 300), size=st.integers(1, 50))
def test_chunks_are_even(count: int, size: int) -> None:
    chunks = even_chunks(count, size)
    assert sorted(np.concatenate(chunks).tolist()) == list(range(count))
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_training_needs_an_example() -> None:
    with pytest.raises(InputError, match=r"at least 4 items .* longest sequence 3"):
        TrainingBatches(dataset_of([[1, 2, 3], [3, 2, 1]]))


@settings(max_examples=60)
@given(
    sequences=user_sequences(),
    which=st.sampled_from(["valid", "test"]),
    protocol=st.sampled_from(["paper", "strict"]),
    batch_size=st.integers(1, 4),
    packed=st.booleans(),
)
def test_evaluation_batches_equal_slow_ones(
    sequences: list[list[int]], which: Split, protocol: Protocol, batch_size: int, packed: bool
) -> None:
    dataset = dataset_of(sequences, num_items=8)
    batches = EvaluationBatches(dataset, which, protocol, 4, packed, batch_size=batch_size)
    back = 1 if which == "test" else 2
    seen = []
    for number, (inputs, targets) in enumerate(batches):
        rows = unpack(inputs)
        users = list(range(len(sequences)))[number :: len(batches)]
        seen.append(np.array(users))
        pairs = [(int(row), int(item)) for row, item in targets["excluded"]]
        excluded = set(pairs)
        assert len(pairs) == len(excluded)
        expected = set()
        for row, sequence in enumerate(sequences[user] for user in users):
            history, target = sequence[:-back], sequence[-back]
            assert rows[row] == history[-4:]
            assert targets["item"][row] == target
            if protocol == "paper":
                expected |= {(row, item) for item in history}
            else:
                expected |= {(row, item) for item in {*history, 0, 9} - {target}}
        assert excluded == expected
        assert targets["excluded_score"] == (0 if protocol == "paper" else -np.inf)
        assert len(rows) == len(users) <= batch_size
    assert batches.in_order(seen).tolist() == list(range(len(sequences)))


def test_evaluation_of_chosen_users() -> None:
    users = np.array([3, 17, 30])
    [(inputs, targets)] = EvaluationBatches(DATASET, "test", users=users)
    assert targets["item"].tolist() == [DATASET.sequence(user)[-1] for user in users]
    assert unpack(inputs) == [DATASET.sequence(user)[:-1].tolist() for user in users]


def test_evaluation_batches_shrink_as_the_catalogue_grows() -> None:
    """So that their scores do not."""
    small, large, huge = (dataset_of([[1, 2, 3]], num_items) for num_items in (3, 10**6, 10**9))
    sizes = [EvaluationBatches(data, "valid").batch_size for data in (small, large, huge)]
    assert sizes == [640, 16, 1]
    assert EvaluationBatches(large, "valid", batch_size=512).batch_size == 512


def test_evaluation_as_dataset() -> None:
    batches = EvaluationBatches(DATASET, "valid", "strict", 8, batch_size=16)
    dataset = batches.as_dataset()
    assert int(dataset.cardinality()) == len(batches) == 3
    assert flat(list(dataset.as_numpy_iterator())) == flat(list(batches))


def test_sampled_items_and_how_often_they_are_expected() -> None:
    """Over many epochs an item stands among the candidates that others bring as often as is expected."""
    batches = training(num_sampled=5, batch_size=16)
    brought, expected = np.zeros(DATASET.num_items + 2), np.zeros(DATASET.num_items + 2)
    for epoch in range(300):
        _, targets = next(batches.epoch_batches(epoch))
        sampled = targets["sampled_ids"]
        others = [item for labels in targets["label_ids"][1:].tolist() for item in set(labels) - {0}]
        np.add.at(brought, [*others, *sampled], 1)
        counts = targets["expected_counts"]
        candidates = np.concatenate([targets["label_ids"].ravel(), sampled])
        assert len(counts) == len(candidates)
        expected[candidates] = counts
    seen = expected > 0
    seen[0] = False
    deviation = (brought[seen] / 300 - expected[seen]) / np.sqrt(expected[seen] / 300)
    assert np.abs(deviation).max() < 5
