"""Which models and versions a directory holds."""

from __future__ import annotations

import os
from pathlib import Path


def latest_versions(models: str | os.PathLike[str]) -> dict[str, Path]:
    """The highest version directory of each model, by model name.

    A version is a subdirectory MODEL/INTEGER that holds a SavedModel; other names, such as that of an export
    in progress, and incomplete copies are passed over.

    Raises:
        OSError: if `models` can't be listed.
    """
    found = {}
    for model in sorted(Path(models).iterdir()):
        versions = [path for path in model.glob("*") if path.name.isdecimal() and _is_complete(path)]
        if versions:
            found[model.name] = max(versions, key=lambda path: int(path.name))
    return found


def _is_complete(version: Path) -> bool:
    return all((version / name).is_file() for name in ("saved_model.pb", "variables/variables.index"))
