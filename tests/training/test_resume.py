"""A run that was killed ends like one that was not, bit by bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training import tiny_run
from tf_fenrec.errors import InputError
from tf_fenrec.training import trainer
from tf_fenrec.training.run import Run
from tf_fenrec.training.trainer import train

COMPARED = ("dataset", "config", "selection", "valid", "test")


class Killed(BaseException):
    """Stands for a kill where a new process each time would take too long."""


def kill() -> None:
    raise Killed


def history(run: Path) -> list[dict[str, Any]]:
    """The metrics of all epochs, without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that nobody interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, tiny_run.train_once(run)


def assert_same(run: Path, result: dict[str, Any], whole: tuple[Path, dict[str, Any]]) -> None:
    expected_run, expected = whole
    assert {name: result[name] for name in COMPARED} == {name: expected[name] for name in COMPARED}
    assert history(run) == history(expected_run)
    ours, theirs = tiny_run.weights(run), tiny_run.weights(expected_run)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("points", [["step:1", "step:1", "step:5", "step:9"], ["rename:6", "step:8", "rename:3"]])
def test_broken_off_many_times(tmp_path: Path, whole: tuple[Path, dict[str, Any]], points: list[str]) -> None:
    run = tmp_path / "run"
    for point in points:
        with pytest.raises(Killed):
            tiny_run.train_once(run, point, kill)
    assert_same(run, tiny_run.train_once(run), whole)


@pytest.mark.parametrize("point", ["step:11", "rename:12"])
def test_killed_by_the_system(tmp_path: Path, whole: tuple[Path, dict[str, Any]], point: str) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "tests.training.tiny_run", str(run), point]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    assert_same(run, tiny_run.train_once(run), whole)


def test_xla_is_told_to_add_up_in_a_fixed_order_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/there")
    monkeypatch.setattr(trainer.tf.config, "list_physical_devices", lambda kind: [])
    trainer.add_up_in_a_fixed_order(True, print)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=/there"  # CPU kernels do so anyway
    monkeypatch.setattr(trainer.tf.config, "list_physical_devices", lambda kind: [kind])
    for _ in range(2):
        trainer.add_up_in_a_fixed_order(True, print)
        assert os.environ["XLA_FLAGS"] == "--xla_dump_to=/there --xla_gpu_deterministic_ops=true"


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_run.train_once(run, "step:13", kill)
    newest = max(run.glob("checkpoints/checkpoint-*.npz"))
    assert newest.name == "checkpoint-00001-0000006.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    said: list[str] = []
    result = train(tiny_run.CONFIG, tiny_run.dataset(), Run(run), True, said.append)
    assert "damaged" in said[0]
    assert str(newest) in said[0]
    assert any("epoch 2, step 6 of 7" in line for line in said)
    assert_same(run, result, whole)


def test_no_whole_checkpoint_is_an_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_run.train_once(run, "step:4", kill)
    for path in run.glob("checkpoints/*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="no checkpoint is whole"):
        tiny_run.train_once(run)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_run.train_once(run, "step:4", kill)
    kept = {path.name: path.read_bytes() for path in run.glob("checkpoints/*.npz")}
    # A limit on the size of a file stands for a full disk: writing a checkpoint fails half-way.
    command = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    command += f"from tests.training import tiny_run; from pathlib import Path; tiny_run.train_once(Path({str(run)!r}))"
    full = subprocess.run([sys.executable, "-c", command], cwd=Path(__file__).parents[2], capture_output=True)
    assert full.returncode == 1
    assert b"File too large" in full.stderr
    assert b"checkpoint-" in full.stderr
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == kept
    assert_same(run, tiny_run.train_once(run), whole)


def test_a_finished_run_is_not_trained_again(whole: tuple[Path, dict[str, Any]]) -> None:
    run, result = whole
    assert tiny_run.train_once(run, "step:1", kill) == json.loads(json.dumps(result))


def test_a_result_names_every_commit_that_trained_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    for commit in ("first", "second", "second"):
        monkeypatch.setattr(trainer, "provenance", lambda commit=commit: {"commit": commit})
        with pytest.raises(Killed):
            tiny_run.train_once(run, "step:4", kill)
    result = tiny_run.train_once(run)
    assert (result["commits"], result["commit"]) == (["first", "second"], "second")


def test_a_run_is_not_overwritten(whole: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="`--run` must be a new directory"):
        train(tiny_run.CONFIG, tiny_run.dataset(), Run(whole[0]))


def test_other_data_is_refused_on_resume(whole: tuple[Path, dict[str, Any]]) -> None:
    data = tiny_run.dataset()
    other = type(data)("other", data.items[::-1].copy(), data.offsets, data.num_items)
    with pytest.raises(InputError, match="other data"):
        train(tiny_run.CONFIG, other, Run(whole[0]), resume=True)
