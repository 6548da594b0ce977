"""The whole path on the built-in shop: train, evaluate, export, serve, query."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tf_fenrec.cli import command
from tf_fenrec.errors import InputError

HISTORY = "basmati-rice,tent-pegs,red-lentils,sleeping-bag"  # cooking and camping in turn


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the commands of the README one after the other, each a process of its own."""
    parser = argparse.ArgumentParser(prog="fenrec-demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-run"), help="where to write (default: %(default)s)")
    out = parser.parse_args(argv).out
    taken = [int(path.name) for path in out.glob("*") if path.name.isdecimal()]
    run = out / str(1 + max(taken, default=0))
    models = run / "models"
    began = time.monotonic()
    _step("train", "--dataset", "demo", "--run", str(run))
    _step("evaluate", "--run", str(run), "--split", "test", "--protocol", "strict")
    _step("export", "--run", str(run), "--to", str(models))
    with subprocess.Popen(_command("serve", "--models", str(models), "--port", "0"), stdout=subprocess.PIPE) as server:
        try:
            address = _address(server)
            print(f"user history: {HISTORY.replace(',', ', ')}", flush=True)
            _step("query", "--server", address, "--history", HISTORY, "--k", "8")
        finally:
            server.terminate()
    print(f"\nthe demo took {time.monotonic() - began:.0f} s; everything it wrote is in {run}")
    return 0


def _command(name: str, *arguments: str) -> list[str]:
    print(f"\n$ fenrec-{name} {' '.join(arguments)}", flush=True)
    return [sys.executable, "-m", f"tf_fenrec.cli.{name}", *arguments]


def _step(name: str, *arguments: str) -> None:
    if subprocess.run(_command(name, *arguments)).returncode:
        raise InputError(f"the demo stopped: fenrec-{name} failed")


def _address(server: subprocess.Popen[bytes]) -> str:
    """The address the server prints when it listens."""
    assert server.stdout is not None
    for line in server.stdout:
        print(line.decode().rstrip(), flush=True)
        if line.startswith(b"listening on "):
            return line.decode().split()[-1]
    raise InputError("the demo stopped: fenrec-serve failed")


if __name__ == "__main__":
    sys.exit(main())
