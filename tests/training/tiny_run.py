"""A training small enough to be run many times, as a module and as a program.

`python tiny_run.py RUN POINT` trains into RUN and dies at POINT, "step:7" or "rename:3", by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_fenrec import SequenceDataset
from tf_fenrec.data.demo import demo_dataset
from tf_fenrec.systems.fenrec import FENRecConfig
from tf_fenrec.training import trainer
from tf_fenrec.training.run import Run
from tf_fenrec.training.trainer import train

# Seven steps an epoch; the hard negatives come in with the second.
CONFIG = FENRecConfig(
    dim=8, dropout=0.2, max_length=10, num_blocks=1, num_heads=1, num_clusters=4, noise_portion=1,
    warm_up_epochs=1, batch_size=32, epochs=3, patience=3, jit=False,
)  # fmt: skip


def dataset() -> SequenceDataset:
    """The first users of the demo shop."""
    shop = demo_dataset()
    users = 25
    end = shop.offsets[users]
    return SequenceDataset("tiny", shop.items[:end], shop.offsets[: users + 1], shop.num_items)


def train_once(run: Path, die_at: str | None = None, die: Callable[[], None] | None = None) -> dict[str, Any]:
    """Starts the run or goes on with it, with a checkpoint after every step."""
    kind, number = die_at.split(":") if die_at else ("never", "0")
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if die and seen == int(number):
            die()

    class Counter(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if kind == "step":
                count()

    def counted_replace(source: Any, target: Any, replace: Any = os.replace) -> None:
        if kind == "rename":
            count()
        replace(source, target)

    bar, replace = trainer.ProgressBar, os.replace
    trainer.ProgressBar = lambda *arguments: Counter()
    os.replace = counted_replace
    try:
        return train(CONFIG, dataset(), Run(run), (run / "config.json").exists(), lambda _: None, 0.0)
    finally:
        trainer.ProgressBar, os.replace = bar, replace


def weights(run: Path) -> dict[str, np.ndarray]:
    """The newest checkpoint's arrays."""
    newest = max(run.glob("checkpoints/checkpoint-*.npz"))
    with np.load(newest) as file:
        return {name: file[name] for name in file.files if name != "progress"}


if __name__ == "__main__":
    train_once(Path(sys.argv[1]), sys.argv[2], lambda: os.kill(os.getpid(), signal.SIGKILL))
