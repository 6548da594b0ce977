"""`fenrec-serve`: serves exported models over gRPC, for development, the demo and tests.

In production the official TensorFlow Serving image serves the same directory.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tf_fenrec.cli import command, import_tensorflow


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-serve", description=__doc__)
    this.add_argument("--models", type=Path, required=True, metavar="DIR", help="holds NAME/VERSION directories")
    this.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    this.add_argument("--port", type=int, default=8500, help="0 chooses a free one (default: %(default)s)")
    return this


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM, then ends the requests in progress."""
    args = parser().parse_args(argv)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to say comes as an error too

    import_tensorflow()
    import tensorflow as tf

    from tf_fenrec.serving.server import Server

    tf.get_logger().setLevel("ERROR")  # loading through a session is called deprecated; the real server does it
    with Server(args.models, args.host, args.port) as server:
        for name, version in server.versions.items():
            print(f"model {name} version {version}")
        print("a development server: use the official TensorFlow Serving image in production")
        print(f"listening on {args.host}:{server.port}", flush=True)
        stopping.wait()
    print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
