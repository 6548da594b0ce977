"""The one error a user's input can cause."""

from collections.abc import Sequence
from typing import Any


class InputError(ValueError):
    """A mistake in what the user gave: an argument, a file, a line of a file.

    The message names the argument (or the file and line), the rule, and what was received; the
    command-line tools print it without a traceback and exit with status 2.
    """


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raises InputError when the argument `name` is none of the allowed words."""
    if value not in allowed:
        raise InputError(f"`{name}` should be one of {', '.join(allowed)}. Received: {value!r}")


def above_zero(name: str, value: float) -> None:
    """Raises InputError when the argument `name` is not a positive number."""
    if not value > 0:
        raise InputError(f"`{name}` must be above 0. Received: {name}={value}")
