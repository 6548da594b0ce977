"""Trains FENRec, or with other hyper-parameters its relatives, and prints the test metrics."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.config import PRESETS, Config
from tf_fenrec.data import load
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_json
from tf_fenrec.training.run import Run

EPILOG = """\
examples:
  train.py --dataset sports                       the paper's setting on a benchmark
  train.py --dataset sports --gamma 0             without soft labels
  train.py --dataset sports --no-hard-negatives   without enduring hard negatives
  train.py --dataset sports --coarse-weight 0 --fine-weight 0 --gamma 0     SASRec with cross-entropy
  train.py --run runs/sports-1 --resume           go on after an interruption
"""


def parser() -> argparse.ArgumentParser:
    """The command line; every field of `Config` is an option."""
    this = argparse.ArgumentParser(
        prog="fenrec-train",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    this.add_argument("--dataset", help="beauty, sports, toys, yelp, demo, or the path of a dataset")
    this.add_argument("--data-dir", type=Path, help="where benchmark files lie (else $FENREC_DATA_DIR, the cache)")
    this.add_argument("--run", type=Path, metavar="DIR", help="run directory (default: the next runs/DATASET-N)")
    this.add_argument("--resume", action="store_true", help="go on with --run, or with the newest run of --dataset")
    this.add_argument("--results", type=Path, metavar="DIR", help="also write the result there, named after the run")
    this.add_argument("--preset", choices=PRESETS, help="hyper-parameters to start from (default: the dataset's)")
    group = this.add_argument_group("hyper-parameters")
    hints = typing.get_type_hints(Config)
    for option in dataclasses.fields(Config):
        kind = hints[option.name]
        settings: dict[str, Any] = {"help": f"{option.metadata['help']} ({option.default})", "default": None}
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is typing.Literal:
            settings["choices"] = typing.get_args(kind)
        else:
            settings |= {"type": kind, "metavar": kind.__name__.upper()}
        group.add_argument("--" + option.name.replace("_", "-"), **settings)
    return this


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments, and the hyper-parameters among them that were given."""
    this = parser()
    args, unknown = this.parse_known_args(argv)
    if unknown:
        known = [text for action in this._actions for text in action.option_strings if text.startswith("--")]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=3, cutoff=0.4)
        raise InputError(f"unknown argument {unknown[0]}. Nearest: {', '.join(near) or 'see --help'}")
    names = [option.name for option in dataclasses.fields(Config)]
    return args, {name: getattr(args, name) for name in names if getattr(args, name) is not None}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Trains and prints the test metrics beside the paper's and the baselines'."""
    args, given = parse(argv)
    if not args.dataset and not (args.resume and args.run):
        raise InputError("`--dataset` is needed: beauty, sports, toys, yelp, demo, or the path of a dataset")

    if args.resume:
        dataset = load(args.dataset or Run(args.run).dataset()["name"], args.data_dir)
        run = Run(args.run or _newest_run(dataset.name))
        config = run.config()
        if args.preset:
            raise InputError(f"`--preset` can't be given with --resume. Received: {args.preset}")
        for name, value in given.items():
            if value != getattr(config, name):
                raise InputError(
                    f"`--{name.replace('_', '-')}` can't change on --resume: the run has {getattr(config, name)}. "
                    f"Received: {value}"
                )
    else:
        dataset = load(args.dataset, args.data_dir)
        base = PRESETS[args.preset] if args.preset else PRESETS.get(dataset.name, {})
        config = Config.from_dict(base | given)
        run = Run(args.run or _next_run(dataset.name))
    import_tensorflow()
    from tf_fenrec.analysis.similarity import SimilarityLog
    from tf_fenrec.training.trainer import train

    print(
        f"{dataset.name}: {dataset.num_users:,} users, {dataset.num_items:,} items, "
        f"{len(dataset.items):,} interactions -> {run.directory}",
        flush=True,
    )
    callbacks = [SimilarityLog(config, dataset, run)] if config.contrasts else []
    result = train(config, dataset, run, args.resume, say=lambda line: print(line, flush=True), callbacks=callbacks)
    if args.results:
        write_json(args.results / f"{run.directory.name}.json", result)
    from tf_fenrec.evaluation import baseline_metrics, paper_row
    from tf_fenrec.evaluation.table import table

    selection = result["selection"]
    print(f"best validation NDCG@20 in epoch {selection['epoch']} of {selection['epochs']}; test split:")
    rows = {"this run": result["test"]["paper"]}
    if paper := paper_row(dataset.name, config):
        rows["paper"] = paper
    print(table(rows | baseline_metrics(dataset, "test")))
    print(f"next: fenrec-export --run {run.directory} --to models")
    return 0


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-") or "run"


def _numbered_runs(name: str) -> dict[int, Path]:
    found = {}
    for path in Path("runs").glob(f"{_stem(name)}-*"):
        number = path.name.removeprefix(f"{_stem(name)}-")
        if number.isdecimal():
            found[int(number)] = path
    return found


def _next_run(name: str) -> Path:
    return Path("runs", f"{_stem(name)}-{max(_numbered_runs(name), default=0) + 1}")


def _newest_run(name: str) -> Path:
    runs = _numbered_runs(name)
    if not runs:
        raise InputError(f"`--resume` found no run of {name} in runs/. Give its directory with --run")
    return runs[max(runs)]


if __name__ == "__main__":
    sys.exit(main())
