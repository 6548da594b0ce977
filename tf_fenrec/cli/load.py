"""`fenrec-load`: puts a server under load and says how long its answers take.

Requests arrive at random moments (a Poisson process), whether or not earlier ones are answered, and latency counts
from the moment of arrival. Only a server on this machine is asked unless you allow another.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from tf_fenrec.cli import command
from tf_fenrec.cli.connection import add_server_options, connection, server_errors
from tf_fenrec.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-load", description=__doc__)
    how = this.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float, metavar="N", help="requests a second")
    how.add_argument("--saturate", action="store_true", help="find the highest rate that the server keeps up with")
    this.add_argument(
        "--seconds", type=float, metavar="S", help="of load (default: 10), or at each rate of --saturate (default: 3)"
    )
    this.add_argument("--requests", type=int, metavar="N", help="at most so many (default: 100000), with --rate")
    this.add_argument(
        "--mix",
        default="recommend",
        metavar="KINDS",
        help="such as recommend:1=9,recommend:32=1,score,embed: signature:histories=weight (default: %(default)s)",
    )
    this.add_argument("--seed", type=int, default=0, help="of arrivals and histories (default: %(default)s)")
    this.add_argument(
        "--attempts", type=int, default=1, help="how often an UNAVAILABLE request is made (default: %(default)s)"
    )
    this.add_argument("--allow-remote", action="store_true", help="the server may be another machine")
    this.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_server_options(this)
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Prints what was measured; exits with 1 if a request failed."""
    args = parser().parse_args(argv)
    if args.saturate and args.requests is not None:
        raise InputError(f"`--requests` can't be given with --saturate. Received: {args.requests}")
    seconds = args.seconds if args.seconds is not None else 3.0 if args.saturate else 10.0
    with server_errors(args.server):
        from tf_fenrec.serving.load import Kind, Load

        mix = [Kind.parse(text) for text in args.mix.split(",")]
        options = {"seed": args.seed, "attempts": args.attempts, "allow_remote": args.allow_remote}
        with Load(mix=mix, **options, **connection(args)) as load:
            if args.saturate:
                steps: list[dict[str, Any]] = []
                rate = load.saturation(seconds, report=steps.append)
                if args.json:
                    print(json.dumps({"saturation_rate": rate, "steps": steps}))
                else:
                    print("\n".join([_table(step) for step in steps] + [f"saturation: {rate:.0f} requests a second"]))
                return 0
            result = load.run(args.rate, seconds, 100_000 if args.requests is None else args.requests)
    print(json.dumps(result) if args.json else _table(result))
    return 1 if result["errors"] else 0


def _table(result: dict[str, Any]) -> str:
    errors = ", ".join(f"{count} {code}" for code, count in result["errors"].items()) or "no errors"
    lines = [
        f"{result['rate']:.0f} requests a second for {result['seconds']:.1f} s: "
        f"{result['answered']} of {result['sent']} answered, {errors}"
    ]
    lines.append(f"{'ms':<16}{'requests':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for name, row in [("all", result["latency_ms"]), *result["kinds"].items()]:
        figures = (row[key] for key in ("p50", "p95", "p99", "max"))
        cells = "".join(f"{'-':>9}" if figure is None else f"{figure:>9.1f}" for figure in figures)
        lines.append(f"{name:<16}{row['count']:>9}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
