"""What the user sees of a training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import keras
from tqdm import tqdm

REFRESH_STEPS = 10  # reading a loss waits for the step, so not after every one


class ProgressBar(keras.callbacks.Callback):
    """A bar within each epoch (on a terminal), and one line after it.

    Args:
        epochs: at most.
        steps: of a full epoch.
        selection: the validation metric the best weights are chosen by.
        best: its best value so far.
        log: receives the lines.
    """

    def __init__(self, epochs: int, steps: int, selection: str, best: float, log: Callable[[str], None]) -> None:
        super().__init__()
        self.epochs = epochs
        self.steps = steps
        self.selection = selection
        self.log = log
        self.best = best
        self.compiled: object = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.began = time.monotonic()
        self.bar = tqdm(
            total=self.steps,
            desc=f"epoch {epoch + 1}/{self.epochs}",
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        function = self.model.train_function
        if self.model.jit_compile and function is not self.compiled:
            self.compiled = function
            self.log("compiling the training step: once, and again when the loss changes")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.bar.disable:
            return
        self.bar.update(batch + 1 - self.bar.n)
        if logs and batch % REFRESH_STEPS == 0:
            self.bar.set_postfix({name: f"{float(value):.4f}" for name, value in logs.items()}, refresh=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.bar.close()
        logs = logs or {}
        value = logs.get(self.selection, 0.0)
        mark = " *" if value > self.best else ""
        self.best = max(self.best, value)
        losses = "  ".join(f"{name.removesuffix('_loss')} {logs[name]:.4f}" for name in logs if "loss" in name)
        seconds = f"  {time.monotonic() - self.began:.0f}s"
        shown = dict.fromkeys(["val_hr@20", "val_ndcg@20", self.selection])
        hits = "".join(f"  {name.removeprefix('val_')} {logs.get(name, 0.0):.4f}" for name in shown) + mark
        self.log(f"epoch {epoch + 1:>3}/{self.epochs}  {losses}{hits}{seconds}")
