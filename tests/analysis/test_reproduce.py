"""Many trainings as child processes: interrupted, killed, resumed, skipped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_fenrec.analysis.children import (
    Child,
    Outcome,
    _all_remaining,
    duration,
    epoch_seconds,
    log_file,
    read_history,
    remaining_seconds,
    train_all,
)
from tf_fenrec.analysis.plan import PlannedRun, Standing
from tf_fenrec.cli.reproduce import main
from tf_fenrec.systems import configure
from tf_fenrec.training.run import Run

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0
EPOCHS = 25
TINY = [
    "dim=8", "max_length=10", "num_blocks=1", "num_heads=1", "num_clusters=4", "noise_portion=1", "warm_up_epochs=1",
    "batch_size=64", f"epochs={EPOCHS}", "jit=false",
]  # fmt: skip


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = [f"{user} {' '.join(map(str, rng.permutation(30)[: 5 + user % 6] + 1))}" for user in range(40)]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    return tmp_path


ARGUMENTS = ["--table", "1", "--datasets", "log.txt", "--seeds", "0", "1", "--jobs", "2", "--set", *TINY]


@pytest.fixture
def sitting(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the tool on two seeds; what is left of it at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def sit() -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "trainers" / "reproduce.py"), *ARGUMENTS]
        started.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield sit
    for process in started:
        if process.poll() is None:
            for child in children(process).values():
                os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """The process ids of the trainings by run directory."""
    found = {}
    for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        words = Path(f"/proc/{number}/cmdline").read_text().split("\0")
        if "--run" in words:
            found[Path(words[words.index("--run") + 1]).name] = int(number)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_interrupted_killed_resumed_and_skipped(
    folder: Path,
    sitting: Callable[[], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    names = [f"log-fenrec-changed-seed{seed}" for seed in (0, 1)]
    runs = [Run(folder / "runs" / name) for name in names]

    # A child that is killed does not end the other; SIGTERM then ends that.
    first = sitting()
    wait_for(lambda: len(children(first)) == 2)
    pids = children(first)
    os.kill(pids[names[0]], signal.SIGKILL)
    assert first.stdout is not None
    failed = next(line for line in first.stdout if "failed" in line)
    assert failed.startswith(f"{names[0]}: failed (killed by signal 9")
    wait_for(lambda: bool(read_history(runs[1])))
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=PATIENCE_SECONDS)
    assert (first.returncode, err) == (130, "interrupted\n")
    assert not any(map(alive, pids.values()))
    assert 0 < len(read_history(runs[1])) < EPOCHS

    # Once more: both go on where they were.
    second = sitting()
    out, err = second.communicate(timeout=PATIENCE_SECONDS)
    assert (second.returncode, err) == (0, "")
    for name, run in zip(names, runs, strict=True):
        assert f"{name}: finished" in out
        assert f"{name}  epoch  {EPOCHS}/{EPOCHS}  best ndcg@20 0." in out
        content = json.loads((folder / "results" / f"{name}.json").read_text())
        assert content == run.result()
        assert content["selection"]["epochs"] == EPOCHS
    assert f"{names[1]}: resumed" in out
    assert "going on at epoch" in log_file(runs[1]).read_text()

    # And again: nothing is trained.
    monkeypatch.chdir(folder)
    assert main(ARGUMENTS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "finished"] for name in names]


def standing(directory: Path, dataset: str = "toys", state: str = "new", **changes: int) -> Standing:
    return Standing(
        PlannedRun(dataset, "FENRec", "paper", configure("fenrec", dataset, **changes)), Run(directory), state
    )


def test_a_run_that_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "logs").mkdir()
    with open(tmp_path / "logs" / "busy.log", "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        outcome = train_all([standing(tmp_path / "busy")], 1, tmp_path, log=said.append)
    assert outcome.elsewhere == ["busy"]
    assert not outcome.failed
    assert said == ["busy: another process is training it"]


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    said: list[str] = []
    missing = standing(tmp_path / "bad", str(tmp_path / "missing.txt"))
    outcome = train_all([missing], 1, tmp_path / "results", log=said.append, poll_seconds=0.01)
    assert outcome.failed["bad"].startswith("error: `dataset` should be one of")
    assert said[0] == "bad: started"
    assert said[1].startswith(f"bad: failed (exit status 2; more in {tmp_path / 'logs' / 'bad.log'}): error: `dataset`")


def test_runs_that_are_not_finished_are_listed_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    outcome = Outcome(failed={"a": "it broke"}, elsewhere=["b"])
    monkeypatch.setattr("tf_fenrec.cli.reproduce.train_all", lambda *arguments, **named: outcome)
    monkeypatch.chdir(folder)
    assert main(ARGUMENTS) == 1
    assert capsys.readouterr().err == "not finished: a: it broke\nnot finished: b: another process is training it\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "`--table`, `--sweep` or `--report` is needed"),
        (["--table", "1", "--jobs", "0"], "`--jobs` must be at least 1. Received: 0"),
        (["--table", "1", "--datasets", "demo", "--set", "dim"], "`--set` takes NAME=VALUE. Received: dim"),
        (["--table", "1", "--datasets", "demo", "--set", "gama=1"], "Nearest: gamma"),
        (
            ["--table", "1", "--datasets", "demo", "--set", "seed=5"],
            "`--set` can't change what --seeds sets. Received: seed=5",
        ),
        (["--sweep", "gamma", "--datasets", "demo", "--set", "gamma=1"], "`--set` can't change what --sweep sets"),
        (["--table", "1", "--datasets", "spots"], "sports"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert main([*arguments, "--plan", "--runs", str(tmp_path), "--results", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_every_set_counts_and_rows_keep_what_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Standing] = []

    def look(standings: list[Standing], *arguments: Any, **named: Any) -> Outcome:
        found.extend(standings)
        return Outcome(failed={}, elsewhere=[])

    monkeypatch.setattr("tf_fenrec.cli.reproduce.train_all", look)
    given = ["--table", "3", "--datasets", "demo", "--set", "gamma=0.5", "--set", "epochs=12", "dropout=0.3"]
    assert main([*given, "--runs", str(tmp_path), "--results", str(tmp_path)]) == 0
    configs = [standing.planned.config for standing in found]
    assert {(config.epochs, config.dropout) for config in configs} == {(12, 0.3)}
    assert [config.gamma for config in configs] == [0.5, 0.0, 0.5, 0.0]


# ---- remaining time


def history(seconds: list[float], values: list[float]) -> list[dict[str, float]]:
    return [{"seconds": s, "val_ndcg@20": v} for s, v in zip(seconds, values, strict=True)]


def test_the_pace_is_that_of_the_last_epochs() -> None:
    assert epoch_seconds(history([90], [0.1])) == 90  # with compiling: better than nothing
    assert epoch_seconds(history([90, 100], [0.1] * 2)) == 10
    assert epoch_seconds(history([90, 100, 110, 130, 150, 170, 190, 210], [0.1] * 8)) == 20  # the last five


def test_remaining_time() -> None:
    config = configure("fenrec", "toys")
    ten = history([10.0 * number for number in range(1, 11)], [0.1] * 9 + [0.2])
    assert remaining_seconds(config, ten, 200) == 190 * 10
    assert remaining_seconds(config, ten, 30) == 40 * 10  # patience ends in epoch 50 at the earliest
    assert remaining_seconds(config.replace(epochs=12), ten, 200) == 2 * 10
    assert [duration(seconds) for seconds in (41.6, 720, 11_100)] == ["42 s", "12 min", "3 h 05 min"]


def test_remaining_time_of_everything(tmp_path: Path) -> None:
    # Patience and typical length beyond `epochs`: every run takes its 10 epochs.
    def child(name: str, epochs_done: int, pace: float, dataset: str) -> Child:
        one = standing(tmp_path / name, dataset, epochs=10, patience=40)
        one.run.directory.mkdir()
        lines = history([pace * number for number in range(1, epochs_done + 1)], [0.1] * epochs_done)
        one.run.write_metrics(lines)
        return Child(one, None)  # type: ignore[arg-type]

    running = [child("a", 5, 10, "toys"), child("b", 8, 50, "yelp")]  # 50 s and 100 s left
    queue = [standing(tmp_path / f"q{number}", "toys", epochs=10, patience=40) for number in range(2)]  # 100 s each
    # Two at a time: a ends at 50, then q0 until 150; b at 100, then q1 until 200.
    assert _all_remaining(running, queue, 2, tmp_path) == 200
    assert _all_remaining(running, [], 2, tmp_path) == 100
    unknown = [standing(tmp_path / "u", "beauty", epochs=10, patience=40)]  # paced like the mean of the others: 300 s
    assert _all_remaining(running, unknown, 2, tmp_path) == 350
