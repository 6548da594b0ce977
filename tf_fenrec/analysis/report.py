"""docs/RESULTS.md and the README's results, written from results/*.json and the paper's tables alone."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tf_fenrec.analysis.children import duration
from tf_fenrec.analysis.results import Result, read_results
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_text
from tf_fenrec.paper import ABLATIONS, METRICS, TABLE_1, TABLE_3, TABLES

BEGIN, END = "<!-- results: begin (written by `trainers/reproduce.py --report`) -->", "<!-- results: end -->"
GOAL = 0.02  # how far below Table 1 still counts as reproduced
GOAL_METRICS = ("hr@20", "ndcg@20")
NO_RUN = "no run yet"

Rows = Iterable[Sequence[str]]


def write_report(results: Path, page: Path, readme: Path) -> None:
    """Writes both.

    Args:
        results: the directory of the runs' JSON files, with figures in `analysis/`.
        page: the page to write.
        readme: the file in which what stands between `BEGIN` and `END` is replaced.

    Raises:
        InputError: when the README has no markers, and for unreadable results.
    """
    read = list(read_results(results).values())
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{readme}: should hold the lines {BEGIN} and {END}, between which the results go")
    write_text(page, results_page(read, figures(results / "analysis", page.parent)))
    link = os.path.relpath(page, readme.parent)
    write_text(readme, f"{before}{BEGIN}\n{readme_section(read, link)}{END}{after}")


def results_page(results: Sequence[Result], figures: str = "") -> str:
    """The whole page.

    Args:
        results: all runs, in the order in which they are listed.
        figures: the last section.
    """
    by_row = {(dataset, row): _of(results, dataset, row) for dataset in TABLE_3 for row in ABLATIONS}
    parts = [
        "# Results\n",
        "Written by `python trainers/reproduce.py --report` from the runs in `results/` and the paper's tables; not "
        "edited by hand.\n",
        "Each number is the mean over seeds on the test split, `±` the sample standard deviation where there is more "
        "than one seed. Weights are selected by validation NDCG@20; the test split is read once a run, with the "
        "selected weights. A run counts only with exactly the preset's hyper-parameters (and, in Table 3, the row's "
        "change). `paper` and `strict` are the two protocols of evaluation (docs/method.md); the paper's numbers "
        "belong to the first. The paper's numbers are means of three seeds.\n",
        "## Table 1: FENRec\n",
        *(_dataset_section(dataset, list(TABLES[1]), by_row, _verdict) for dataset in TABLE_1),
        "## Table 3: without each of the two ideas\n",
        "The last row is what both ideas build on: the same encoder with cross-entropy alone, without contrast. The "
        "paper's SASRec of Table 1 stands beside it, but the paper doesn't say which loss that was trained with.\n",
        *(_dataset_section(dataset, list(TABLES[3]), by_row, _ablation_order) for dataset in TABLE_3),
        "## Runs\n",
        _runs_table([result for result in results if result.reproduces]),
        "## Other runs\n",
        _other_runs([result for result in results if not result.reproduces]),
    ]
    return "\n".join(part for part in (*parts, figures) if part)


def readme_section(results: Sequence[Result], page: str) -> str:
    """FENRec on every dataset in one small table.

    Args:
        results: all runs.
        page: where the whole page lies, for the link.
    """
    rows = []
    for dataset in TABLE_1:
        runs = _of(results, dataset, "FENRec")
        paper = _paper(dataset, "FENRec")
        cells = [dataset, str(len(_seeds(runs))) if runs else NO_RUN]
        for metric in GOAL_METRICS:
            cells += [_value(runs, "paper", metric), _number(paper[metric]), _difference(runs, paper, metric)]
        rows.append(cells)
    header = ["", "seeds"]
    for metric in GOAL_METRICS:
        header += [f"{_title(metric)}", "paper", "difference"]
    return (
        "FENRec with its presets on the test split beside Table 1 of the paper, mean over seeds:\n\n"
        f"{_markdown(header, rows)}\n"
        f"Both protocols, all metrics, the ablations and every run: [{page}]({page}).\n"
    )


def figures(directory: Path, page_directory: Path) -> str:
    """The section of the figures that `fenrec-analyse` left, each with its caption; empty without any."""
    parts = []
    for path in sorted(directory.glob("[!.]*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        image = path.with_suffix(".png")
        if image.exists():
            link = os.path.relpath(image, page_directory)
            numbers = os.path.relpath(path, page_directory)
            parts.append(f"### {content['title']}\n\n![{content['title']}]({link})\n\n{content['caption']} "
                         f"Numbers: [{path.name}]({numbers}).\n")  # fmt: skip
    return "\n".join(["## Analyses\n", *parts]) if parts else ""


def _of(results: Sequence[Result], dataset: str, row: str) -> list[Result]:
    return [result for result in results if result.dataset == dataset and result.reproduces == row]


# ---- sections


ByRow = Mapping[tuple[str, str], list[Result]]


def _dataset_section(dataset: str, rows: Sequence[str], by_row: ByRow, conclude: Callable[[str, ByRow], str]) -> str:
    table = []
    for row in rows:
        runs, paper = by_row[dataset, row], _paper(dataset, row)
        name = row if len(rows) > 1 else ""
        if paper:
            source = "paper" if row in TABLE_3[dataset] else "paper's SASRec"
            table.append([name, source, *(_number(paper[metric]) for metric in METRICS)])
        if not runs:
            table.append([name, NO_RUN, *("" for _ in METRICS)])
            continue
        count = len(_seeds(runs))
        ours = f"ours, {count} seed{'s' if count > 1 else ''}"
        table.append([name, ours, *(_value(runs, "paper", metric) for metric in METRICS)])
        if row in TABLE_3[dataset]:
            table.append([name, "difference", *(_difference(runs, paper, metric) for metric in METRICS)])
        table.append([name, "ours, `strict`", *(_value(runs, "strict", metric) for metric in METRICS)])
    header = ["", "", *map(_title, METRICS)] if len(rows) > 1 else ["", *map(_title, METRICS)]
    body = table if len(rows) > 1 else [row[1:] for row in table]
    lines = [f"### {dataset}\n", _markdown(header, body)]
    if conclusion := conclude(dataset, by_row):
        lines.append(conclusion + "\n")
    return "\n".join(lines)


def _verdict(dataset: str, by_row: ByRow) -> str:
    runs, paper = by_row[dataset, "FENRec"], _paper(dataset, "FENRec")
    if not runs:
        return ""
    short = [m for m in GOAL_METRICS if _mean(runs, "paper", m) < paper[m] * (1 - GOAL)]
    goal = f"within {GOAL:.0%} of Table 1 or above it"
    said = (
        f"Reached: {' and '.join(map(_title, GOAL_METRICS))} are {goal}."
        if not short
        else f"Not reached: {goal} was the goal, and short of it: "
        + ", ".join(f"{_title(metric)} {_difference(runs, paper, metric)}" for metric in short)
        + "."
    )
    epochs = ", ".join(f"{r.content['selection']['epoch']} of {r.content['selection']['epochs']}" for r in runs)
    hours = ", ".join(duration(result.content["seconds"]) for result in runs)
    machines = "; ".join(sorted({_machine(result) for result in runs}))
    return f"{said} Selected epoch: {epochs}. Wall time: {hours}. Machine: {machines}."


def _ablation_order(dataset: str, by_row: ByRow) -> str:
    rows = [row for row in TABLE_3[dataset] if by_row[dataset, row]]
    if len(rows) < 2:
        return ""
    metric = "ndcg@20"
    ours = sorted(rows, key=lambda row: -_mean(by_row[dataset, row], "paper", metric))
    theirs = sorted(rows, key=lambda row: -_paper(dataset, row)[metric])
    verdict = "the same as the paper's" if ours == theirs else f"the paper's is {' > '.join(theirs)}"
    missing = [row for row in TABLE_3[dataset] if row not in rows]
    note = f" No run yet: {', '.join(missing)}." if missing else ""
    return f"Order by {_title(metric)}: {' > '.join(ours)}; {verdict}.{note}"


def _runs_table(results: Sequence[Result]) -> str:
    if not results:
        return "No run with the presets' exact hyper-parameters yet.\n"
    header = ["run", "dataset", "row", "seed", "epoch", "validation NDCG@20", "test NDCG@20", "wall time", "machine",
              "commit"]  # fmt: skip
    return _markdown(header, ([r.name, r.dataset, str(r.reproduces), *_facts(r)] for r in results))


def _other_runs(results: Sequence[Result]) -> str:
    if not results:
        return "None.\n"
    header = ["run", "dataset", "differs from the preset by", "seed", "epoch", "validation NDCG@20", "test NDCG@20",
              "wall time", "machine", "commit"]  # fmt: skip
    rows = []
    for result in results:
        changes = ", ".join(f"{name} {value}" for name, value in result.changes.items())
        rows.append([result.name, result.dataset, changes or "nothing", *_facts(result)])
    return (
        "These don't count in the tables above, as their hyper-parameters (or their dataset) are not the paper's.\n\n"
        + _markdown(header, rows)
    )


def _facts(result: Result) -> list[str]:
    content = result.content
    selection = content["selection"]
    return [
        str(result.config.seed),
        f"{selection['epoch']} of {selection['epochs']}",
        _number(content["valid"]["paper"]["ndcg@20"]),
        _number(content["test"]["paper"]["ndcg@20"]),
        duration(content["seconds"]),
        _machine(result),
        # A run whose code was changed between its sittings names every commit that trained it.
        ", ".join(_short_commit(commit) for commit in content.get("commits") or [content["commit"]]),
    ]


def _short_commit(commit: str | None) -> str:
    number, *dirty = (commit or "unknown").split("-")
    return "-".join([number[:10], *dirty])


def _machine(result: Result) -> str:
    machine = result.content["machine"]
    parts = [machine["processor"], f"{machine['cores']} cores", *machine["accelerators"]]
    return ", ".join(part for part in parts if part)


# ---- numbers


def _seeds(runs: Sequence[Result]) -> list[int]:
    return sorted({result.config.seed for result in runs})


def _per_seed(runs: Sequence[Result], protocol: str, metric: str) -> list[float]:
    """One value a seed: runs of the same seed (on other machines, say) are averaged first."""
    return [
        statistics.mean(r.content["test"][protocol][metric] for r in runs if r.config.seed == seed)
        for seed in _seeds(runs)
    ]


def _mean(runs: Sequence[Result], protocol: str, metric: str) -> float:
    return statistics.mean(_per_seed(runs, protocol, metric))


def _value(runs: Sequence[Result], protocol: str, metric: str) -> str:
    """Mean and deviation, empty without a run."""
    if not runs:
        return ""
    values = _per_seed(runs, protocol, metric)
    deviation = f" ± {_number(statistics.stdev(values))}" if len(values) > 1 else ""
    return _number(statistics.mean(values)) + deviation


def _difference(runs: Sequence[Result], paper: Mapping[str, float], metric: str) -> str:
    return f"{_mean(runs, 'paper', metric) / paper[metric] - 1:+.1%}" if runs else ""


def _paper(dataset: str, row: str) -> dict[str, float]:
    """The paper's numbers of a row; for plain SASRec, those of Table 1's."""
    return TABLE_3[dataset].get(row, TABLE_1[dataset]["SASRec"])


def _number(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _title(metric: str) -> str:
    return metric.upper()


def _markdown(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
