"""What holds for all rules and views: batches of them, and that nothing held out is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.small_data import dataset_of, random_dataset, split, unpack, user_sequences
from tf_fenrec.data.batches import TrainingBatches
from tf_fenrec.data.packing import Layout
from tf_fenrec.data.rules.cloze import Cloze
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.data.rules.users import Users
from tf_fenrec.data.rules.windows import Windows
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.similarity import offline_neighbours
from tf_fenrec.data.views import Again, Augmented, ClozeAgain, Crop, Insert, Mask, Reorder, Substitute, View

LENGTH = 6
RULES: dict[str, Callable[[SequenceDataset], Rule]] = {
    "prefixes": lambda dataset: Prefixes(dataset, LENGTH),
    "recent": lambda dataset: Prefixes(dataset, LENGTH, SoftLabels(0.2), recent=True, empty=True),
    "users": lambda dataset: Users(dataset, LENGTH),
    "soft users": lambda dataset: Users(dataset, LENGTH, SoftLabels(0.2, "position")),
    "windows": lambda dataset: Windows(dataset, LENGTH),
    "bert4rec": lambda dataset: Cloze(dataset, LENGTH, 2, 0.6, exact=True, last_probability=0.1),
    "cbit": lambda dataset: Cloze(dataset, LENGTH, masked_share=0.8),
}


def views_of(name: str, dataset: SequenceDataset) -> dict[str, View]:
    if name == "cbit":
        return {"copy1": ClozeAgain(), "copy2": ClozeAgain()}
    similar = offline_neighbours(dataset).items
    cl4srec = [Crop(0.6), Mask(0.3, dataset.num_items + 1), Reorder(0.6)]
    coserec = [Insert(0.5, lambda: similar), Substitute(0.3, lambda: similar), Mask(0.7, 0)]
    return {
        "view0": Augmented(cl4srec, number=0),
        "view1": Augmented(cl4srec, number=1),
        "view2": Augmented([*coserec, Crop(0.2), Reorder(0.2)], short=coserec, threshold=3, uncut=True),
        "view3": Again(),
    }


def batches_of(name: str, dataset: SequenceDataset, batch_size: int = 16) -> TrainingBatches:
    return TrainingBatches(RULES[name](dataset), batch_size, views_of(name, dataset), seed=3, num_sampled=4)


def content(batches: TrainingBatches, layout: Layout) -> list[Any]:
    return [
        (name, array.dtype.str, array.tobytes())
        for step in range(len(batches))
        for part in batches.step_batch(1, step, layout, everywhere=True)
        for name, array in sorted(part.items())
    ]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", RULES)
def test_batches_hold_the_sequences_and_their_labels(name: str, packed: bool) -> None:
    dataset = random_dataset()
    batches, layout = batches_of(name, dataset), Layout(LENGTH, packed, users=True)
    labelled = 1 + 2 * (name == "cbit")  # groups that bring labels
    for step in range(len(batches)):
        inputs, targets = batches.step_batch(0, step, layout, everywhere=True)
        rows, rng = batches._order(0)[step], np.random.default_rng([3, 0, step])
        groups = [batches.rule.examples(rows, rng)]
        groups += [view(batches.rule, rows, rng) for view in batches.views.values()]
        sequences = [one for group in groups for one in split(group)]
        assert unpack(inputs) == sequences
        assert max(map(len, sequences)) <= LENGTH
        assert inputs["users"][: len(rows)].tolist() == (batches.rule.user[rows] + 1).tolist()
        expected = []  # the sequence and column of each label, what and how much
        for number, group in enumerate(groups[:labelled]):
            begin = np.cumsum(group.lengths) - group.lengths
            for token, ids, weights in zip(*group.labels, strict=True):
                sequence = np.flatnonzero(begin <= token)[-1]
                expected.append(
                    (number * len(rows) + sequence, token - begin[sequence], ids.tolist(), weights.tolist())
                )
        assert all(group.labels is None for group in groups[labelled:])
        real = targets["label_weights"].sum(axis=1) > 0
        assert not targets["label_ids"][~real].any()
        found = []
        segments = inputs["segments"].ravel()
        for token, ids, weights in zip(
            targets["label_tokens"][real], targets["label_ids"][real], targets["label_weights"][real], strict=True
        ):
            row, column = divmod(int(token), LENGTH)
            sequence = inputs["slots"][row, segments[token] - 1]
            first = np.flatnonzero(inputs["segments"][row] == segments[token])[0]
            found.append((sequence, column - first, ids.tolist(), weights.tolist()))
        assert found == expected
        np.testing.assert_allclose(targets["label_weights"][real].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_pipelines_give_these_batches(name: str) -> None:
    batches, layout = batches_of(name, random_dataset()), Layout(LENGTH)
    [(inputs, targets)] = batches.as_dataset(layout, everywhere=True).take(1).as_numpy_iterator()
    expected_inputs, expected_targets = batches.step_batch(0, 0, layout, everywhere=True)
    for found, expected in ((inputs, expected_inputs), (targets, expected_targets)):
        assert all((found[key] == expected[key]).all() for key in expected)


@settings(max_examples=20)
@given(sequences=user_sequences(), others=st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", RULES)
def test_held_out_items_leave_no_trace(name: str, sequences: list[list[int]], others: Any) -> None:
    """Whatever the last two items of all users are, batches are the same to the byte."""
    assume(any(len(sequence) > 3 for sequence in sequences))
    layout = Layout(LENGTH, packed=False)
    changed = [[*sequence[:-2], others.randint(1, 6), others.randint(1, 6)] for sequence in sequences]
    one, other = (batches_of(name, dataset_of(data, num_items=6), 4) for data in (sequences, changed))
    assert content(one, layout) == content(other, layout)
