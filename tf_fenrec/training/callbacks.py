"""What the trainer does between steps and epochs, one job a callback. They share one `Progress`."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from tf_fenrec.config import Config
from tf_fenrec.data.batches import TrainingBatches
from tf_fenrec.errors import InputError
from tf_fenrec.files import replacing
from tf_fenrec.training import checkpoint
from tf_fenrec.training.checkpoint import Progress
from tf_fenrec.training.run import Run
from tf_fenrec.training.variables import arrays_of, loss_means_of, restore_loss_means


def selected(config: Config) -> str:
    """The log that the best epoch is chosen by."""
    return f"val_{config.selection}"


def best_value(progress: Progress, config: Config) -> float:
    """The best validation metric so far, -1 before the first."""
    return progress.history[progress.best][selected(config)] if progress.best >= 0 else -1.0


def is_finished(progress: Progress, config: Config) -> bool:
    """Whether the last epoch is done or patience has ended."""
    return progress.epoch >= config.epochs or progress.epoch - 1 - progress.best >= config.patience


class EpochMetrics(keras.callbacks.Callback):
    """Notes an epoch's losses and validation metrics in the progress and in the run's `metrics.jsonl`.

    Raises:
        InputError: when the loss is not finite.
    """

    def __init__(self, run: Run, progress: Progress, config: Config, clock: Clock) -> None:
        super().__init__()
        self.run = run
        self.progress = progress
        self.config = config
        self.clock = clock

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite(logs.get("loss", 0.0)):
            raise InputError(
                f"the loss is {logs['loss']} in epoch {epoch + 1}: training diverged. Try a lower --learning-rate"
                + ("" if self.config.precision == "float32" else " or --precision float32")
            )
        self.clock.count()
        self.progress.history.append({"epoch": epoch + 1} | logs | {"seconds": round(self.progress.seconds, 1)})
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.run.write_metrics(self.progress.history)


class BestModel(keras.callbacks.Callback):
    """Saves the model when the validation metric is strictly better than in every epoch before."""

    def __init__(self, run: Run, progress: Progress, config: Config) -> None:
        super().__init__()
        self.run = run
        self.progress = progress
        self.config = config

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.progress.history[epoch][selected(self.config)] > best_value(self.progress, self.config):
            self.progress.best = epoch
            with replacing(self.run.best_file) as temporary:
                self.model.save(temporary)


class Patience(keras.callbacks.Callback):
    """Ends the training when the best epoch is too long ago."""

    def __init__(self, progress: Progress, config: Config) -> None:
        super().__init__()
        self.progress = progress
        self.config = config

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if is_finished(self.progress, self.config):
            self.model.stop_training = True


class Checkpoints(keras.callbacks.Callback):
    """Writes the whole training state, every `seconds` and at the end of every epoch, and goes on from it.

    Args:
        run: where to write.
        batches: begin at the step the progress is at.
        progress: shared.
        clock: shared.
        seconds: between two checkpoints within an epoch.
        restored: the arrays of the checkpoint that the training goes on from.
    """

    def __init__(
        self,
        run: Run,
        batches: TrainingBatches,
        progress: Progress,
        clock: Clock,
        seconds: float,
        restored: dict[str, np.ndarray],
    ) -> None:
        super().__init__()
        self.run = run
        self.batches = batches
        self.progress = progress
        self.clock = clock
        self.seconds = seconds
        self.restored_means = loss_means_of(restored) if progress.step else {}
        batches.first_step = progress.step
        self.saved_at = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # Keras has just reset the means; those of a broken-off epoch go on where they stood.
        restore_loss_means(self.model, self.restored_means)
        self.restored_means = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.step = self.batches.first_step + batch + 1
        # After the last step the end of the epoch saves; a fit can't go on with an epoch that has no steps left.
        if self.progress.step < len(self.batches) and time.monotonic() - self.saved_at > self.seconds:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._save()

    def _save(self) -> None:
        self.clock.count()
        checkpoint.save(self.run.checkpoints, self.progress, arrays_of(self.model))
        self.saved_at = time.monotonic()


class Clock:
    """Adds the wall time that passes to the progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.counted_to = time.monotonic()

    def count(self) -> None:
        """Adds what has passed since the last call."""
        now = time.monotonic()
        self.progress.seconds += now - self.counted_to
        self.counted_to = now


def metrics_of(logs: dict[str, Any], prefix: str) -> dict[str, float]:
    """The logs whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in logs.items() if name.startswith(prefix)}
