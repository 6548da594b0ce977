"""The trainer: `model.fit` with everything a long training needs around it."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.config import Config
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError
from tf_fenrec.evaluation import rank_users
from tf_fenrec.files import replacing, write_json
from tf_fenrec.systems import build_model, evaluation_batches, load_model
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.training import checkpoint
from tf_fenrec.training.callbacks import (
    BestModel,
    Checkpoints,
    Clock,
    EpochMetrics,
    Patience,
    best_value,
    is_finished,
    metrics_of,
    selected,
)
from tf_fenrec.training.checkpoint import Progress
from tf_fenrec.training.progress import ProgressBar
from tf_fenrec.training.run import Run, provenance, to_settings
from tf_fenrec.training.variables import restore

CHECKPOINT_SECONDS = 60.0
MAY_CHANGE = ("epochs", "patience")
"""Hyper-parameters that a run may go on with other values of."""


def train(
    config: Config,
    dataset: SequenceDataset,
    run: Run,
    resume: bool = False,
    log: Callable[[str], None] = print,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    preset: str | None = None,
) -> dict[str, Any]:
    """Trains, selects by validation, and reads the test split once with the selected weights.

    A killed run goes on with `resume` from its newest checkpoint to the same weights and metrics, bit by bit, as an
    uninterrupted one on the same machine: all randomness is a function of seed, epoch and step.

    Args:
        config: the hyper-parameters of a system; with `resume` they must be the run's own, but for `epochs` and
            `patience`, with which a finished run can be made to go on.
        dataset: the sequences; with `resume` they must be the run's own.
        run: the directory to write.
        resume: go on with the run instead of starting it.
        log: receives each line for the user.
        checkpoint_seconds: at most about this much work is lost when the process dies.
        callbacks: more Keras callbacks. At the end of an epoch they come before its checkpoint, so that after a kill
            in between they see the epoch's end again.
        preset: the preset that the configuration comes from, to be noted.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: when the run can't be started or gone on with, and when training diverges.
    """
    with run.lock():
        if resume:
            run.check_dataset(dataset)
            _check_changes(run.config(), config)
        else:
            run.create(config, dataset, preset)
        progress, arrays, damaged = checkpoint.load(run.checkpoints)
        for message in damaged:
            log(message)
        if resume:
            if (result := run.result()) is not None and (not arrays or is_finished(progress, config)):
                log(f"{run.directory} is finished")
                return result
            if config != run.config():
                run.change(config)
        return _train(config, dataset, run, progress, arrays, log, checkpoint_seconds, callbacks)


def _check_changes(before: Config, now: Config) -> None:
    if type(before) is not type(now):
        raise InputError(f"the run has a {type(before).__name__}. Received: {type(now).__name__}")
    for name, value in now.to_dict().items():
        if name not in MAY_CHANGE and value != getattr(before, name):
            raise InputError(
                f"`--{name.replace('_', '-')}` can't change on --resume: the run has {getattr(before, name)}. "
                f"Received: {value}"
            )


def _train(
    config: Config,
    dataset: SequenceDataset,
    run: Run,
    progress: Progress,
    arrays: dict[str, np.ndarray],
    log: Callable[[str], None],
    checkpoint_seconds: float,
    callbacks: Sequence[keras.callbacks.Callback],
) -> dict[str, Any]:
    add_up_in_a_fixed_order(config.jit, log)
    model = build_model(config, dataset)
    model.compile()
    model.optimizer.build(model.trainable_variables)
    batches = model.training_batches(dataset)
    for note in model.notes(batches):
        log(note)
    if arrays:
        restore(model, arrays, run.checkpoints)
        log(f"going on at epoch {progress.epoch + 1}, step {progress.step + 1} of {len(batches)}")
    if (commit := provenance()["commit"]) not in progress.commits:
        progress.commits.append(commit)
    run.write_metrics(progress.history)
    clock = Clock(progress)
    all_callbacks = [
        *callbacks,
        EpochMetrics(run, progress, config, clock),
        BestModel(run, progress, config),
        Checkpoints(run, batches, progress, clock, checkpoint_seconds, arrays),
        Patience(progress, config),
        ProgressBar(config.epochs, len(batches), selected(config), best_value(progress, config), log),
        keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
    ]
    validation = evaluation_batches(config, dataset, "valid")
    # The rest of a broken-off epoch is a fit of its own: Keras takes all epochs of a fit to have the same steps.
    for last_epoch in (progress.epoch + 1, config.epochs) if progress.step else (config.epochs,):
        if is_finished(progress, config):
            break
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="tf_fenrec")  # the notes above
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


def add_up_in_a_fixed_order(jit: bool, log: Callable[[str], None]) -> None:
    """Makes TensorFlow add up in a fixed order, as a resumed run would differ otherwise: some kernels add up in the
    order their threads finish.

    Without XLA that holds only when it is called before TensorFlow computes anything; else the user is told.
    """
    if not jit:
        tf.config.experimental.enable_op_determinism()  # Keras would not compile with this set
        # Gradients of a tensor that several operations read are added up in the order these finish.
        try:
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # TensorFlow has begun to compute in this process
            if tf.config.threading.get_inter_op_parallelism_threads() != 1:
                log(
                    "without XLA this process can't repeat a run bit by bit: set TF_NUM_INTEROP_THREADS=1 before "
                    "TensorFlow computes anything"
                )
    elif tf.config.list_physical_devices("GPU"):  # those XLA makes for CPUs don't
        flags = os.environ.get("XLA_FLAGS", "")  # read at the first compilation of the process
        if "xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def finish(
    run: Run, model: SequenceModel, dataset: SequenceDataset, metrics: dict[str, float], seconds: float
) -> dict[str, Any]:
    """Makes a finished run of a model that needed no epochs.

    Args:
        run: a created run of the model's configuration.
        model: saved as the run's best.
        dataset: the sequences.
        metrics: of validation.
        seconds: of wall time that went into the model.

    Returns:
        What `result.json` holds.
    """
    progress = Progress(epoch=1, best=0, seconds=seconds, commits=[provenance()["commit"]])
    line = {f"val_{name}": value for name, value in metrics.items()}
    progress.history.append({"epoch": 1} | line | {"seconds": round(seconds, 1)})
    with replacing(run.best_file) as temporary:
        model.save(temporary)
    run.write_metrics(progress.history)
    return _finish(run, model.config, dataset, progress)


def _finish(run: Run, config: Config, dataset: SequenceDataset, progress: Progress) -> dict[str, Any]:
    best = load_model(run.best_file)
    rankings = {protocol: rank_users(best, dataset, "test", protocol) for protocol in ("paper", "strict")}
    ranks = {protocol: ranking.ranks.astype(np.uint32) for protocol, ranking in rankings.items()}
    with replacing(run.ranks_file) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, paper=ranks["paper"], strict=ranks["strict"])
    result = {
        "dataset": run.dataset(),
        **to_settings(config, run.preset()),
        "seed": config.seed,
        "selection": {"metric": selected(config), "epoch": progress.best + 1, "epochs": len(progress.history)},
        "valid": {"paper": metrics_of(progress.history[progress.best], "val_")},
        "test": {protocol: ranking.metrics() for protocol, ranking in rankings.items()},
        "ranks": {protocol: hashlib.sha256(array.tobytes()).hexdigest() for protocol, array in ranks.items()},
        "seconds": round(progress.seconds, 1),
        "commits": progress.commits,
        **provenance(),
    }
    write_json(run.result_file, result)
    return result
