"""Trains a system, FENRec unless another is named, and prints the test metrics."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.config import Config
from tf_fenrec.data import DATASETS, SequenceDataset, load
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_json
from tf_fenrec.systems import DEFAULT, SYSTEMS, configure, system, system_of
from tf_fenrec.training.run import Run

if TYPE_CHECKING:
    import keras

    from tf_fenrec.systems.base import SequenceModel

EPILOG = """\
examples:
  train.py --dataset sports                       the paper's setting on a benchmark
  train.py --dataset sports --gamma 0             without soft labels
  train.py --dataset sports --no-hard-negatives   without enduring hard negatives
  train.py --model sasrec --dataset sports        another system; --model alone lists all, with --help its options
  train.py --run runs/sports-1 --resume           go on after an interruption
"""


def parser(kind: type[SequenceModel]) -> argparse.ArgumentParser:
    """The command line of a system; every field of its configuration is an option."""
    this = argparse.ArgumentParser(
        prog="fenrec-train",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    this.add_argument(
        "--model", nargs="?", const="", default=DEFAULT, metavar="NAME",
        help=f"the system ({DEFAULT}), or `module:Class` of your own; without a name: lists them",
    )  # fmt: skip
    this.add_argument("--dataset", help=f"{', '.join(DATASETS)}, or the path of a dataset")
    this.add_argument("--data-dir", type=Path, help="where benchmark files lie (else $FENREC_DATA_DIR, the cache)")
    this.add_argument("--run", type=Path, metavar="DIR", help="run directory (default: the next runs/DATASET-N)")
    this.add_argument("--resume", action="store_true", help="go on with --run, or with the newest run of --dataset")
    this.add_argument("--results", type=Path, metavar="DIR", help="also write the result there, named after the run")
    this.add_argument(
        "--preset",
        help=f"hyper-parameters to start from: {', '.join(kind.presets) or 'none'}, or a dataset's name "
        f"(default: {next(iter(kind.presets), 'the defaults')}, with the dataset's settings)",
    )
    this.add_argument(
        "--callback", action="append", default=[], metavar="MODULE:CLASS",
        help="a Keras callback; it is given those of `config`, `dataset` and `run` that it takes; repeatable",
    )  # fmt: skip
    group = this.add_argument_group(f"hyper-parameters of {kind.__name__}")
    hints = typing.get_type_hints(kind.config_class)
    for one in dataclasses.fields(kind.config_class):
        of_type = hints[one.name]
        settings: dict[str, Any] = {"help": f"{one.metadata['help']} ({one.default})", "default": None}
        if of_type is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(of_type) is typing.Literal:
            settings["choices"] = typing.get_args(of_type)
        else:
            settings |= {"type": of_type, "metavar": of_type.__name__.upper()}
        names = [one.name, *(old for old, new in kind.config_class.aliases.items() if new == one.name)]
        group.add_argument(*("--" + name.replace("_", "-") for name in names), dest=one.name, **settings)
    return this


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments, and the hyper-parameters among them that were given."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model", nargs="?", const="", default=None)
    first.add_argument("--run", type=Path)
    first.add_argument("--resume", action="store_true")
    begun, _ = first.parse_known_args(argv)
    import_tensorflow()
    name = begun.model
    if name is None and begun.resume and begun.run:
        name = Run(begun.run).config().model
    this = parser(system(name or DEFAULT))
    args, unknown = this.parse_known_args(argv)
    args.model = name if name is not None else DEFAULT
    if unknown:
        known = [text for action in this._actions for text in action.option_strings if text.startswith("--")]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=3, cutoff=0.4)
        raise InputError(f"unknown argument {unknown[0]}. Nearest: {', '.join(near) or 'see --help'}")
    names = system(name or DEFAULT).config_class.names()
    return args, {name: getattr(args, name) for name in names if getattr(args, name) is not None}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Trains and prints the test metrics beside the paper's and the baselines'."""
    args, given = parse(argv)
    if not args.model:
        width = max(map(len, SYSTEMS))
        for name in SYSTEMS:
            doc = inspect.getdoc(system(name)) or ""
            print(f"{name:<{width}}  {doc.splitlines()[0]}")
        return 0
    if not args.dataset and not (args.resume and args.run):
        raise InputError(f"`--dataset` is needed: {', '.join(DATASETS)}, or the path of a dataset")

    preset = None
    if args.resume:
        if args.preset:
            raise InputError(f"`--preset` can't be given with --resume. Received: {args.preset}")
        run = Run(args.run or _newest_run(load(args.dataset, args.data_dir).name))
        dataset = run.load_dataset(args.dataset, args.data_dir)
        before = run.config()
        if system_of(before) is not system(args.model):
            if "--model" in (argv if argv is not None else sys.argv):
                raise InputError(
                    f"`--model` can't change on --resume: the run has {before.model}. Received: {args.model}"
                )
            return main([*(argv if argv is not None else sys.argv[1:]), "--model", str(before.model)])
        config = before.replace(**given)
    else:
        dataset = load(args.dataset, args.data_dir)
        preset = args.preset or next(iter(system(args.model).presets), None)
        config = configure(args.model, dataset.name, args.preset, **given)
        run = Run(args.run) if args.run else _claim_run(dataset.name)
    from tf_fenrec.training.trainer import add_up_in_a_fixed_order, train

    add_up_in_a_fixed_order(config.jit, print)
    print(
        f"{dataset.name}: {dataset.num_users:,} users, {dataset.num_items:,} items, "
        f"{len(dataset.items):,} interactions -> {run.directory}",
        flush=True,
    )
    callbacks = [_callback(place, config, dataset, run) for place in args.callback]
    try:
        result = train(
            config, dataset, run, args.resume, lambda line: print(line, flush=True), callbacks=callbacks, preset=preset
        )
    finally:
        if not run.config_file.exists():
            run.remove_if_empty()
    if args.results:
        write_json(args.results / f"{run.directory.name}.json", result)
    from tf_fenrec.evaluation import baseline_metrics, paper_row
    from tf_fenrec.evaluation.table import table

    selection = result["selection"]
    metric = selection["metric"].removeprefix("val_").upper()
    print(f"best validation {metric} in epoch {selection['epoch']} of {selection['epochs']}; test split:")
    rows = {"this run": result["test"]["paper"]}
    if paper := paper_row(dataset.name, config):
        rows["paper" if _as_published(config, preset or run.preset(), dataset.name) else "paper, other settings"] = (
            paper
        )
    print(table(rows | baseline_metrics(dataset, "test")))
    print(f"next: fenrec-export --run {run.directory} --to models")
    return 0


def _as_published(config: Config, preset: str | None, dataset: str) -> bool:
    """Whether a configuration is that of the paper's row, whatever the seed."""
    from tf_fenrec.paper import ABLATIONS

    assert config.model is not None  # it was trained
    if config.row in ABLATIONS:
        model, preset, changes = ABLATIONS[config.row]
        return config == configure(model, dataset, preset, **changes, seed=config.seed)
    return config == configure(config.model, dataset, preset, seed=config.seed)


def _callback(place: str, config: Config, dataset: SequenceDataset, run: Run) -> keras.callbacks.Callback:
    module, _, name = place.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"`--callback` must be MODULE:CLASS of a Keras callback. Received: {place} ({error})"
        ) from None
    offered = {"config": config, "dataset": dataset, "run": run}
    taken = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in offered.items() if name in taken})


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-") or "run"


def _numbered_runs(name: str) -> dict[int, Path]:
    found = {}
    for path in Path("runs").glob(f"{_stem(name)}-*"):
        number = path.name.removeprefix(f"{_stem(name)}-")
        if number.isdecimal():
            found[int(number)] = path
    return found


def _claim_run(name: str) -> Run:
    """The next run of a dataset; its directory is made, so that no other training takes it."""
    Path("runs").mkdir(exist_ok=True)
    number = max(_numbered_runs(name), default=0) + 1
    while True:
        directory = Path("runs", f"{_stem(name)}-{number}")
        try:
            directory.mkdir()
            return Run(directory)
        except FileExistsError:
            number += 1


def _newest_run(name: str) -> Path:
    runs = _numbered_runs(name)
    if not runs:
        raise InputError(f"`--resume` found no run of {name} in runs/. Give its directory with --run")
    return runs[max(runs)]


if __name__ == "__main__":
    sys.exit(main())
