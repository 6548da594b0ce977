"""The training and evaluation tools as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = [
    "--dim",
    "8",
    "--max-length",
    "10",
    "--num-blocks",
    "1",
    "--num-heads",
    "1",
    "--num-clusters",
    "4",
    "--noise-portion",
    "1",
    "--warm-up-epochs",
    "1",
    "--batch-size",
    "64",
    "--epochs",
    "2",
    "--no-jit",
]


def tool(name: str, *arguments: str, where: Path = ROOT) -> subprocess.CompletedProcess[str]:
    script = ROOT / "trainers" / f"{name}.py"
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=where, env=quiet, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a dataset lies and a run of it was trained, and what the tool printed."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    lines = [f"{user} {' '.join(map(str, rng.permutation(30)[: 5 + user % 6] + 1))}" for user in range(40)]
    (folder / "log.txt").write_text("\n".join(lines))
    done = tool("train", "--dataset", "log.txt", "--results", "results", *TINY, where=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_leaves_everything(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    run = folder / "runs" / "log-1"
    left = {path.name for path in run.iterdir()}
    assert left == {
        ".lock", "config.json", "vocabulary.json", "metrics.jsonl", "checkpoints", "best.keras", "tensorboard",
        "ranks.npz", "result.json",
    }  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    assert result == json.loads((folder / "results" / "log-1.json").read_text())
    assert result["config"]["dim"] == 8
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert re.search(r"epoch +2/2 .*ndcg@20", printed)
    for row in ("this run", "popularity", "last item"):
        assert row in printed


def test_evaluate_gives_the_numbers_of_the_run(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    result = json.loads((folder / "runs/log-1/result.json").read_text())
    for protocol in ("paper", "strict"):
        done = tool(
            "evaluate", "--run", "runs/log-1", "--split", "test", "--protocol", protocol, "--by-length", "--json",
            where=folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        assert rows.pop("all users") == result["test"][protocol]
        assert sum(row["users"] for row in rows.values()) == 40
        weighted = sum(row["users"] * row["ndcg@20"] for row in rows.values()) / 40
        assert weighted == pytest.approx(result["test"][protocol]["ndcg@20"], abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "log.txt", "--gama", "1"], "unknown argument --gama. Nearest: --gamma"),
        (["--dataset", "log.txt", "--gamma", "-1"], "`gamma` must be at least 0. Received: gamma=-1.0"),
        (["--dataset", "log.txt", "--dim", "9"], "`dim` must be a multiple of `num_heads`"),
        (["--dataset", "log.txt", "--batch-size", "x"], "argument --batch-size: invalid int value: 'x'"),
        (["--dataset", "spots"], "sports"),
        (["--dataset", "log.txt", "--run", "runs/log-1", *TINY], "`--run` must be a new directory"),
        (["--run", "runs/log-1", "--resume", "--gamma", "0.9"], "`--gamma` can't change on --resume"),
        (["--run", "runs/log-1", "--resume", "--preset", "toys"], "`--preset` can't be given with --resume"),
        (["--dataset", "Demo", "--resume"], "`--resume` found no run of demo in runs/"),
        (["--run", "nowhere", "--resume"], "nowhere: not a run directory"),
        ([], "`--dataset` is needed"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    trained: tuple[Path, str], arguments: list[str], message: str
) -> None:
    folder, _ = trained
    before = sorted(os.listdir(folder / "runs"))
    done = tool("train", *arguments, where=folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if not message.startswith("argument"):  # argparse's own message comes with its usage
        assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(folder / "runs")) == before
