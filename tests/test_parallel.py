from __future__ import annotations

import threading
import time

import pytest

from tf_fenrec.parallel import AT_ONCE, parallel_map


@pytest.mark.parametrize("count", [0, 1, AT_ONCE - 1, AT_ONCE, 10])
def test_all_results_in_order(count: int) -> None:
    def slower_at_first(number: int) -> int:
        time.sleep(0.002 * (count - number))
        return number * number

    assert list(parallel_map(slower_at_first, iter(range(count)))) == [number * number for number in range(count)]


def test_few_are_under_way_at_once() -> None:
    together = threading.Barrier(AT_ONCE, timeout=30)
    taken: list[int] = []

    def items() -> object:
        for number in range(2 * AT_ONCE):
            taken.append(number)
            yield number

    results = parallel_map(lambda _: together.wait(), items())
    next(results)  # passes the barrier only where as many threads wait at it
    assert len(taken) == AT_ONCE  # no item is taken, and held, before its time
    together.abort()
    results.close()


def test_a_failure_reaches_the_caller() -> None:
    results = parallel_map(lambda number: 6 // number, [3, 0, 2])
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        next(results)
