"""What a dataset must be, and words that choose among rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.small_data import dataset_of, random_dataset
from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
from tf_fenrec.data.held_out import HeldOut
from tf_fenrec.data.rules.prefixes import Prefixes
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views import SameTarget
from tf_fenrec.errors import InputError
from tf_fenrec.losses import EnduringContrastive

DATASET = random_dataset()


@pytest.mark.parametrize(
    ("items", "offsets", "message"),
    [
        ([1, 2, 3], [0, 4], "`offsets` should run from 0 to the 3 items. Received: 0 to 4"),
        ([1, 2, 3], [], "`offsets` should run from 0 to the 3 items. Received: none"),
        ([1, 2, 3, 1, 2], [0, 3, 5], "at least 3 items. Received: 2 of user 1"),
        ([1, 2, 0], [0, 3], "`items` should be from 1 to `num_items`, 5. Received: 0 to 2"),
        ([1, 2, 6], [0, 3], "`items` should be from 1 to `num_items`, 5. Received: 1 to 6"),
    ],
)
def test_a_dataset_is_checked(items: list[int], offsets: list[int], message: str) -> None:
    with pytest.raises(InputError) as raised:
        SequenceDataset("own", np.array(items, np.int32), np.array(offsets, np.int64), 5)
    assert message in str(raised.value)


def test_the_training_part_is_all_but_the_last_two() -> None:
    assert dataset_of([[1, 2, 3], [4, 5, 6, 7, 8]]).in_training().tolist() == [
        True,
        *[False] * 2,
        *[True] * 3,
        *[False] * 2,
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HeldOut(DATASET, "Test"), "`split` should be one of valid, test. Received: 'Test'"),
        (lambda: EvaluationBatches(DATASET, "test", "Strict"), "`protocol` should be one of paper, strict"),
        (lambda: EvaluationBatches(DATASET, "test", batch_size=0), "`batch_size` should be at least 1. Received: 0"),
        (lambda: TrainingBatches(Prefixes(DATASET), batch_size=0), "`batch_size` should be at least 1. Received: 0"),
        (lambda: SameTarget("first"), "`rule` should be one of last, random. Received: 'first'"),
        (
            lambda: Prefixes(DATASET).windows(np.arange(2), 0.2, "first"),
            "`rule` should be one of first_occurrence, position. Received: 'first'",
        ),
        (lambda: EnduringContrastive(form="Paper"), "`form` should be one of released, paper. Received: 'Paper'"),
    ],
)
def test_a_word_that_is_none_of_the_choices_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        make()
    assert message in str(raised.value)
