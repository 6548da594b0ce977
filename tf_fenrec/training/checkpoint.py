"""Checkpoints: the whole training state in one file, written atomically and checked when read."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_fenrec.errors import InputError
from tf_fenrec.files import replacing

KEEP = 2


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: the epoch under way, or next.
        step: steps of it that are done.
        history: metrics of the finished epochs, with `epoch` (from 1) and `seconds`.
        best: number of the epoch (from 0) with the best validation metric, -1 before the first.
        seconds: wall time spent, all resumptions together.
        commits: of the code that trained, in order; more than one when it was changed before a resumption.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0
    commits: list[str | None] = field(default_factory=list)


def save(directory: Path, progress: Progress, arrays: dict[str, np.ndarray]) -> None:
    """Writes a checkpoint and removes all but the newest two."""
    path = directory / f"checkpoint-{progress.epoch:05d}-{progress.step:07d}.npz"
    state = np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **(arrays | {"progress": state}))  # type: ignore[arg-type]
    for old in _newest_first(directory)[KEEP:]:
        old.unlink()


def load(directory: Path) -> tuple[Progress, dict[str, np.ndarray], list[str]]:
    """The newest whole checkpoint.

    Returns:
        The progress, the arrays by name, and a message for every newer file that was not whole. Without any
        checkpoint: the progress of a training that has not begun, and no arrays.

    Raises:
        InputError: when there are checkpoints and none is whole.
    """
    damaged: list[str] = []
    for path in _newest_first(directory):
        try:
            with np.load(path, allow_pickle=False) as file:  # zip members carry a CRC, checked on reading
                arrays = {name: file[name] for name in file.files}
            progress = Progress(**json.loads(arrays.pop("progress").tobytes()))
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, OSError) as error:
            aside = path.with_name(f"damaged-{path.name}")  # or it would count as one of those kept
            path.replace(aside)
            damaged.append(f"{path} is damaged ({error}) and now {aside.name}; going back to the one before")
            continue
        return progress, arrays, damaged
    if damaged:
        raise InputError(f"{directory}: no checkpoint is whole: {damaged[0]}")
    return Progress(), {}, []


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("checkpoint-*.npz"), key=os.fspath, reverse=True)
