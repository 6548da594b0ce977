"""Two exported models, one with string ids and names, one with integer ids, shared by all serving tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_model import FakeModel, fake_model
from reference import reference

from tf_fenrec.data.vocabulary import Vocabulary

NUM_ITEMS = 30


@dataclass(frozen=True)
class Exported:
    """An exported model with what it was exported from."""

    model: FakeModel
    vocabulary: Vocabulary
    path: Path

    def reference(self, history: list, k: int, exclude_seen: bool = True):
        return reference(self.model, self.vocabulary, history, k, exclude_seen)


def _export(models: Path, name: str, vocabulary: Vocabulary) -> Exported:
    from tf_fenrec.export import export_model

    model = fake_model(NUM_ITEMS)
    path = export_model(model, vocabulary, models, name, card={"training": {"dataset": "fake"}})
    return Exported(model, vocabulary, path)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def popular() -> tuple[int, ...]:
    return tuple(range(NUM_ITEMS, 0, -2)) + tuple(range(1, NUM_ITEMS, 2))


@pytest.fixture(scope="session")
def strings(models_dir, popular) -> Exported:
    ids = (" padded ", "ünïcødé", "tab\tinside", "0", *(f"asin-{i}" for i in range(5, NUM_ITEMS + 1)))
    names = ("", *(f"Item number {i}" for i in range(2, NUM_ITEMS + 1)))
    return _export(models_dir, "shop", Vocabulary(NUM_ITEMS, ids, names, popular))


@pytest.fixture(scope="session")
def integers(models_dir, popular) -> Exported:
    return _export(models_dir, "integers", Vocabulary(NUM_ITEMS, None, None, popular))


@pytest.fixture(scope="session", params=["strings", "integers"])
def exported(request) -> Exported:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def server(models_dir, strings, integers):
    from tf_fenrec.serving.server import Server

    with Server(models_dir, port=0) as running:
        yield running
