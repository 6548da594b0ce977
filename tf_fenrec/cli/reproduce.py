"""Trains what the paper's tables (or one of its sweeps) need, and writes the page that shows it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_fenrec.analysis.children import train_all
from tf_fenrec.analysis.models_page import write_models_page
from tf_fenrec.analysis.plan import keep_results, standings, sweep_plan, table_plan
from tf_fenrec.analysis.report import write_report
from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.data import load
from tf_fenrec.errors import InputError
from tf_fenrec.paper import SWEEPS, TABLE_1, TABLES
from tf_fenrec.parallel import usable_cores
from tf_fenrec.training.run import describe

EPILOG = """\
examples:
  reproduce.py --table 1                                 FENRec on all four datasets, one seed
  reproduce.py --table 3 --datasets toys --seeds 0 1 2   and without each of its ideas, on one
  reproduce.py --sweep gamma --datasets toys             Fig. 6
  reproduce.py --table 3 --plan                          what is finished, what would be trained
  reproduce.py --report                                  docs/RESULTS.md and the README's results

Stopped (Ctrl-C, SIGTERM) or killed, the same command goes on where it was.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(
        prog="fenrec-reproduce",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = this.add_mutually_exclusive_group()
    what.add_argument("--table", type=int, choices=TABLES, help="the runs of this table")
    what.add_argument("--sweep", choices=SWEEPS, help="the runs of this sweep")
    this.add_argument(
        "--datasets", nargs="+", default=list(TABLE_1), metavar="NAME", help="names or paths (default: the paper's)"
    )
    this.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="one run for each (default: 0)")
    this.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run directories (%(default)s)")
    this.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="results (%(default)s)")
    this.add_argument("--data-dir", type=Path, help="where benchmark files lie (else $FENREC_DATA_DIR, the cache)")
    this.add_argument(
        "--jobs", type=int, metavar="N", help="runs at once, which share the cores (default: one a core, at most 2)"
    )
    this.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="hyper-parameters to change in every run, except where its row sets them",
    )
    this.add_argument("--plan", action="store_true", help="only print what is finished and what would be trained")
    this.add_argument("--report", action="store_true", help="write the page and the README's results, at the end")
    this.add_argument("--page", type=Path, default=Path("docs/RESULTS.md"), help="the page (%(default)s)")
    this.add_argument("--readme", type=Path, default=Path("README.md"), help="the README (%(default)s)")
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Plans, trains, reports; exits with 1 when a run is not finished in the end."""
    args = parser().parse_args(argv)
    if not (args.table or args.sweep or args.report):
        raise InputError("`--table`, `--sweep` or `--report` is needed")
    jobs = min(2, usable_cores()) if args.jobs is None else args.jobs
    if jobs < 1:
        raise InputError(f"`--jobs` must be at least 1. Received: {jobs}")

    import_tensorflow()
    missing, found = False, []
    if args.table or args.sweep:
        datasets = [load(name, args.data_dir) for name in dict.fromkeys(args.datasets)]
        names, hashes = [dataset.name for dataset in datasets], {d.name: describe(d)["sha256"] for d in datasets}
        changes, seeds = _changes(args.set), list(dict.fromkeys(args.seeds))
        for name, option in {"seed": "--seeds", args.sweep: "--sweep"}.items():
            if name in changes:
                raise InputError(f"`--set` can't change what {option} sets. Received: {name}={changes[name]}")
        if args.table:
            plan = table_plan(args.table, names, seeds, changes)
        else:
            plan = sweep_plan(args.sweep, names, seeds, changes)
        found = standings(plan, hashes, args.runs, args.results)
        width = max(len(standing.run.directory.name) for standing in found)
        for standing in found:
            end = f"  test ndcg@20 {standing.result['test']['paper']['ndcg@20']:.4f}" if standing.result else ""
            print(f"{standing.run.directory.name:<{width}}  {standing.state}{end}", flush=True)
    if found and not args.plan:
        keep_results(found, args.results)
        outcome = train_all(found, jobs, args.results, args.data_dir, log=lambda line: print(line, flush=True))
        for name, last in outcome.failed.items():
            print(f"not finished: {name}: {last}", file=sys.stderr)
        for name in outcome.elsewhere:
            print(f"not finished: {name}: another process is training it", file=sys.stderr)
        missing = bool(outcome.failed or outcome.elsewhere)
    if args.report:
        write_report(args.results, args.page, args.readme)
        models = args.page.with_name("models.md")
        write_models_page(args.results, models)
        print(f"wrote {args.page}, {models} and the results in {args.readme}")
    return int(missing)


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """The hyper-parameters of `--set`; numbers, true and false are read as JSON, anything else is text."""
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"`--set` takes NAME=VALUE. Received: {text}")
        try:
            changes[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            changes[name.replace("-", "_")] = value
    return changes


if __name__ == "__main__":
    sys.exit(main())
