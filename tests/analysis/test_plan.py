"""Which runs are planned, and how far each is said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.hand_made import result, write
from tf_fenrec.analysis.plan import PlannedRun, Standing, keep_results, standings, sweep_plan, table_plan
from tf_fenrec.cli.train import parse
from tf_fenrec.paper import TABLE_1, TABLE_3, paper_row
from tf_fenrec.systems import configure
from tf_fenrec.training.run import Run, to_settings

HASHES = {"toys": "hash of toys", "yelp": "hash of yelp"}


def test_the_rows_of_the_tables() -> None:
    assert [(run.dataset, run.label, run.config.seed) for run in table_plan(1, ["toys", "yelp"], [0, 4])] == [
        ("toys", "FENRec", 0), ("yelp", "FENRec", 0), ("toys", "FENRec", 4), ("yelp", "FENRec", 4),
    ]  # fmt: skip
    full, soft, hard, plain = (run.config for run in table_plan(3, ["toys"], [0]))
    assert full == configure("fenrec", "toys")
    assert (soft.gamma, soft.hard_negatives, soft.contrastive) == (0, True, True)
    assert (hard.gamma, hard.hard_negatives, hard.contrastive) == (0.2, False, True)
    assert (plain.gamma, plain.contrastive) == (0, False)
    for run in table_plan(3, ["toys"], [0]):
        assert run.config.row == run.label
        assert paper_row("toys", run.config) == TABLE_3["toys"].get(run.label)


def test_the_tables_agree() -> None:
    assert all(TABLE_1[dataset]["FENRec"] == TABLE_3[dataset]["FENRec"] for dataset in TABLE_3)
    assert TABLE_1.keys() == TABLE_3.keys()


def test_a_sweep_changes_one_hyper_parameter() -> None:
    runs = sweep_plan("batch_size", ["yelp"], [1])
    assert [run.config.batch_size for run in runs] == [64, 128, 256, 512, 1024]
    preset = configure("fenrec", "yelp", seed=1).to_dict()
    for run in runs:
        assert {name for name, value in run.config.to_dict().items() if value != preset[name]} <= {"batch_size"}


def test_names_are_file_names() -> None:
    runs = table_plan(3, ["toys", "some dir/My log.txt"], [0, 1]) + sweep_plan(
        "gamma", ["toys"], [0], {"form": "paper"}
    )
    names = [run.name for run in runs]
    assert "toys-without-soft-labels-seed0" in names
    assert "my-log-fenrec-seed1" in names
    assert "toys-gamma-0.3-changed-seed0" in names


@pytest.mark.parametrize(
    "changes", [{}, {"hard_negatives": False, "seed": 7}, {"jit": False, "dropout": 0.1, "form": "paper", "epochs": 2}]
)
@pytest.mark.parametrize("dataset", ["yelp", "demo", "own.txt"])
def test_the_trainer_understands_the_arguments(dataset: str, changes: dict[str, Any], tmp_path: Path) -> None:
    planned = PlannedRun(dataset, "x", "paper", configure("fenrec", dataset, **changes))
    args, given = parse(Standing(planned, Run("runs/a"), "new").arguments(Path("out"), Path("data")))
    assert configure(args.model, dataset, args.preset, **given) == planned.config
    assert (args.dataset, args.run, args.results, args.data_dir) == (dataset, Path("runs/a"), Path("out"), Path("data"))
    Folders(tmp_path).run("a", {"dataset": {"sha256": ""}} | to_settings(planned.config, "paper"), finished=False)
    args, given = parse(Standing(planned, Run(tmp_path / "runs" / "a"), "broken").arguments(Path("out")))
    assert args.resume
    assert not given


class Folders:
    """Run directories and results made by hand."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.results = folder / "runs", folder / "results"

    def run(self, name: str, content: dict[str, Any], finished: bool) -> None:
        directory = self.runs / name
        directory.mkdir(parents=True)
        settings = {name: content[name] for name in ("dataset", "model", "preset", "config") if name in content}
        (directory / "config.json").write_text(json.dumps(settings))
        if finished:
            (directory / "result.json").write_text(json.dumps(content))

    def standings(self, datasets: list[str], seeds: list[int]) -> list[tuple[str, str]]:
        found = standings(table_plan(1, datasets, seeds), HASHES, self.runs, self.results)
        return [(standing.run.directory.name, standing.state) for standing in found]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_nothing_there(folders: Folders) -> None:
    assert folders.standings(["toys"], [0]) == [("toys-fenrec-seed0", "new")]


def test_a_run_is_known_by_its_configuration_whatever_its_name(folders: Folders) -> None:
    folders.run("toys-1", result("toys", 0.07), finished=False)
    folders.run("odd", result("toys", 0.07, seed=1), finished=True)
    assert folders.standings(["toys"], [0, 1, 2]) == [
        ("toys-1", "broken"), ("odd", "finished"), ("toys-fenrec-seed2", "new"),
    ]  # fmt: skip
    assert not folders.results.exists()


def test_a_finished_run_leaves_its_result(folders: Folders) -> None:
    folders.run("odd", result("toys", 0.07), finished=True)
    folders.run("recorded", result("toys", 0.08, seed=1), finished=True)
    write(folders.results, "other-name", result("toys", 0.08, seed=1))
    plan = table_plan(1, ["toys"], [0, 1])
    keep_results(standings(plan, HASHES, folders.runs, folders.results), folders.results)
    assert {path.name for path in folders.results.iterdir()} == {"odd.json", "other-name.json"}
    assert json.loads((folders.results / "odd.json").read_text()) == result("toys", 0.07)


def test_a_result_is_enough(folders: Folders) -> None:
    write(folders.results, "toys-5", result("toys", 0.07))
    folders.run("toys-again", result("toys", 0.07), finished=False)
    assert folders.standings(["toys"], [0]) == [("toys-5", "finished")]


def test_another_configuration_dataset_or_seed_is_another_run(folders: Folders) -> None:
    folders.run("toys-fenrec-seed0", result("toys", 0.07, epochs=12), finished=True)
    other_data = result("toys", 0.07)
    other_data["dataset"]["sha256"] = "other"
    folders.run("other-data", other_data, finished=True)
    write(folders.results, "toys-fenrec-seed1", result("toys", 0.07, epochs=12))
    assert folders.standings(["toys"], [0, 1]) == [("toys-fenrec-seed0-2", "new"), ("toys-fenrec-seed1-2", "new")]


def test_directories_that_are_no_runs_are_passed_over(folders: Folders) -> None:
    for name, text in (("a", "{"), ("b", '{"dataset": {"sha256": "x"}, "config": {"bygone": 1}}')):
        (folders.runs / name).mkdir(parents=True)
        (folders.runs / name / "config.json").write_text(text)
    (folders.runs / "toys-fenrec-seed0").mkdir()  # broken off before it was a run
    assert folders.standings(["toys"], [0]) == [("toys-fenrec-seed0", "new")]
