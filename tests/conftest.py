"""Options shared by all tests: where the benchmark data and the golden vectors lie, when they are there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tf_fenrec.data import packing

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-dir", help="where the benchmark files lie (default: FENREC_DATA_DIR)")


def pytest_collection_finish() -> None:
    """On a GPU TensorFlow rounds the operands of float32 products to 10 bits, unless it is told not to."""
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The directory of the benchmark files; tests that need them are skipped without it."""
    directory = request.config.getoption("--data-dir") or os.environ.get("FENREC_DATA_DIR")
    if not directory:
        pytest.skip("needs the benchmark files: --data-dir or FENREC_DATA_DIR")
    return Path(directory)


@pytest.fixture(scope="module")
def shared_rows() -> Iterator[None]:
    """Few sequences share rows as many do: without rows that only make up a multiple, over which they would spread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "ROWS_MULTIPLE", 1)
        yield
