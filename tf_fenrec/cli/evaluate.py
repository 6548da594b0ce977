"""Evaluates the best model of a run by full ranking."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tf_fenrec.cli import command, import_tensorflow


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-evaluate", description=__doc__)
    this.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run directory of a training")
    this.add_argument("--split", choices=("valid", "test"), default="valid", help="which held-out item (%(default)s)")
    this.add_argument(
        "--protocol",
        choices=("paper", "strict"),
        default="paper",
        help="paper: seen items score 0 and special rows are candidates; strict: neither can be recommended",
    )
    this.add_argument("--by-length", action="store_true", help="also for groups of users by sequence length")
    this.add_argument("--dataset", help="where the run's dataset is now, if its path has changed")
    this.add_argument("--data-dir", type=Path, help="where benchmark files lie (else $FENREC_DATA_DIR, the cache)")
    this.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Prints the metrics."""
    args = parser().parse_args(argv)

    import_tensorflow()
    from tf_fenrec.evaluation import paper_row, rank_users
    from tf_fenrec.evaluation.table import table
    from tf_fenrec.systems import load_model
    from tf_fenrec.training.run import Run

    run = Run(args.run)
    config = run.config()
    dataset = run.load_dataset(args.dataset, args.data_dir)
    model = load_model(run.best_file)
    ranking = rank_users(model, dataset, args.split, args.protocol)
    rows = {"all users": ranking.metrics()}
    paper = paper_row(dataset.name, config)
    if paper and (args.split, args.protocol) == ("test", "paper"):
        rows["paper"] = paper
    if args.by_length:
        rows |= ranking.metrics_by_length(dataset.lengths)
    print(json.dumps(rows, indent=2) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
