"""Checks of constructor arguments, which name the argument, the rule and what was received."""

from __future__ import annotations

from numbers import Integral, Real

from tf_fenrec.errors import InputError


def check_at_least(least: int, **values: int | None) -> None:
    """Raises InputError unless every value is an integer of at least `least`; None is left to the caller."""
    for name, value in values.items():
        if value is None:
            continue
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise InputError(f"`{name}` must be an integer. Received: {name}={value!r}")
        if value < least:
            raise InputError(f"`{name}` must be at least {least}. Received: {name}={value}")


def check_rate(**values: float) -> None:
    """Raises InputError unless every value is a number from 0 up to, but not, 1: the rate of a dropout."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 <= value < 1:
            raise InputError(f"`{name}` must be at least 0 and below 1. Received: {name}={value!r}")


def check_heads(dim: int, num_heads: int) -> None:
    """Raises InputError unless the width can be split among the attention heads."""
    check_at_least(1, dim=dim, num_heads=num_heads)
    if dim % num_heads:
        raise InputError(f"`dim` must be a multiple of `num_heads`. Received: dim={dim}, num_heads={num_heads}")
