"""Models and configurations that version 0.1 left: they answer as they did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tf_fenrec.systems import load_model
from tf_fenrec.training.run import from_settings

FILES = Path(__file__).with_name("version_0_1")


@pytest.mark.parametrize("name", ["fenrec", "icsrec", "sasrec"])
def test_they_answer_as_they_did(name: str) -> None:
    expected = json.loads((FILES / f"{name}.json").read_text())
    model = load_model(FILES / f"{name}.keras")
    np.testing.assert_allclose(model(np.array(expected["items"])), expected["scores"], rtol=1e-5, atol=1e-6)
    assert int(model.step) == 2 * -(-int(model.step) // 2) > 0
    config = from_settings({"config": expected["config"]})
    assert {name: config.to_dict()[name] for name in expected["config"]} == expected["config"]
    assert model.config.to_dict() | expected["config"] | {"epochs": 0} == config.to_dict() | {"epochs": 0}
