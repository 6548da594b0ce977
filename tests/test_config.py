"""The configuration: every mistake is named, and the presets are the paper's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tf_fenrec.errors import InputError
from tf_fenrec.systems import preset
from tf_fenrec.systems.fenrec import FENRecConfig

# The table of the released scripts.
TABLE = """
beauty 0.2 0.4 8  2 256  0.3 0.1
sports 0.3 0.4 10 1 256  0.3 0.1
toys   0.2 0.5 8  3 1024 0.2 0.1
yelp   0.2 0.2 10 2 256  0.5 0.3
"""
COLUMNS = ("gamma", "mix", "focal_temperature", "noise_portion", "num_clusters", "coarse_weight", "fine_weight")
SHARED = {
    "max_length": 50, "dim": 64, "num_blocks": 2, "num_heads": 2, "dropout": 0.5, "learning_rate": 1e-3,
    "batch_size": 256, "temperature": 1.0, "hard_weight": 0.1, "margin": 0.2, "warm_up_epochs": 20, "epochs": 400,
    "patience": 40, "form": "released", "label_rule": "first_occurrence", "view_rule": "last",
    "hard_negatives": True, "precision": "float32",
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE.split("\n")[1:-1])
def test_presets_are_those_of_the_released_scripts(row: str) -> None:
    name, *values = row.split()
    expected = dict(zip(COLUMNS, map(float, values), strict=True)) | SHARED
    config = preset(name).to_dict()
    assert {option: config[option] for option in expected} == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, r"`dim` must be at least 1\. Received: dim=0"),
        ({"dim": 63}, r"`dim` must be a multiple of `num_heads`\. Received: dim=63, num_heads=2"),
        ({"dim": 64.0}, r"`dim` must be of type int\. Received: dim=64\.0"),
        ({"dim": True}, r"`dim` must be of type int\. Received: dim=True"),
        ({"max_length": "50"}, r"`max_length` must be of type int\. Received: max_length='50'"),
        ({"dropout": 1.0}, r"`dropout` must be below 1\. Received: dropout=1\.0"),
        ({"dropout": -0.1}, r"`dropout` must be at least 0\. Received: dropout=-0\.1"),
        ({"dropout": float("nan")}, r"`dropout` must be finite\. Received: dropout=nan"),
        ({"learning_rate": "fast"}, r"`learning_rate` must be of type float\. Received: learning_rate='fast'"),
        ({"mix": 1.1}, r"`mix` must be between 0 and 1\. Received: mix=1\.1"),
        ({"temperature": 0.0}, r"`temperature` must be at least 1e-06\. Received"),
        ({"batch_size": 1}, r"`batch_size` must be at least 2\. Received: batch_size=1"),
        ({"hard_negatives": 1}, r"`hard_negatives` must be of type bool\. Received: hard_negatives=1"),
        ({"form": "other"}, r"`form` must be one of released, paper\. Received: form='other'"),
        ({"precision": None}, r"`precision` must be one of float32, .*\. Received: precision=None"),
        ({"seed": 2**31}, r"`seed` must be below 2\.14748e\+09\. Received"),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FENRecConfig(**change)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown hyper-parameter 'num_cluster'\. Nearest: num_clusters"):
        FENRecConfig.from_dict({"num_cluster": 3})
    with pytest.raises(InputError, match=r"unknown hyper-parameter 'warmup'\. Nearest: .*warm_up_epochs"):
        preset("beauty", warmup=3)
    with pytest.raises(
        InputError, match=r"unknown preset 'beuaty' of fenrec\. Known: paper, beauty, sports, toys, yelp, demo"
    ):
        preset("beuaty")


def test_a_change_replaces_the_preset_value_only() -> None:
    changed = preset("toys", gamma=0.9)
    assert changed.gamma == 0.9
    assert changed.to_dict() | {"gamma": 0.2} == preset("toys").to_dict()


def test_json_round_trip() -> None:
    config = preset("yelp", dim=32, seed=5, learning_rate=1, jit=False)
    assert FENRecConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert type(config.learning_rate) is float


@pytest.mark.parametrize(("coarse", "fine", "contrasts"), [(0, 0, False), (0.1, 0, True), (0, 0.1, True)])
def test_contrasts(coarse: float, fine: float, contrasts: bool) -> None:
    assert FENRecConfig(coarse_weight=coarse, fine_weight=fine).contrastive is contrasts
