"""The trainer: `model.fit` with everything a long training needs around it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.config import Config
from tf_fenrec.data.batches import TrainingBatches
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError
from tf_fenrec.evaluation import evaluate
from tf_fenrec.files import replacing, write_json
from tf_fenrec.models import FENRec, build_model, evaluation_batches, load_model, training_batches
from tf_fenrec.training import checkpoint
from tf_fenrec.training.checkpoint import Progress
from tf_fenrec.training.progress import ProgressBar
from tf_fenrec.training.run import Run, provenance

SELECTION = "val_ndcg@20"
CHECKPOINT_SECONDS = 60.0


def train(
    config: Config,
    dataset: SequenceDataset,
    run: Run,
    resume: bool = False,
    say: Callable[[str], None] = print,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains, selects by validation NDCG@20, and reads the test split once with the selected weights.

    A killed run goes on with `resume` from its newest checkpoint to the same weights and metrics, bit by bit, as an
    uninterrupted one on the same machine: all randomness is a function of seed, epoch and step.

    Args:
        config: the hyper-parameters; with `resume` they must be the run's own.
        dataset: the sequences; with `resume` they must be the run's own.
        run: the directory to write.
        resume: go on with the run instead of starting it.
        say: receives each line for the user.
        checkpoint_seconds: at most about this much work is lost when the process dies.
        callbacks: more Keras callbacks. At the end of an epoch they come before its checkpoint, so that after a kill
            in between they see the epoch's end again.

    Returns:
        What `result.json` holds.
    """
    if resume:
        run.check_dataset(dataset)
        if (result := run.result()) is not None:
            say(f"{run.directory} is finished")
            return result
    _add_up_in_a_fixed_order(config.jit)
    model = build_model(config, dataset.num_items)
    # PyTorch's epsilon: the method was tuned with it.
    optimizer = keras.optimizers.Adam(config.learning_rate, epsilon=1e-8)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, jit_compile=config.jit)
    batches = training_batches(config, dataset)
    model.check_batches(batches)
    if not resume:
        run.create(config, dataset)
    progress, arrays, damaged = checkpoint.load(run.checkpoints)
    for message in damaged:
        say(message)
    if arrays:
        _restore(model, arrays, run.checkpoints)
        say(f"going on at epoch {progress.epoch + 1}, step {progress.step + 1} of {len(batches)}")
    if (commit := provenance()["commit"]) not in progress.commits:
        progress.commits.append(commit)
    run.write_metrics(progress.history)
    keeper = _Keeper(run, model, batches, progress, arrays, config, checkpoint_seconds)
    all_callbacks = [
        *callbacks,
        keeper,
        ProgressBar(config.epochs, len(batches), SELECTION, _best(progress), say),
        keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
    ]
    validation = evaluation_batches(config, dataset, "valid")
    # The rest of a broken-off epoch is a fit of its own: Keras takes all epochs of a fit to have the same steps.
    for last_epoch in (progress.epoch + 1, config.epochs) if progress.step else (config.epochs,):
        if keeper.finished:
            break
        model.fit(
            batches,
            initial_epoch=progress.epoch,
            epochs=last_epoch,
            validation_data=validation,
            callbacks=all_callbacks,
            verbose=0,
        )
        batches.first_step = 0
    return _finish(run, config, dataset, progress)


def _add_up_in_a_fixed_order(jit: bool) -> None:
    """Some kernels add up in the order their threads finish, and a resumed run would differ."""
    if not jit:
        tf.config.experimental.enable_op_determinism()  # Keras would not compile with this set
    elif tf.config.list_physical_devices("GPU"):  # those XLA makes for CPUs don't
        flags = os.environ.get("XLA_FLAGS", "")  # read at the first compilation of the process
        if "xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _finish(run: Run, config: Config, dataset: SequenceDataset, progress: Progress) -> dict[str, Any]:
    best = load_model(run.best_file)
    result = {
        "dataset": run.dataset(),
        "config": config.to_dict(),
        "seed": config.seed,
        "selection": {"metric": SELECTION, "epoch": progress.best + 1, "epochs": len(progress.history)},
        "valid": {"paper": _metrics(progress.history[progress.best], "val_")},
        "test": {protocol: evaluate(best, dataset, "test", protocol) for protocol in ("paper", "strict")},
        "seconds": round(progress.seconds, 1),
        "commits": progress.commits,
        **provenance(),
    }
    write_json(run.result_file, result)
    return result


class _Keeper(keras.callbacks.Callback):
    """Keeps metrics, best model and checkpoints, and stops when patience ends."""

    def __init__(
        self,
        run: Run,
        model: FENRec,
        batches: TrainingBatches,
        progress: Progress,
        arrays: dict[str, np.ndarray],
        config: Config,
        checkpoint_seconds: float,
    ) -> None:
        super().__init__()
        self.run = run
        self.batches = batches
        self.progress = progress
        self.config = config
        self.checkpoint_seconds = checkpoint_seconds
        self.restored_means = arrays if progress.step else {}
        batches.first_step = progress.step
        self.saved_at = self.counted_to = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done or patience has ended."""
        progress = self.progress
        return progress.epoch >= self.config.epochs or progress.epoch - 1 - progress.best >= self.config.patience

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # Keras has just reset the means; those of a broken-off epoch go on where they stood.
        for name, mean in self.model.loss_means.items():
            for number, variable in enumerate(mean.variables):
                if f"mean/{name}/{number}" in self.restored_means:
                    variable.assign(self.restored_means[f"mean/{name}/{number}"])
        self.restored_means = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.step = self.batches.first_step + batch + 1
        # After the last step the end of the epoch saves; a fit can't go on with an epoch that has no steps left.
        if self.progress.step < len(self.batches) and time.monotonic() - self.saved_at > self.checkpoint_seconds:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        progress = self.progress
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite(logs["loss"]):
            raise InputError(
                f"the loss is {logs['loss']} in epoch {epoch + 1}: training diverged. Try a lower --learning-rate"
                + ("" if self.config.precision == "float32" else " or --precision float32")
            )
        self._count_time()
        entry = {"epoch": epoch + 1} | logs | {"seconds": round(progress.seconds, 1)}
        if logs[SELECTION] > _best(progress):
            progress.best = epoch
            with replacing(self.run.best_file) as temporary:
                self.model.save(temporary)
        progress.history.append(entry)
        progress.epoch, progress.step = epoch + 1, 0
        self.run.write_metrics(progress.history)
        self._save()
        if self.finished:
            self.model.stop_training = True

    def _count_time(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.counted_to
        self.counted_to = now

    def _save(self) -> None:
        self._count_time()
        checkpoint.save(self.run.checkpoints, self.progress, _arrays(self.model))
        self.saved_at = time.monotonic()


def _best(progress: Progress) -> float:
    """The best validation NDCG@20 so far, -1 before the first."""
    return progress.history[progress.best][SELECTION] if progress.best >= 0 else -1.0


def _state(model: FENRec) -> dict[str, keras.Variable]:
    """Every variable that training changes, by a name that is the same in every process."""
    groups = {
        "model": model.weights,
        "optimizer": model.optimizer.variables,
        **{f"mean/{name}": mean.variables for name, mean in model.loss_means.items()},
    }
    return {f"{group}/{number}": v for group, variables in groups.items() for number, v in enumerate(variables)}


def _arrays(model: FENRec) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable) for name, variable in _state(model).items()}


def _restore(model: FENRec, arrays: dict[str, np.ndarray], directory: Path) -> None:
    state = _state(model)
    shapes = {name: tuple(variable.shape) for name, variable in state.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise InputError(f"{directory}: the checkpoint is of another model or another version of tf_fenrec")
    for name, variable in state.items():
        variable.assign(arrays[name])


def _metrics(logs: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in logs.items() if name.startswith(prefix)}
