"""Work that overlaps."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """function(item) of each item, in order.

    A few are under way at once, in threads: while one is packed, or waits for the slowest thread of a product, others
    keep the cores busy. Items are taken no earlier than that.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            under_way.append(threads.submit(function, item))
            if len(under_way) == AT_ONCE:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def usable_cores() -> int:
    """The processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
