"""Crop, mask and reorder against the golden ones, and their draws."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden_vectors import golden
from tests.small_data import join, split
from tf_fenrec.data.views import Crop, Mask, Reorder
from tf_fenrec.data.views.crop_mask_reorder import crop, mask, reorder
from tf_fenrec.errors import InputError

SEQUENCES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=8)


def cases(name: str) -> list[dict[str, Any]]:
    """The golden cases of an operation of CL4SRec and of CoSeRec (ICLRec), in one form."""
    sources = [
        [case | {"file": "cl4srec"} for case in golden("baselines/cl4srec_augmentations")[name]],
        [case | {"file": "coserec"} for case in golden("baselines/coserec_augmentations")[name]],
    ]
    found = []
    for case in (case for source in sources for case in source):
        if case["file"] == "cl4srec":
            ratio = case[{"crop": "eta", "mask": "gamma", "reorder": "beta"}[name]]
            count = case[{"crop": "keep", "reorder": "count"}[name]] if name != "mask" else len(case["positions"])
            n, out = case["length"], case["out_length"]
            found.append(
                case | {"ratio": ratio, "count": count, "sequence": case["sequence"][:n], "out": case["out"][:out]}
            )
        else:
            count = len(case["positions"]) if name == "mask" else case["length"]
            count = max(count, 1) if name == "crop" else count
            found.append(case | {"count": count, "mask_id": 0})
    assert len(found) > 10
    return found


def counted(operation: Crop | Mask | Reorder, case: dict[str, Any]) -> np.ndarray:
    """How many items of the case the operation takes, which must be the golden number."""
    counts = operation.counts(np.array([len(case["sequence"])]))
    assert counts.tolist() == [case["count"]]
    return counts


def test_crops_equal_the_golden_ones() -> None:
    for case in cases("crop"):
        counts = counted(Crop(case["ratio"]), case)
        assert split(crop(join([case["sequence"]]), np.array([case["start"]]), counts)) == [case["out"]]


def test_masks_equal_the_golden_ones() -> None:
    for case in cases("mask"):
        counted(Mask(case["ratio"], 0), case)
        hidden = np.isin(np.arange(len(case["sequence"])), case["positions"])
        assert split(mask(join([case["sequence"]]), hidden, case["mask_id"])) == [case["out"]]


def test_reorders_equal_the_golden_ones() -> None:
    for case in cases("reorder"):
        counts = counted(Reorder(case["ratio"]), case)
        keys = np.random.default_rng(0).random(len(case["sequence"]))  # outside the window they don't matter
        keys[case["start"] + np.array(case["permutation"], int)] = np.arange(len(case["permutation"]))
        assert split(reorder(join([case["sequence"]]), np.array([case["start"]]), counts, keys)) == [case["out"]]


@given(sequences=SEQUENCES, ratio=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_crop_is_a_run_of_its_length(sequences: list[list[int]], ratio: float, seed: int) -> None:
    for one, cropped in zip(sequences, split(Crop(ratio)(join(sequences), np.random.default_rng(seed))), strict=True):
        size = max(1, int(ratio * len(one)))
        assert cropped in [one[start : start + size] for start in range(len(one) - size + 1)]


@given(sequences=SEQUENCES, ratio=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_mask_hides_its_number(sequences: list[list[int]], ratio: float, seed: int) -> None:
    for one, masked in zip(
        sequences, split(Mask(ratio, 99)(join(sequences), np.random.default_rng(seed))), strict=True
    ):
        assert masked.count(99) == int(ratio * len(one))
        assert all(new in (old, 99) for old, new in zip(one, masked, strict=True))


@given(sequences=SEQUENCES, ratio=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_reorder_shuffles_one_run(sequences: list[list[int]], ratio: float, seed: int) -> None:
    shuffled = split(Reorder(ratio)(join(sequences), np.random.default_rng(seed)))
    for one, new in zip(sequences, shuffled, strict=True):
        size = int(ratio * len(one))
        assert any(
            new[:start] == one[:start]
            and new[start + size :] == one[start + size :]
            and sorted(new[start : start + size]) == sorted(one[start : start + size])
            for start in range(len(one) - size + 1)
        )


@pytest.mark.parametrize("operation", [Crop(0.6), Mask(0.7, 9), Reorder(0.9)])
def test_a_single_item_stays_as_it_is(operation: Crop | Mask | Reorder) -> None:
    assert split(operation(join([[3], [4]]), np.random.default_rng(0))) == [[3], [4]]


@pytest.mark.parametrize(
    ("operation", "different"),
    [(Crop(0.5), 3), (Mask(0.5, 9), 6), (Reorder(0.5), 4)],  # of 1 2 3 4; a reorder is one of three swaps or nothing
)
def test_draws_are_uniform(operation: Crop | Mask | Reorder, different: int) -> None:
    results = Counter(map(tuple, split(operation(join([[1, 2, 3, 4]] * 6000), np.random.default_rng(0)))))
    assert len(results) == different
    shares = {(1, 2, 3, 4): 1 / 2} if isinstance(operation, Reorder) else {}
    for result, count in results.items():
        share = shares.get(result, 1 / 6 if isinstance(operation, Reorder) else 1 / different)
        assert abs(count - 6000 * share) < 5 * np.sqrt(6000 * share * (1 - share))


@pytest.mark.parametrize("make", [Crop, lambda ratio: Mask(ratio, 0), Reorder])
def test_a_ratio_is_from_0_to_1(make: Any) -> None:
    with pytest.raises(InputError, match=r"`ratio` should be from 0 to 1\. Received: 1\.1"):
        make(1.1)
