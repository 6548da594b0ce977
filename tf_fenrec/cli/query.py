"""`fenrec-query`: asks a server which items to recommend to a user with a given history."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.errors import InputError

if TYPE_CHECKING:
    from tf_fenrec.serving import Recommendation


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-query", description=__doc__)
    this.add_argument(
        "--history",
        required=True,
        metavar="IDS",
        help='item ids in time order, such as "a,b,c"; may be empty',
    )
    this.add_argument("--k", type=int, default=10, help="how many items (default: %(default)s)")
    this.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT", help="(default: %(default)s)")
    this.add_argument("--model", default="fenrec", help="the exported name (default: %(default)s)")
    this.add_argument("--include-seen", action="store_true", help="recommend items of the history too")
    this.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Prints the recommendations for one history."""
    args = parser().parse_args(argv)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to say comes as an error too

    import_tensorflow()
    import grpc

    from tf_fenrec.serving import Client

    with Client(args.server, args.model) as client:
        try:
            history = _history(args.history, client.id_type)
            [answer] = client.recommend([history], args.k, exclude_seen=not args.include_seen)
        except grpc.RpcError as error:
            details = " ".join(error.details().split())  # one line
            raise InputError(f"{args.server}: {error.code().name}: {details}") from error
    print(json.dumps(asdict(answer), ensure_ascii=False) if args.json else _table(answer))
    return 0


def _history(text: str, id_type: type[str] | type[int]) -> list:
    ids = [raw.strip() for raw in text.split(",") if raw.strip()]
    try:
        return [id_type(raw) for raw in ids]
    except ValueError as error:
        raise InputError(f"`--history` should be integers for this model. Received: {text!r}") from error


def _table(answer: Recommendation) -> str:
    lines = []
    if answer.unknown:
        lines.append(f"{answer.unknown} unknown id(s) skipped")
    if answer.fallback:
        lines.append("no known item in the history: the most popular items")
    rows = [["rank", "id", "score", "name"]]
    for rank, item in enumerate(answer.items, start=1):
        rows.append([str(rank), str(item.id), f"{item.score:.4f}", item.name or ""])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    named = any(item.name is not None for item in answer.items)
    for rank_, id_, score, name in rows:
        line = f"{rank_:>{widths[0]}}  {id_:<{widths[1]}}  {score:>{widths[2]}}"
        lines.append(f"{line}  {name}" if named else line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
