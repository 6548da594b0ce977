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
from tf_fenrec.data.batches import Batch, Chunks, EvaluationBatches, Protocol, TrainingBatches
from tf_fenrec.data.held_out import Split
from tf_fenrec.data.packing import Layout
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels
from tf_fenrec.data.views import Again, SameTarget
from tf_fenrec.errors import InputError

DATASET = random_dataset()
VIEWS = {"view1": Again(), "view2": SameTarget("random")}
LAYOUT, PADDED = Layout(8), Layout(8, packed=False)


def flat(batches: list[Batch]) -> list[tuple[str, bytes, tuple[int, ...]]]:
    """Every array of every batch, as bytes: equal exactly when the batches are."""
    return [
        (name, np.asarray(array).tobytes(), np.shape(array))
        for batch in batches
        for part in batch
        for name, array in sorted(part.items())
    ]


def training(batch_size: int = 32, views: Any = VIEWS, seed: int = 7, **changes: Any) -> TrainingBatches:
    return TrainingBatches(Prefixes(DATASET, 8, SoftLabels(0.2)), batch_size, views, seed, **changes)


def epoch(batches: TrainingBatches, number: int, first_step: int = 0, layout: Layout = LAYOUT) -> list[Batch]:
    return [batches.step_batch(number, step, layout) for step in range(first_step, len(batches))]


@settings(max_examples=40)
@given(sequences=user_sequences(), batch_size=st.integers(2, 9), packed=st.booleans(), max_length=st.integers(1, 6))
def test_an_epoch_holds_every_example_once_and_few_twice(
    sequences: list[list[int]], batch_size: int, packed: bool, max_length: int
) -> None:
    expected = Counter((tuple(prefix), target) for _, prefix, target in slow_examples(sequences, max_length))
    assume(expected)
    rule = Prefixes(dataset_of(sequences), max_length, SoftLabels(0.5, "position"))
    batches = TrainingBatches(rule, batch_size, {"view": Again()})
    seen: Counter[tuple[tuple[int, ...], int]] = Counter()
    size = min(batch_size, expected.total())
    for inputs, targets in epoch(batches, 3, layout=Layout(max_length, packed)):
        assert len(targets["ids"]) == size
        own, view = unpack(inputs)[:size], unpack(inputs)[size:]
        assert own == view
        seen.update((tuple(prefix), item) for prefix, item in zip(own, targets["ids"].tolist(), strict=True))
        assert (targets["label_ids"][:, 0] == targets["ids"]).all()
        np.testing.assert_allclose(targets["label_weights"].sum(axis=1), 1, rtol=1e-6)
        assert targets["label_weights"].dtype == np.float32
    assert len(batches) == -(-expected.total() // size)
    assert seen >= expected
    assert (seen - expected).total() == len(batches) * size - expected.total()
    assert all(seen[example] <= 2 * count for example, count in expected.items())


def test_all_batches_have_the_same_mix_of_lengths() -> None:
    batches = training(batch_size=16)
    lengths = np.stack([np.sort([len(s) for s in unpack(inputs)[:16]]) for inputs, _ in epoch(batches, 0)])
    by_length = np.sort(batches.rule.lengths)
    steps = len(batches)
    for rank, drawn in enumerate(lengths.T):  # the k-th shortest of a batch is one of the k-th run of neighbours
        low, high = by_length[max(0, rank * steps - steps)], by_length[min(len(by_length) - 1, (rank + 1) * steps)]
        assert low <= drawn.min() <= drawn.max() <= high


def test_who_meets_whom_is_random() -> None:
    """Over many epochs any two examples of other lengths share a batch about as often as any others."""
    batches = training(batch_size=16, views={})
    rule, together = batches.rule, Counter()
    for number in range(400):
        for rows in batches._order(number):
            together.update((0, int(row)) for row in rows if 0 in rows)
    others = [together[0, row] for row in range(len(rule)) if rule.lengths[row] != rule.lengths[0]]
    expected = 400 * 16 / len(rule)
    assert np.abs((np.array(others) - expected) / np.sqrt(expected)).max() < 6


def test_packed_and_padded_batches_hold_the_same() -> None:
    for packed, padded in zip(epoch(training(), 0), epoch(training(), 0, layout=PADDED), strict=True):
        assert unpack(packed[0]) == unpack(padded[0])
        assert len(padded[0]["items"]) == len(padded[0]["last"])
        assert flat([({}, packed[1])]) == flat([({}, padded[1])])


def test_seed_epoch_and_step_fix_a_batch() -> None:
    first = flat(epoch(training(), 2))
    again = training()
    epoch(again, 0)  # what was drawn before has no influence
    assert flat(epoch(again, 2)) == first
    assert flat(epoch(training(), 3)) != first
    assert flat(epoch(training(seed=8), 2)) != first


def test_epochs_and_seeds_shuffle_differently() -> None:
    drawn = [(7, 0), (7, 1), (8, 0)]
    orders = {str(flat(epoch(training(seed=seed, views={}), number))) for seed, number in drawn}
    assert len(orders) == len(drawn)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_starting_at_a_step_is_skipping_to_it(step: int) -> None:
    everything = epoch(training(), 1)
    assert len(everything) > 4
    assert flat(epoch(training(), 1, step)) == flat(everything[step:])


def test_random_views_are_drawn_anew_each_epoch() -> None:
    batches = training(batch_size=10_000, views={"view": SameTarget("random")})

    def pairs(number: int) -> set[tuple[tuple[int, ...], ...]]:
        [(inputs, targets)] = epoch(batches, number)
        sequences = [tuple(sequence) for sequence in unpack(inputs)]
        size = len(targets["ids"])
        return set(zip(sequences[:size], sequences[size:], strict=True))

    assert pairs(0) != pairs(1)


@pytest.mark.parametrize("everywhere", [False, True])
def test_as_dataset_gives_the_epoch_it_is_set_to(everywhere: bool) -> None:
    batches = training()
    dataset = batches.as_dataset(LAYOUT, everywhere)

    def expected(number: int, first_step: int = 0) -> list[Batch]:
        steps = range(first_step, len(batches))
        return [training().step_batch(number, step, LAYOUT, everywhere) for step in steps]

    for number in (0, 2):
        batches.epoch = number
        assert flat(list(dataset.as_numpy_iterator())) == flat(expected(number))
    batches.first_step = 2
    later = batches.as_dataset(LAYOUT, everywhere)
    assert int(later.cardinality()) == len(batches) - 2
    assert flat(list(later.as_numpy_iterator())) == flat(expected(2, 2))


def test_labels_read_everywhere_are_filled_up() -> None:
    batches = training()
    for step in range(len(batches)):
        inputs, targets = batches.step_batch(0, step, LAYOUT, everywhere=True)
        _, plain = batches.step_batch(0, step, LAYOUT)
        count = len(plain["label_ids"])
        assert len(targets["label_tokens"]) == len(targets["label_ids"]) == 64
        assert targets["label_tokens"][:count].tolist() == inputs["last"][:count].tolist()
        assert (targets["label_ids"][:count] == plain["label_ids"]).all()
        assert (targets["label_weights"][:count] == plain["label_weights"]).all()
        assert not targets["label_weights"][count:].any()


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
    next(iter(training().as_dataset(LAYOUT)))
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
    chunks = training().input_batches(LAYOUT, 50)
    seen: dict[int, list[int]] = {}
    for rows in chunks.numbers:
        batch = training().inputs(rows, LAYOUT, chunks.packed_size)
        assert batch["slots"].shape == tuple(chunks.packed_size)
        seen |= dict(zip(rows.tolist(), unpack(batch), strict=True))
    assert seen == dict(enumerate(prefixes))


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=300), size=st.integers(1, 50))
def test_chunks_hold_all_in_one_size(lengths: list[int], size: int) -> None:
    chunks = Chunks(np.array(lengths), size, 50)
    assert set(chunks.numbers.ravel().tolist()) == set(range(len(lengths)))
    assert chunks.numbers.shape[1] <= size
    assert len(chunks) == -(-len(lengths) // size)
    assert chunks.numbers.size - len(lengths) < len(chunks)  # few stand in two
    assert all(len(set(chunk.tolist())) == len(chunk) for chunk in chunks.numbers)


def test_training_needs_an_example() -> None:
    with pytest.raises(InputError, match=r"at least 4 items .* longest sequence 3"):
        TrainingBatches(Prefixes(dataset_of([[1, 2, 3], [3, 2, 1]])))


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
    batches, layout = EvaluationBatches(dataset, which, protocol, batch_size=batch_size), Layout(4, packed)
    back = 1 if which == "test" else 2
    seen = []
    for number, (inputs, targets) in enumerate(batches.batches(layout)):
        rows = unpack(inputs)
        users = batches._chunked(layout).numbers[number].tolist()
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
    assert batches.in_order(seen, layout).tolist() == list(range(len(sequences)))
    some = {user for users in seen[:1] for user in users.tolist()}
    assert batches.in_order(seen[:1], layout).tolist() == sorted(some)


def test_evaluation_of_chosen_users() -> None:
    users = np.array([3, 17, 30])
    batches = EvaluationBatches(DATASET, "test", users=users)
    [(inputs, targets)] = batches.batches(Layout(50))
    drawn = users[batches._chunked(Layout(50)).numbers[0]]
    assert sorted(drawn.tolist()) == users.tolist()
    assert targets["item"].tolist() == [DATASET.sequence(user)[-1] for user in drawn]
    assert unpack(inputs) == [DATASET.sequence(user)[:-1].tolist() for user in drawn]


def test_evaluation_batches_shrink_as_the_catalogue_grows() -> None:
    """So that their scores do not."""
    small, large, huge = (dataset_of([[1, 2, 3]], num_items) for num_items in (3, 10**6, 10**9))
    sizes = [EvaluationBatches(data, "valid").batch_size for data in (small, large, huge)]
    assert sizes == [640, 16, 1]
    assert EvaluationBatches(large, "valid", batch_size=512).batch_size == 512


def test_sampled_items_and_how_often_they_are_expected() -> None:
    """Over many epochs an item stands among the candidates that others bring as often as is expected."""
    batches = training(num_sampled=5, batch_size=16)
    brought, expected = np.zeros(DATASET.num_items + 2), np.zeros(DATASET.num_items + 2)
    for number in range(300):
        _, targets = batches.step_batch(number, 0, LAYOUT)
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
