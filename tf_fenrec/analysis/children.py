"""Runs many trainings, each a process of its own, a few at a time."""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tf_fenrec
from tf_fenrec.analysis.plan import Standing
from tf_fenrec.analysis.results import read_results
from tf_fenrec.config import Config
from tf_fenrec.parallel import usable_cores
from tf_fenrec.training.run import Run

TYPICAL_EPOCHS = 200  # of the paper's presets, until a run of the dataset has ended
RECENT_EPOCHS = 5  # the time of an epoch is the mean of so many
STOP_SECONDS = 60.0  # what a child gets to end by itself
SELECTION = "val_ndcg@20"


@dataclass
class Child:
    """A training that runs.

    Attributes:
        standing: what is trained.
        process: the process.
        printed: epochs whose line was shown.
    """

    standing: Standing
    process: subprocess.Popen[bytes]
    printed: int = 0


@dataclass
class Outcome:
    """What came of the trainings.

    Attributes:
        finished: names of the run directories.
        failed: what a child that failed last wrote, by the name of its run directory.
        elsewhere: names of those that another process is training.
    """

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def train_all(
    waiting: Sequence[Standing],
    jobs: int,
    results: Path,
    data_dir: Path | None = None,
    log: Callable[[str], None] = print,
    poll_seconds: float = 1.0,
) -> Outcome:
    """Trains what is not finished, `jobs` at a time, sharing the cores evenly.

    A child that fails ends no other. What a child writes goes to its `log_file`; while it lives that file is locked,
    so that no second program resumes the same run. When this process is interrupted (SIGINT, SIGTERM), all children
    are, and the next call resumes their runs.

    Args:
        waiting: the trainings, in order.
        jobs: how many run at once.
        results: where their results go.
        data_dir: where benchmark files lie.
        log: receives each line for the user: one an epoch of each run.
        poll_seconds: how often to look.

    Raises:
        KeyboardInterrupt: when interrupted, after the children have ended.
    """
    queue = [standing for standing in waiting if standing.state != "finished"]
    running: list[Child] = []
    outcome = Outcome()
    with _Interruptions() as interruptions:
        try:
            while (queue or running) and not interruptions.count:
                while queue and len(running) < jobs:
                    standing = queue.pop(0)
                    process = _start(standing, jobs, results, data_dir)
                    if process is None:
                        outcome.elsewhere.append(standing.run.directory.name)
                        log(f"{standing.run.directory.name}: another process is training it")
                    else:
                        running.append(Child(standing, process, len(read_history(standing.run))))
                        log(f"{standing.run.directory.name}: {'resumed' if standing.state == 'broken' else 'started'}")
                for child in list(running):
                    status = child.process.poll()  # before the metrics, so that none are missed
                    _show_epochs(child, running, queue, jobs, results, log)
                    if status is not None:
                        running.remove(child)
                        _end(child, status, outcome, log)
                if running:
                    time.sleep(poll_seconds)
        finally:
            _stop(running, interruptions)
    if interruptions.count:
        raise KeyboardInterrupt
    return outcome


class _Interruptions:
    """Counts SIGINT and SIGTERM instead of raising, so that no child can be started and forgotten."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> _Interruptions:
        self._before = {number: signal.signal(number, self._counted) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _counted(self, number: int, frame: object) -> None:
        self.count += 1


def _start(standing: Standing, jobs: int, results: Path, data_dir: Path | None) -> subprocess.Popen[bytes] | None:
    """The child's process; None when another process holds its log."""
    file = log_file(standing.run)
    file.parent.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, usable_cores() // jobs))
    limits = {} if jobs == 1 else dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"), threads)
    paths = [str(Path(tf_fenrec.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    environment = os.environ | limits | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    with open(file, "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the child inherits it, and keeps it while it lives
        except BlockingIOError:
            return None
        return subprocess.Popen(
            [sys.executable, "-m", "tf_fenrec.cli.train", *standing.arguments(results, data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C reaches this process, which passes it on once
        )


def log_file(run: Run) -> Path:
    """Where what a run's training writes is kept: `logs/NAME.log` beside its directory."""
    return run.directory.parent / "logs" / f"{run.directory.name}.log"


def _stop(children: Sequence[Child], interruptions: _Interruptions) -> None:
    """Interrupts children and waits until they have ended; another interruption, or too long a wait, kills them."""
    began, count = time.monotonic(), interruptions.count
    for child in children:
        child.process.send_signal(signal.SIGINT)
    for child in children:
        while child.process.poll() is None:
            if interruptions.count > count or time.monotonic() - began > STOP_SECONDS:
                child.process.kill()  # its files are replaced atomically: nothing is left half-written
            time.sleep(0.05)


def _end(child: Child, status: int, outcome: Outcome, log: Callable[[str], None]) -> None:
    name = child.standing.run.directory.name
    if status == 0:
        outcome.finished.append(name)
        log(f"{name}: finished")
        return
    written = log_file(child.standing.run)
    lines = written.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it wrote nothing"
    outcome.failed[name] = last
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    log(f"{name}: failed ({how}; more in {written}): {last}")


# ---- progress and remaining time


def read_history(run: Run) -> list[dict[str, Any]]:
    """The metrics of a run's finished epochs."""
    if not run.metrics_file.exists():
        return []
    return [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]


def _show_epochs(
    child: Child, running: Sequence[Child], queue: Sequence[Standing], jobs: int, results: Path, log: Callable
) -> None:
    history = read_history(child.standing.run)
    if len(history) <= child.printed:
        return
    child.printed = len(history)
    config = child.standing.planned.config
    best = max(history, key=lambda entry: entry[SELECTION])
    left = remaining_seconds(config, history, _typical(child.standing, results))
    everything = _all_remaining(running, queue, jobs, results)
    log(
        f"{child.standing.run.directory.name}  epoch {len(history):>3}/{config.epochs}  best ndcg@20 "
        f"{best[SELECTION]:.4f} (epoch {history.index(best) + 1})  {epoch_seconds(history):.1f} s an epoch  about "
        f"{duration(left)} left, {duration(everything)} for all {len(running) + len(queue)}"
    )


def epoch_seconds(history: Sequence[dict[str, Any]]) -> float:
    """Mean wall time of the last few epochs; the first one, which compiles, counts only while it is alone."""
    ends = [entry["seconds"] for entry in history][-RECENT_EPOCHS - 1 :]
    return ends[0] if len(ends) == 1 else (ends[-1] - ends[0]) / (len(ends) - 1)


def remaining_seconds(config: Config, history: Sequence[dict[str, Any]], typical_epochs: float) -> float:
    """About how long a run goes on: to its typical length, but at least until its patience would end now."""
    values = [entry[SELECTION] for entry in history]
    best = values.index(max(values)) + 1
    last = min(config.epochs, max(best + config.patience, typical_epochs))
    return max(0.0, last - len(history)) * epoch_seconds(history)


def _typical(standing: Standing, results: Path) -> float:
    """Epochs that finished runs of the same dataset and patience took, their median."""
    config, dataset = standing.planned.config, standing.planned.dataset
    ended = [
        result.content["selection"]["epochs"]
        for result in read_results(results).values()
        if (result.dataset, result.config.epochs, result.config.patience) == (dataset, config.epochs, config.patience)
    ]
    return statistics.median(ended) if ended else min(TYPICAL_EPOCHS, config.epochs)


def _all_remaining(running: Sequence[Child], queue: Sequence[Standing], jobs: int, results: Path) -> float:
    """About how long everything takes; a run that has no finished epoch is taken to be like the others."""
    paces = {child.standing.planned.dataset: epoch_seconds(history) for child, history in _measured(running)}
    common = statistics.mean(paces.values())
    busy = []
    for child in running:
        history = read_history(child.standing.run)
        typical, config = _typical(child.standing, results), child.standing.planned.config
        pace = paces.get(child.standing.planned.dataset, common)
        busy.append(remaining_seconds(config, history, typical) if history else typical * pace)
    heapq.heapify(busy)
    for standing in queue:
        done = len(read_history(standing.run)) if standing.state == "broken" else 0
        work = max(0.0, _typical(standing, results) - done) * paces.get(standing.planned.dataset, common)
        heapq.heappush(busy, work + (heapq.heappop(busy) if len(busy) >= jobs else 0.0))
    return max(busy)


def _measured(running: Sequence[Child]) -> list[tuple[Child, list[dict[str, Any]]]]:
    pairs = [(child, read_history(child.standing.run)) for child in running]
    return [(child, history) for child, history in pairs if history]


def duration(seconds: float) -> str:
    """A time for people: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
