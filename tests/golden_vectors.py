"""Reads the golden vectors: inputs and float64 outputs of the authors' program, as numbers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

PRECISIONS = [("float64", 1e-9), ("float32", 1e-4)]  # the agreement asked for in each


@functools.cache
def golden(name: str) -> Any:
    """The content of a golden file."""
    return json.loads(Path(__file__).with_name("golden").joinpath(f"{name}.json").read_text())


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of a golden file."""
    return golden(name)["cases"]
