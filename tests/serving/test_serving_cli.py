"""From a run directory to an answered query, through the scripts a user calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_fenrec.cli.export import main as export
from tf_fenrec.cli.query import main as query
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.systems.fenrec import FENRec, FENRecConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """What a training leaves, with untrained weights."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    model = FENRec(FENRecConfig(dim=8, max_length=4, fine_weight=0.0), 20)
    model.save(folder / "best.keras")
    names = tuple(f"Thing {i}" for i in range(1, 21))
    ids = tuple(f"id{i}" for i in range(1, 21))
    Vocabulary(20, ids, names, tuple(range(1, 21))).save(folder / "vocabulary.json")
    (folder / "config.json").write_text(json.dumps({"dataset": "fake", "config": {"dim": 8}}))
    (folder / "result.json").write_text(json.dumps({"NDCG@20": 0.5}))
    return folder


def script(path: str, *args: object) -> list[str]:
    return [sys.executable, str(ROOT / path), *map(str, args)]


@pytest.fixture(scope="module")
def address(run_dir, tmp_path_factory):
    """The address of a server process over a model exported by an export process."""
    models = tmp_path_factory.mktemp("cli") / "models"
    done = subprocess.run(
        script("export/export.py", "--run", run_dir, "--to", models),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == models / "fenrec" / "1"
    card = json.loads((models / "fenrec/1/assets.extra/model_card.json").read_text())
    assert card["result"] == {"NDCG@20": 0.5}
    assert card["training"]["dataset"] == "fake"

    process = subprocess.Popen(
        script("serving/serve.py", "--models", models, "--port", 0), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("listening on"):
            break
    assert "model fenrec version 1" in lines
    assert lines[-1].startswith("listening on "), lines
    yield lines[-1].removeprefix("listening on ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert process.stdout.read() == "stopped\n"


def test_query_prints_a_table(address):
    done = subprocess.run(
        script("serving/query.py", "--history", "id1, id2,nope", "--k", 3, "--server", address),
        capture_output=True,
        text=True,
        check=True,
    )
    unknown, header, *rows = done.stdout.splitlines()
    assert unknown == "1 unknown id(s) skipped"
    assert header.split() == ["rank", "id", "score", "name"]
    assert len(rows) == 3
    for rank, row in enumerate(rows, start=1):
        number, raw, _, name = row.split(maxsplit=3)
        assert int(number) == rank
        assert name == raw.replace("id", "Thing ")


def test_query_prints_json_that_equals_the_model(address, run_dir, capsys):
    assert query(["--history", "id1,id2", "--k", "20", "--server", address, "--include-seen", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    model = keras.saving.load_model(run_dir / "best.keras")
    scores = model.predict(np.array([[0, 0, 1, 2]]), verbose=0)[0][1:21]
    expected = sorted(range(20), key=lambda item: -scores[item])
    assert [item["id"] for item in answer["items"]] == [f"id{item + 1}" for item in expected]
    assert [item["score"] for item in answer["items"]] == pytest.approx(sorted(scores, reverse=True), rel=1e-4)


def test_query_excludes_and_allows(address, capsys):
    lists = ["--allow", "id3,id4,id5,nope", "--exclude", "id4"]
    assert query(["--history", "id1,id3", "--server", address, "--json", *lists]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)["items"]] == ["id5"]


def test_query_scores_given_items(address, capsys):
    assert query(["--history", "id1,id2", "--k", "20", "--server", address, "--include-seen", "--json"]) == 0
    scores = {item["id"]: item["score"] for item in json.loads(capsys.readouterr().out)["items"]}
    arguments = ["--history", "id1,id2", "--server", address, "--score", "id7,nope,id1"]
    assert query([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [candidate["id"] for candidate in answer["candidates"]] == ["id7", "nope", "id1"]
    given = [candidate["score"] for candidate in answer["candidates"]]
    assert given == [pytest.approx(scores["id7"], rel=1e-4), None, pytest.approx(scores["id1"], rel=1e-4)]
    assert (answer["unknown"], answer["fallback"]) == (0, False)
    assert query(arguments) == 0
    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["id", "score"]
    assert [row[0] for row in rows] == ["id7", "nope", "id1"]
    assert rows[1][1] == "unknown"


def test_query_asks_several_servers(address, capsys):
    assert query(["--history", "id1", "--k", "1", "--server", f"127.0.0.1:1,{address}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_query_with_no_history_falls_back_to_popular_items(address, capsys):
    assert query(["--history", "", "--k", "2", "--server", address]) == 0
    assert "the most popular items" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "nope"], "NOT_FOUND: Servable not found for request: Latest(nope)"),
        (["--allow", ""], "`allow` should hold None or at least one id"),
        (["--tls-root", str(ROOT / "README.md")], "UNAVAILABLE"),
        (["--tls-name", "a"], "`--tls-root` should be given with the other options of TLS"),
        (["--k", "0"], "`k` should be a positive"),
        (["--k", "21"], "INVALID_ARGUMENT: assertion failed: [`k` should be from 1 to 20"),
        (["--server", "127.0.0.1:1"], "127.0.0.1:1: UNAVAILABLE"),
    ],
)
def test_query_errors_are_one_line(address, capsys, args, message):
    assert query(["--history", "id1", "--server", address, *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_query_of_an_integer_model_with_other_ids(server, integers, capsys):
    target = f"127.0.0.1:{server.port}"
    assert query(["--history", "1,x", "--server", target, "--model", "integers"]) == 2
    assert "`--history` should be integers for this model. Received: '1,x'" in capsys.readouterr().err
    assert query(["--history", "1,2", "--server", target, "--model", "integers", "--k", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["rank", "id", "score"]


def test_export_errors_name_what_is_missing(run_dir, tmp_path, capsys):
    assert export(["--run", str(tmp_path), "--to", str(tmp_path / "models")]) == 2
    assert "`--run` should be the directory of a training with config.json" in capsys.readouterr().err
    for name in ("config.json", "best.keras"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    (tmp_path / "vocabulary.json").write_text("{}")
    assert export(["--run", str(tmp_path), "--to", str(tmp_path / "models")]) == 2
    assert "vocabulary.json: not a vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("path", ["export/export.py", "serving/serve.py", "serving/query.py", "serving/load.py"])
def test_help_is_instant(path):
    started = time.monotonic()
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(script(path, "--help"), capture_output=True, text=True, check=True, env=environment)
    assert "usage:" in done.stdout
    assert "tensorflow" not in done.stderr  # the list of imports
    assert time.monotonic() - started < 10
