"""Which runs a table or a sweep of the paper needs, and how far each of them is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_fenrec.analysis.results import read_results
from tf_fenrec.config import Config
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_json
from tf_fenrec.paper import ABLATIONS, SWEEPS, TABLES, Row
from tf_fenrec.systems import configure
from tf_fenrec.training.run import Run

Hashes = dict[str, str]
"""SHA-256 of each dataset's sequences by the dataset's name, see `describe`."""


@dataclass(frozen=True)
class PlannedRun:
    """One training to have: what `fenrec-train` is given."""

    dataset: str
    label: str
    preset: str
    config: Config

    @property
    def name(self) -> str:
        """What its run directory is called unless that is taken."""
        parts = (Path(self.dataset).stem, self.label, f"seed{self.config.seed}")
        return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.") or "run" for part in parts)


def table_plan(
    table: int, datasets: Sequence[str], seeds: Sequence[int], changes: dict[str, Any] | None = None
) -> list[PlannedRun]:
    """The runs of a table, one seed of everything before the next.

    Args:
        table: 1 or 3.
        datasets: names or paths.
        seeds: one run of each row for each.
        changes: hyper-parameters changed in all of them, except where a row sets them itself; the runs are then no
            reproductions.
    """
    return _plan(datasets, seeds, TABLES[table], changes or {})


def sweep_plan(
    parameter: str, datasets: Sequence[str], seeds: Sequence[int], changes: dict[str, Any] | None = None
) -> list[PlannedRun]:
    """The runs of a sweep (Fig. 6): one hyper-parameter changes, the others are the preset's."""
    model, preset, _ = ABLATIONS["FENRec"]
    rows = {f"{parameter}-{value}": (model, preset, {parameter: value}) for value in SWEEPS[parameter]}
    return _plan(datasets, seeds, rows, changes or {})


def _plan(
    datasets: Sequence[str], seeds: Sequence[int], rows: dict[str, Row], changes: dict[str, Any]
) -> list[PlannedRun]:
    suffix = " changed" if changes else ""  # `standings` numbers the names that are taken
    return [
        PlannedRun(
            dataset, label + suffix, preset, configure(model, dataset, preset, **(changes | own | {"seed": seed}))
        )
        for seed in seeds
        for dataset in datasets
        for label, (model, preset, own) in rows.items()
    ]


@dataclass(frozen=True)
class Standing:
    """How far a planned run is.

    Attributes:
        planned: the run.
        run: its directory, there or to be made.
        state: "finished", "broken" (begun, to be resumed) or "new".
        result: what it ended with, when finished.
    """

    planned: PlannedRun
    run: Run
    state: str
    result: dict[str, Any] | None = None

    def arguments(self, results: Path, data_dir: Path | None = None) -> list[str]:
        """What `fenrec-train` is given to bring it to its end."""
        given = ["--dataset", self.planned.dataset, "--run", str(self.run.directory), "--results", str(results)]
        if data_dir is not None:
            given += ["--data-dir", str(data_dir)]
        if self.state == "broken":
            return [*given, "--resume"]
        planned = self.planned
        model = planned.config.model
        assert model is not None  # `configure` made it
        given += ["--model", model, "--preset", planned.preset]
        base = configure(model, planned.dataset, planned.preset).to_dict()
        for name, value in planned.config.to_dict().items():
            option = name.replace("_", "-")
            if value == base[name]:
                continue
            if isinstance(value, bool):
                given.append(f"--{option}" if value else f"--no-{option}")
            else:
                given += [f"--{option}", str(value)]
        return given


def standings(plan: Sequence[PlannedRun], hashes: Hashes, runs: Path, results: Path) -> list[Standing]:
    """How far each planned run is, by what lies in the run directories and in the results.

    A run is known by its configuration and its dataset's hash, whatever its directory is called.
    """
    begun: dict[tuple[Config, str], Run] = {}
    for file in sorted(runs.glob("*/config.json")):
        run = Run(file.parent)
        try:
            key = (run.config(), run.dataset()["sha256"])
        except InputError:
            continue  # of another version, or no run at all
        if key not in begun or (run.result() is not None and begun[key].result() is None):
            begun[key] = run
    ended = {(result.config, result.sha256): result for result in read_results(results).values()}
    found = []
    taken = {file.parent.name for file in runs.glob("*/config.json")}
    taken |= {file.stem for file in results.glob("[!.]*.json")}
    for planned in plan:
        key = (planned.config, hashes[planned.dataset])
        if key in ended:
            found.append(Standing(planned, Run(runs / ended[key].name), "finished", ended[key].content))
        elif key in begun:
            content = begun[key].result()
            found.append(Standing(planned, begun[key], "broken" if content is None else "finished", content))
        else:
            found.append(Standing(planned, Run(runs / _free(planned.name, taken)), "new"))
    return found


def keep_results(found: Sequence[Standing], results: Path) -> None:
    """Writes the results of finished runs that are missing in `results`."""
    for standing in found:
        path = results / f"{standing.run.directory.name}.json"
        if standing.result is not None and not path.exists():
            write_json(path, standing.result)


def _free(name: str, taken: set[str]) -> str:
    """`name`, or the first of name-2, name-3, ... that no other run has; it is taken from then on."""
    candidates = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    free = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(free)
    return free
