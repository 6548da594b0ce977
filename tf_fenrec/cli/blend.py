"""Blends finished runs of one dataset, and counts beside them, into a run that evaluates, exports and serves."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_json


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-blend", description=__doc__, allow_abbrev=False)
    this.add_argument("--runs", type=Path, nargs="+", required=True, metavar="RUN", help="finished runs")
    this.add_argument("--run", type=Path, required=True, metavar="DIR", help="run directory of the blend")
    this.add_argument(
        "--counts", action=argparse.BooleanOptionalAction, default=True, help="counted co-occurrence beside them (yes)"
    )
    this.add_argument("--results", type=Path, metavar="DIR", help="also write the result there, named after the run")
    this.add_argument("--data-dir", type=Path, help="where benchmark files lie (else $FENREC_DATA_DIR, the cache)")
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Chooses the weights on validation, writes the run, and reads the test split once."""
    args = parser().parse_args(argv)
    import_tensorflow()
    from tf_fenrec.evaluation import baseline_metrics
    from tf_fenrec.evaluation.table import table
    from tf_fenrec.systems import evaluation_batches, load_model, preset
    from tf_fenrec.systems.blend import choose_blend
    from tf_fenrec.systems.cooccurrence import Cooccurrence
    from tf_fenrec.training.run import Run
    from tf_fenrec.training.trainer import finish

    runs = [Run(directory) for directory in args.runs]
    names = [run.directory.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"`--runs` should name directories of different names. Received: {', '.join(names)}")
    dataset = runs[0].load_dataset(data_dir=args.data_dir)
    seconds = 0.0
    for run in runs:
        run.check_dataset(dataset)
        if (result := run.result()) is None:
            raise InputError(f"{run.directory}: the run is not finished")
        seconds += result["seconds"]
    began = time.monotonic()
    members = {name: load_model(run.best_file) for name, run in zip(names, runs, strict=True)}
    counts = None
    if args.counts:
        counts = Cooccurrence(preset("given", "cooccurrence", dataset.name), dataset.num_items)
        counts.fit(dataset)
    validation = evaluation_batches(runs[0].config(), dataset, "valid")
    blend = choose_blend(members, counts, validation, log=lambda line: print(line, flush=True))
    run = Run(args.run)
    with run.lock():
        run.create(blend.config, dataset)
        metrics = blend.evaluate(validation, verbose=0, return_dict=True)
        result = finish(run, blend, dataset, metrics, seconds + time.monotonic() - began)
    if args.results:
        write_json(args.results / f"{run.directory.name}.json", result)
    print(table({"this blend": result["test"]["paper"]} | baseline_metrics(dataset, "test")))
    print(f"next: fenrec-export --run {run.directory} --to models")
    return 0


if __name__ == "__main__":
    sys.exit(main())
