"""Options shared by all tests: where the benchmark data and the golden vectors lie, when they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-dir", help="where the benchmark files lie (default: FENREC_DATA_DIR)")


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The directory of the benchmark files; tests that need them are skipped without it."""
    directory = request.config.getoption("--data-dir") or os.environ.get("FENREC_DATA_DIR")
    if not directory:
        pytest.skip("needs the benchmark files: --data-dir or FENREC_DATA_DIR")
    return Path(directory)
