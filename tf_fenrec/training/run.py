"""The run directory: what a training leaves behind, and where."""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import tf_fenrec
from tf_fenrec.config import Config
from tf_fenrec.data import DATASETS, load
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_json, write_text
from tf_fenrec.systems import DEFAULT, system


class Run:
    """Paths and small files of one training.

    - `config.json`: dataset (name and hash) and configuration
    - `vocabulary.json`: raw ids, names and popularity of the items
    - `metrics.jsonl`: one line of losses and validation metrics an epoch
    - `checkpoints/`: the whole training state, the two newest
    - `best.keras`: the model with the best validation metric so far
    - `tensorboard/`: the same metrics for TensorBoard
    - `ranks.npz`: the rank of every user's test item, by protocol
    - `result.json`: written last: configuration, seed, commit, metrics, wall time, machine
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.config_file = self.directory / "config.json"
        self.vocabulary_file = self.directory / "vocabulary.json"
        self.metrics_file = self.directory / "metrics.jsonl"
        self.checkpoints = self.directory / "checkpoints"
        self.best_file = self.directory / "best.keras"
        self.tensorboard = self.directory / "tensorboard"
        self.ranks_file = self.directory / "ranks.npz"
        self.result_file = self.directory / "result.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second training out of the run while the block runs, also where this process is killed in it.

        Raises:
            InputError: when another process holds it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / ".lock", "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.directory}: another training is under way in this run") from None
            yield

    def create(self, config: Config, dataset: SequenceDataset, preset: str | None = None) -> None:
        """Starts a new run.

        Args:
            config: its hyper-parameters.
            dataset: its sequences.
            preset: the preset that the hyper-parameters come from.

        Raises:
            InputError: when the directory holds a run already, or checkpoints of one.
        """
        if self.config_file.exists():
            raise InputError(
                "`--run` must be a new directory, or use --resume to go on. "
                f"Received: {self.directory}, which holds a run"
            )
        if any(self.checkpoints.glob("checkpoint-*")):
            raise InputError(
                "`--run` must be a new directory. "
                f"Received: {self.directory}, which holds checkpoints of a run without its {self.config_file.name}"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        Vocabulary.of(dataset).save(self.vocabulary_file)
        # Last, as it is what makes the directory a run.
        write_json(self.config_file, {"dataset": locate(dataset)} | to_settings(config, preset))

    def remove_if_empty(self) -> None:
        """Removes the directory of a run that was never started, unless something else lies in it."""
        (self.directory / ".lock").unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()

    def config(self) -> Config:
        """The configuration the run was started with."""
        settings = self._settings()
        try:
            return from_settings(settings)
        except InputError as error:
            raise InputError(f"{self.config_file}: {error}") from None

    def preset(self) -> str | None:
        """The preset the run was started from."""
        return self._settings().get("preset")

    def change(self, config: Config) -> None:
        """Notes that the run goes on with another configuration."""
        write_json(self.config_file, self._settings() | to_settings(config, self.preset()))

    def dataset(self) -> dict[str, Any]:
        """Name, counts and hash of the dataset the run was started with."""
        return {name: value for name, value in self._settings()["dataset"].items() if name != "path"}

    def load_dataset(
        self, given: str | os.PathLike[str] | None = None, data_dir: str | os.PathLike[str] | None = None
    ) -> SequenceDataset:
        """The dataset the run was started with.

        Args:
            given: where it is now, if its path has changed.
            data_dir: where benchmark files lie.

        Raises:
            InputError: when it isn't there, or isn't the same.
        """
        described = self._settings()["dataset"]
        dataset = load(given or described.get("path", described["name"]), data_dir)
        self.check_dataset(dataset)
        return dataclasses.replace(dataset, name=described["name"])

    def check_dataset(self, dataset: SequenceDataset) -> None:
        """Raises InputError when `dataset` is not the one the run was trained on."""
        if describe(dataset)["sha256"] != self.dataset()["sha256"]:
            raise InputError(
                f"the run was started on other data: {self.config_file} names {self.dataset()['name']}. "
                f"Received: {dataset.name} with different sequences"
            )

    def _settings(self) -> dict[str, Any]:
        try:
            settings = json.loads(self.config_file.read_text(encoding="utf-8"))
            settings["dataset"]["sha256"], settings["config"]
        except FileNotFoundError:
            raise InputError(f"{self.directory}: not a run directory (no {self.config_file.name})") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.config_file}: not a run's configuration: {error!r}") from None
        return settings

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Writes the metrics of all finished epochs."""
        write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in history))

    def result(self) -> dict[str, Any] | None:
        """What a finished run ended with, None while it is not finished."""
        return json.loads(self.result_file.read_text(encoding="utf-8")) if self.result_file.exists() else None


def to_settings(config: Config, preset: str | None) -> dict[str, Any]:
    """What a run's file and its result say of its configuration."""
    return {"model": config.model, "preset": preset, "config": config.to_dict()}


def from_settings(settings: dict[str, Any]) -> Config:
    """The inverse of `to_settings`.

    One without `model` is of version 0.1, which knew FENRec alone, and lacks the hyper-parameters that came later.
    """
    if "model" not in settings:
        return system(DEFAULT).config_class.from_dict(settings["config"])
    return system(settings["model"]).config_class.from_dict(settings["config"], complete=True)


def locate(dataset: SequenceDataset) -> dict[str, Any]:
    """`describe`, and where a dataset without a name of its own lies, whatever the working directory."""
    path = Path(dataset.name)
    return describe(dataset) | ({} if dataset.name in DATASETS else {"path": str(path.absolute())})


def describe(dataset: SequenceDataset) -> dict[str, Any]:
    """What identifies a dataset: name, counts, and SHA-256 of its sequences."""
    digest = hashlib.sha256()
    for array in (dataset.items.astype("<i4"), dataset.offsets.astype("<i8"), np.int64(dataset.num_items)):
        digest.update(array.tobytes())
    return {
        "name": dataset.name,
        "users": dataset.num_users,
        "items": dataset.num_items,
        "interactions": len(dataset.items),
        "sha256": digest.hexdigest(),
    }


def provenance() -> dict[str, Any]:
    """Which code ran on which machine."""
    import tensorflow as tf

    return {
        "version": tf_fenrec.__version__,
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "accelerators": [
                tf.config.experimental.get_device_details(device).get("device_name", device.name)
                for device in tf.config.list_physical_devices("GPU")
            ],
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
        },
    }


@functools.cache  # of the code this process runs: the checkout may change while a training goes on
def _commit() -> str | None:
    """The checked-out commit of this package, with "-dirty" when files differ; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() if (here / ".git").exists() else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
