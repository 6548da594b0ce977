"""`fenrec-export`: a trained run becomes a model that TensorFlow Serving loads."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-export", description=__doc__)
    this.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run directory of a training")
    this.add_argument("--to", type=Path, required=True, metavar="MODELS", help="the directory of all models")
    this.add_argument("--name", default="fenrec", help="the model's name (default: %(default)s)")
    this.add_argument("--version", type=int, help="a new integer (default: one more than the highest)")
    this.add_argument(
        "--index",
        choices=("exact", "ivf"),
        default="exact",
        help="score every item, or only lists of similar ones, for catalogues of a million (default: %(default)s)",
    )
    this.add_argument(
        "--add-items",
        type=Path,
        metavar="FILE",
        help='untrained items to add, as JSON lines: {"id": ..., "similar": [ids]}, or "vector"; maybe "name"',
    )
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Writes MODELS/NAME/VERSION from the best weights of a run."""
    args = parser().parse_args(argv)
    for name in ("config.json", "best.keras", "vocabulary.json"):
        if not (args.run / name).is_file():
            raise InputError(f"`--run` should be the directory of a training with {name}. Received: {args.run}")

    import_tensorflow()
    from tf_fenrec.data.vocabulary import Vocabulary
    from tf_fenrec.export import export_model
    from tf_fenrec.systems import load_model

    card = {"training": _read(args.run / "config.json")}
    if (args.run / "result.json").exists():
        card["result"] = _read(args.run / "result.json")
    vocabulary = Vocabulary.load(args.run / "vocabulary.json")
    model = load_model(args.run / "best.keras")
    path = export_model(model, vocabulary, args.to, args.name, args.version, card, args.index, args.add_items)
    print(path)
    return 0


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
