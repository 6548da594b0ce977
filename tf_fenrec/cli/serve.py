"""`fenrec-serve`: serves exported models over gRPC and REST, for development, the demo and tests.

In production the official TensorFlow Serving image serves the same directory. Options that it has too have the
names that it gives them.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tf_fenrec.cli import command, import_tensorflow
from tf_fenrec.errors import InputError

UI_PORT = 8501
WAITS = ("file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    this = argparse.ArgumentParser(prog="fenrec-serve", description=__doc__)
    source = this.add_mutually_exclusive_group(required=True)
    source.add_argument("--models", type=Path, metavar="DIR", help="serve the latest of NAME/VERSION in it")
    source.add_argument("--model_config_file", type=Path, metavar="FILE", help="serve what a ModelServerConfig says")
    this.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    this.add_argument("--port", type=int, default=8500, help="of gRPC; 0 chooses a free one (default: %(default)s)")
    this.add_argument("--rest_api_port", type=int, help="of the REST API; 0 chooses a free one (default: no REST API)")
    this.add_argument("--ui", action="store_true", help=f"a page to look at, on the REST port (default: {UI_PORT})")
    this.add_argument(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="between looks for new versions; 0 is for never (default: %(default)s)",
    )
    this.add_argument(
        "--model_config_file_poll_wait_seconds",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="between looks for a changed config; 0 is for never (default: %(default)s)",
    )
    this.add_argument(
        "--allow_version_labels_for_unavailable_models",
        action="store_true",
        help="a new label may be of a version that isn't loaded yet, as all are at the start",
    )
    this.add_argument("--ssl_config_file", type=Path, metavar="FILE", help="TLS for gRPC, as an SSLConfig says")
    this.add_argument("--monitoring_config_file", type=Path, metavar="FILE", help="metrics, as a MonitoringConfig says")
    this.add_argument("--max-seconds", type=float, default=30.0, help="a request may run (default: %(default)s)")
    this.add_argument("--max-waiting", type=int, default=256, help="requests may wait (default: %(default)s)")
    this.add_argument("--grace", type=float, default=5.0, help="seconds to end requests in (default: %(default)s)")
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

    from tf_fenrec.serving.configs import read_credentials, read_metrics_path, read_model_config
    from tf_fenrec.serving.models import Repeated
    from tf_fenrec.serving.server import Limits, Server

    tf.get_logger().setLevel("ERROR")  # loading through a session is called deprecated; the real server does it
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("tf_fenrec.serving").setLevel(logging.INFO)

    gc.freeze()  # what is imported stays: a swap then collects a model only, in milliseconds
    path = args.model_config_file
    config = None if path is None else read_model_config(path)
    rest_port = UI_PORT if args.ui and args.rest_api_port is None else args.rest_api_port
    if args.monitoring_config_file and rest_port is None:
        raise InputError(
            "`--monitoring_config_file` should be given with `--rest_api_port`, where the metrics are. "
            f"Received: {args.monitoring_config_file} without a REST port"
        )
    for option, value, rule, holds in (
        ("--port", args.port, "from 0 to 65535", 0 <= args.port < 2**16),
        ("--rest_api_port", rest_port, "from 0 to 65535", 0 <= (rest_port or 0) < 2**16),
        ("--max-seconds", args.max_seconds, "positive", args.max_seconds > 0),
        ("--max-waiting", args.max_waiting, "positive", args.max_waiting > 0),
        *((f"--{name}", vars(args)[name], "0 or more", vars(args)[name] >= 0) for name in WAITS),
    ):
        if not holds:
            raise InputError(f"`{option}` should be {rule}. Received: {value}")
    server = Server(
        args.models if config is None else config,
        args.host,
        args.port,
        rest_port,
        args.file_system_poll_wait_seconds,
        read_credentials(args.ssl_config_file) if args.ssl_config_file else None,
        read_metrics_path(args.monitoring_config_file) if args.monitoring_config_file else None,
        args.ui,
        args.allow_version_labels_for_unavailable_models,
        Limits(seconds=args.max_seconds, waiting=args.max_waiting),
    )
    follower = None
    if path is not None and args.model_config_file_poll_wait_seconds > 0:

        def follow() -> None:
            nonlocal config
            changed = read_model_config(path)
            if changed != config:
                server.reload(changed)
                config = changed

        follower = Repeated(args.model_config_file_poll_wait_seconds, follow)
    for name, version in server.versions.items():
        print(f"model {name} version {version}")
    print("a development server: use the official TensorFlow Serving image in production")
    if server.rest_port is not None:
        print(f"REST on http://{args.host}:{server.rest_port}")
    if args.ui:
        print(f"page on http://{args.host}:{server.rest_port}/")
    print(f"listening on {args.host}:{server.port}", flush=True)
    stopping.wait()
    if follower is not None:
        follower.stop()
    server.stop(args.grace)
    print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
