"""The paper's analyses, and who gains from each of its ideas: a plot and its numbers for each."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_json
from tf_fenrec.paper import SWEEPS

EPILOG = """\
examples:
  analyse.py similarity --run runs/beauty-fenrec-seed0
  analyse.py lengths --run runs/toys-fenrec-seed0 runs/toys-sasrec-with-cross-entropy-seed0
  analyse.py gains --run runs/toys-fenrec-seed* runs/toys-without-*
  analyse.py sweep --parameter gamma --dataset toys

Runs that differ by the seed alone are averaged. `reproduce.py --report` shows every figure on the page.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(
        prog="fenrec-analyse",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = this.add_subparsers(dest="kind", required=True, metavar="KIND")
    similarity = kinds.add_parser("similarity", help="of negatives to the anchor over the epochs (Fig. 2)")
    similarity.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run")
    similarity.add_argument(
        "--epochs", nargs="+", type=int, default=[5, 25, 50], metavar="N", help="whose distributions are shown"
    )
    for kind, text in (
        ("lengths", "NDCG@20 by sequence length (Fig. 4)"),
        ("uniformity", "item uniformity against NDCG@20 (Fig. 5)"),
        ("gains", "which users and items gain from soft labels and from enduring negatives"),
    ):
        one = kinds.add_parser(kind, help=text)
        one.add_argument("--run", type=Path, nargs="+", required=True, metavar="DIR", help="finished runs, one dataset")
        one.add_argument("--dataset", help="where the runs' dataset is now, if its path has changed")
        one.add_argument("--data-dir", type=Path, help="where benchmark files lie (else $FENREC_DATA_DIR, the cache)")
    sweep = kinds.add_parser("sweep", help="HR@20 and NDCG@20 against one hyper-parameter (Fig. 6)")
    sweep.add_argument("--parameter", choices=SWEEPS, required=True, help="which")
    sweep.add_argument("--dataset", required=True, help="its name")
    sweep.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="the runs' (%(default)s)")
    for one in kinds.choices.values():
        if one is not similarity:
            one.add_argument(
                "--protocol", choices=("paper", "strict"), default="paper", help="of evaluation (%(default)s)"
            )
        one.add_argument(
            "--out", type=Path, default=Path("results/analysis"), metavar="DIR", help="where to write (%(default)s)"
        )
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Writes the plot and the numbers."""
    args = parser().parse_args(argv)
    import_tensorflow()
    from tf_fenrec.analysis import figures

    kinds: dict[str, tuple[Callable[[argparse.Namespace], dict[str, Any]], Callable]] = {
        "similarity": (_similarity, figures.similarity_figure),
        "lengths": (_lengths, figures.length_figure),
        "uniformity": (_uniformity, figures.uniformity_figure),
        "gains": (_gains, figures.gains_figure),
        "sweep": (_sweep, figures.sweep_figure),
    }
    measure, draw = kinds[args.kind]
    numbers = measure(args)
    protocol = "strict" if getattr(args, "protocol", "paper") == "strict" else ""  # of its own, beside the paper's
    name = re.sub(r"[^a-z0-9_]+", "-", f"{args.kind}-{numbers['about']}-{protocol}".lower()).strip("-")
    write_json(args.out / f"{name}.json", numbers)
    figures.save(draw(numbers), args.out / f"{name}.png")
    print(f"{numbers['title']}: {args.out / name}.png and .json")
    return 0


def _similarity(args: argparse.Namespace) -> dict[str, Any]:
    from tf_fenrec.analysis.similarity import FILE, curves, read_similarity
    from tf_fenrec.systems.fenrec import FENRecConfig
    from tf_fenrec.training.run import Run

    run = Run(args.run)
    config, lines = run.config(), read_similarity(args.run / FILE)
    if not isinstance(config, FENRecConfig):
        raise InputError(f"`--run` must be of FENRec. Received: {args.run}, of {config.model}")
    if not lines:
        raise InputError(f"{args.run}: has no {FILE}: nothing was measured while it was trained")
    measured = [line["epoch"] for line in lines]
    chosen = [epoch for epoch in args.epochs if epoch in measured]
    if not chosen:
        raise InputError(
            f"`--epochs` must name measured ones, {measured[0]} to {measured[-1]}. Received: {args.epochs}"
        )
    return {
        "title": f"Similarity of negatives to the anchor over training: {args.run.name} (Fig. 2)",
        "about": args.run.name,
        "caption": "Inner products of the anchors of one fixed batch of training examples with their negatives as the "
        "contrast sees them (with dropout; rows with the same target are no negatives), and with the enduring "
        "negatives made of the same pairs, which are trained on only after the warm-up.",
        "warm_up_epochs": config.warm_up_epochs,
        "curves": curves(lines),
        "histograms": [line for line in lines if line["epoch"] in chosen],
    }


def _lengths(args: argparse.Namespace) -> dict[str, Any]:
    from tf_fenrec.analysis.measures import length_lines, open_runs

    runs = open_runs(args.run, args.dataset, args.data_dir)
    name = _name(runs[0].dataset.name)
    return {
        "title": f"NDCG@20 by sequence length: {name} (Fig. 4)",
        "about": name,
        "caption": f"Test split, `{args.protocol}` protocol; n counts all of a user's interactions.",
        **length_lines(runs, args.protocol),
    }


def _uniformity(args: argparse.Namespace) -> dict[str, Any]:
    from tf_fenrec.analysis.measures import open_runs, uniformity_points

    runs = open_runs(args.run, args.dataset, args.data_dir)
    name = _name(runs[0].dataset.name)
    return {
        "title": f"Item uniformity and NDCG@20: {name} (Fig. 5)",
        "about": name,
        "caption": "The logarithm of the mean of exp(-2 |x - y|^2) over all pairs of different items' unit-length "
        f"vectors, as DuoRec defines it, and NDCG@20 on the test split, `{args.protocol}` protocol.",
        "points": uniformity_points(runs, args.protocol),
    }


def _gains(args: argparse.Namespace) -> dict[str, Any]:
    from tf_fenrec.analysis.measures import RESAMPLES, gains, open_runs

    runs = open_runs(args.run, args.dataset, args.data_dir)
    name = _name(runs[0].dataset.name)
    return {
        "title": f"Who gains from soft labels and from enduring negatives: {name}",
        "about": name,
        "caption": "FENRec against the run without the idea, user by user on the test split "
        f"(`{args.protocol}` protocol): mean gain of each group, with the 95% interval of a paired bootstrap over its "
        f"users ({RESAMPLES:,} resamples; it holds the users' chance, not that of the training). Popularity counts the "
        "target in all training parts. Novelty of the target: repeated (the user had it), next (somebody's training "
        "part has it directly after the user's last item), soon (two or three places after it), together (in a "
        "training part with an item of the history), apart (none of these).",
        **gains(runs, args.protocol),
    }


def _sweep(args: argparse.Namespace) -> dict[str, Any]:
    from tf_fenrec.analysis.measures import sweep_points
    from tf_fenrec.analysis.results import read_results

    points = sweep_points(list(read_results(args.results).values()), args.dataset, args.parameter, args.protocol)
    if not points:
        raise InputError(f"{args.results}: no run of {args.dataset} with the preset, or with another {args.parameter}")
    return {
        "title": f"Performance by {args.parameter.replace('_', ' ')}: {args.dataset} (Fig. 6)",
        "about": f"{args.parameter}-{args.dataset}",
        "caption": f"The other hyper-parameters are the preset's; test split, `{args.protocol}` protocol, mean and "
        "deviation over seeds.",
        "parameter": args.parameter,
        "points": points,
    }


def _name(dataset: str) -> str:
    """A dataset's name, without the folder and ending of a path."""
    return Path(dataset).stem


if __name__ == "__main__":
    sys.exit(main())
