"""`trainers/prepare.py`: a raw log becomes a dataset directory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tf_fenrec.cli import command
from tf_fenrec.data.logs import Columns
from tf_fenrec.data.prepare import prepare
from tf_fenrec.data.reader import as_path


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, prepares the log and prints the report."""
    parser = argparse.ArgumentParser(
        prog="prepare",
        description="Prepares a raw log: k-core, time order, numbered users and items, and a report.",
        epilog="Amazon's review files: --user reviewerID --item asin --time unixReviewTime",
    )
    parser.add_argument("log", help=".csv, .tsv, .json, .jsonl or .ndjson (each also .gz), or .parquet")
    parser.add_argument("--user", required=True, help="the column that names the user")
    parser.add_argument("--item", required=True, help="the column that names the item")
    parser.add_argument("--time", required=True, help="the column with the time: a number or an ISO 8601 date")
    parser.add_argument("--out", required=True, help="the dataset directory to write; it should not exist yet")
    parser.add_argument(
        "--core",
        type=int,
        default=5,
        help="drop users and items with fewer records (default: 5; users at least 3)",
    )
    parser.add_argument("--drop-duplicates", action="store_true", help="keep only a user's first record of an item")
    options = parser.parse_args(argv)
    columns = Columns(options.user, options.item, options.time)
    report = prepare(options.log, options.out, columns, core=options.core, drop_duplicates=options.drop_duplicates)
    print(_text(report))
    print(f"written to {options.out}; train with --dataset {as_path(options.out)}")
    return 0


def _text(report: dict[str, Any]) -> str:
    """The report for reading."""
    lines = [f"{report['log']}: {report['rows']:,} records"]
    lines += [f"  - {count:,} {reason.replace('_', ' ')}" for reason, count in report["dropped"].items()]
    for number, left in enumerate(report["core_rounds"], start=1):
        what = ", ".join(f"{count:,} {name}" for name, count in left.items())
        lines.append(f"    core, round {number}: {what}")
    lengths = ", ".join(f"{name} {value:,}" for name, value in report["lengths"].items())
    lines.append(
        f"  = {report['users']:,} users, {report['items']:,} items, {report['interactions']:,} interactions, "
        f"density {report['density']:.4%}"
    )
    lines.append(f"sequence lengths: {lengths}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
