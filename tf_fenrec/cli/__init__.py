"""Command-line tools: they parse, call the library and print."""

from __future__ import annotations

import errno
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

from tf_fenrec.errors import InputError

QUIET = "2"


def import_tensorflow() -> None:
    """Imports TensorFlow without what it has to say about itself.

    It writes half a dozen lines to stderr before its log level counts. Set TF_CPP_MIN_LOG_LEVEL to see them.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", QUIET) != QUIET:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = QUIET  # child processes inherit it, and are to be as quiet
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for accelerators, and says what it misses
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Turns what the user can cause into one line on stderr and an exit status.

    `InputError` and failures of the file system (no such file, no permission, disk full) exit with 2, Ctrl-C with
    130. Anything else is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            if error.errno is None:
                raise
            what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            print(f"error: {error.filename or 'file system'}: {what}", file=sys.stderr)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        return 2

    return run
