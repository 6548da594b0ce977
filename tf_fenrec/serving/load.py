"""Open-loop load: requests start when a random process says so, however slow the answers to earlier ones are.

Latency counts from the moment a request was meant to start. So a server that stalls is charged for every request that
would have come meanwhile, which a loop that waits for each answer before the next request would leave out.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from tf_fenrec.errors import InputError
from tf_fenrec.serving.channel import TLS, open_channel
from tf_fenrec.serving.client import Client
from tf_fenrec.serving.exchanges import Exchange, Exchanges

PREDICT = "/tensorflow.serving.PredictionService/Predict"

MAX_HISTORY = 50
K = 20
VARIANTS = 64
"""Different requests of each kind."""

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Kind:
    """One kind of request of a mixed load.

    Attributes:
        signature: recommend, score or embed.
        rows: histories in a request.
        weight: how often it comes, relative to other kinds.
    """

    signature: str
    rows: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.signature not in ("recommend", "score", "embed"):
            raise InputError(f"`mix` should be of recommend, score and embed. Received: {self.signature}")
        if self.rows < 1 or not 0 < self.weight < float("inf"):
            raise InputError(f"`mix` should have positive rows and weights. Received: {self}")

    def __str__(self) -> str:
        return f"{self.signature}:{self.rows}"

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Reads SIGNATURE:ROWS=WEIGHT, where ":ROWS" and "=WEIGHT" may be left out.

        Raises:
            InputError: if `text` is something else.
        """
        head, _, weight = text.strip().partition("=")
        signature, _, rows = head.partition(":")
        try:
            return cls(signature, int(rows or 1), float(weight or 1))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"`mix` should be such as recommend:32=0.5. Received: {text!r}") from error


class Load:
    """A source of load on one model.

    Args:
        target: one or several addresses, as for `Client`.
        model: the name of the model.
        mix: the kinds of requests; histories are random, of at most 50 of the first items of the catalogue.
        seed: of the arrivals and the requests.
        timeout: seconds until a request is given up.
        attempts: how often a request is made at most if the answer is UNAVAILABLE.
        allow_remote: whether the target may be another machine.
        tls: certificates; by default the connection is not encrypted.

    Raises:
        InputError: if an argument can't be used.
        OSError: if a file of `tls` can't be read.
        grpc.RpcError: if the server can't be reached or doesn't serve the model.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        model: str = "fenrec",
        mix: Sequence[Kind] = (Kind("recommend"),),
        seed: int = 0,
        timeout: float = 10.0,
        attempts: int = 1,
        allow_remote: bool = False,
        tls: TLS | None = None,
    ) -> None:
        if not mix:
            raise InputError("`mix` should name at least one kind of request. Received: none")
        if not allow_remote:
            for address in [target] if isinstance(target, str) else target:
                _check_loopback(address)
        self._mix = list(mix)
        self._random = np.random.default_rng(seed)
        self._timeout = timeout
        with Client(target, model, timeout, tls=tls) as client:
            # Pages that a server which joins requests takes too, see docs/SERVING.md.
            pages = itertools.islice(client.item_vectors(page=128), 32)
            ids = [item for page, _ in pages for item in page]
        self._bodies = [_bodies(kind, model, ids, self._random) for kind in self._mix]
        self._channel = open_channel(grpc, target, tls, attempts)
        # Requests are bytes already, and answers stay bytes: so that it is the server that is measured.
        self._predict = self._channel.unary_unary(PREDICT)
        for bodies in self._bodies:
            self._predict(bodies[0], timeout=timeout)

    def run(
        self,
        rate: float,
        seconds: float = 10.0,
        max_requests: int = 100_000,
        enough: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Sends requests for a while and waits for all answers.

        Args:
            rate: requests a second on average; the time from one to the next is exponentially distributed.
            seconds: for how long; after that at most `timeout` more until the last answer.
            max_requests: stop sending after so many.
            enough: stop sending when it is set.

        Returns:
            JSON values: how many requests were sent and answered, the errors by their code, the percentiles of the
            latency of the answers in ms, overall and of each kind, and how late requests were sent at most.
        """
        if not 0 < rate < float("inf") or not 0 < seconds < float("inf") or max_requests < 1:
            received = f"{rate}, {seconds}, {max_requests}"
            raise InputError(f"`rate`, `seconds` and `max_requests` should be positive. Received: {received}")
        gaps = self._random.exponential(1 / rate, min(max_requests, int(rate * seconds * 1.5) + 100))
        starts = np.cumsum(gaps)
        starts = starts[starts < seconds]
        weights = np.array([kind.weight for kind in self._mix])
        kinds = self._random.choice(len(self._mix), len(starts), p=weights / weights.sum())
        variants = self._random.integers(VARIANTS, size=len(starts))
        bodies = [self._bodies[kind][variant] for kind, variant in zip(kinds, variants, strict=True)]

        latency, codes, late, elapsed = self._send(starts, bodies, enough or threading.Event())
        kinds = kinds[: len(codes)]
        ok = np.array([code is grpc.StatusCode.OK for code in codes], bool)
        errors = Counter(code.name for code in codes if code is not grpc.StatusCode.OK)
        return {
            "rate": rate,
            "seconds": elapsed,
            "sent": len(codes),
            "answered": int(ok.sum()),
            "answered_rate": float(ok.sum() / elapsed),
            "errors": dict(sorted(errors.items())),
            "latency_ms": _percentiles(latency[ok]),
            "kinds": {
                str(kind): _percentiles(latency[ok & (kinds == number)]) for number, kind in enumerate(self._mix)
            },
            "late_ms": late * 1e3,
        }

    def saturation(
        self, seconds: float = 3.0, first: float = 32.0, report: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> float:
        """The highest rate at which the server still keeps up, to about 5 %.

        A rate is kept up with if no request fails and the last answer comes at most 5 % of the time after the end.
        The rate is doubled until that fails, or halved until it holds; then the gap is halved four times.

        Args:
            seconds: of load at each rate.
            first: the first rate.
            report: called with the result of each run.
        """

        def keeps_up(rate: float) -> bool:
            result = self.run(rate, seconds, max_requests=1_000_000)
            report(result)
            return not result["errors"] and result["seconds"] <= seconds / 0.95

        low, high = first, first
        if keeps_up(first):
            while keeps_up(2 * high):
                high *= 2
            low, high = high, 2 * high
        else:
            while not keeps_up(low / 2):
                low /= 2
                if low < 0.1:
                    raise InputError("`target` should answer at least one request in 10 s. Received: errors or none")
            low, high = low / 2, low
        for _ in range(4):
            middle = (low + high) / 2
            low, high = (middle, high) if keeps_up(middle) else (low, middle)
        return low

    def close(self) -> None:
        """Closes the connections."""
        self._channel.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(
        self, starts: np.ndarray, bodies: list[bytes], enough: threading.Event
    ) -> tuple[np.ndarray, list[grpc.StatusCode], float, float]:
        """Latency and code of each request sent, how late the latest was sent, and when the last answer came."""
        latency = np.zeros(len(starts))
        codes = [grpc.StatusCode.UNKNOWN] * len(starts)
        finished = threading.Semaphore(0)
        began = time.perf_counter()

        def finish(number: int, future: Any) -> None:
            latency[number] = time.perf_counter() - began - starts[number]
            codes[number] = future.code()
            finished.release()

        late, sent = 0.0, 0
        for number, body in enumerate(bodies):
            wait = starts[number] - (time.perf_counter() - began)
            if enough.wait(wait) if wait > 0 else enough.is_set():
                break
            sent += 1
            late = max(late, -wait)
            future = self._predict.future(body, timeout=self._timeout)
            future.add_done_callback(lambda done, number=number: finish(number, done))
        for _ in range(sent):
            finished.acquire()
        return latency[:sent], codes[:sent], late, time.perf_counter() - began


def _bodies(kind: Kind, model: str, ids: list, random: np.random.Generator) -> list[bytes]:
    """Requests of a kind, each of one message."""
    exchanges = Exchanges(model, None, None, kind.rows, type(ids[0]))

    def some(length: int) -> list:
        return [ids[number] for number in random.integers(len(ids), size=length)]

    def exchange() -> Exchange[Any]:
        histories = [some(length) for length in random.integers(1, MAX_HISTORY + 1, size=kind.rows)]
        if kind.signature == "recommend":
            return exchanges.recommend(histories, min(K, len(ids)), True, None, None)
        if kind.signature == "score":
            return exchanges.score(histories, [some(2 * K) for _ in histories])
        return exchanges.embed(histories)

    return [next(exchange()).request.SerializeToString() for _ in range(VARIANTS)]


def _percentiles(latency: np.ndarray) -> dict[str, float | int | None]:
    if not len(latency):
        return {"count": 0, **{f"p{percent}": None for percent in PERCENTILES}, "max": None}
    values = np.percentile(latency * 1e3, PERCENTILES)
    named = {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, values, strict=True)}
    return {"count": len(latency), **named, "max": float(latency.max() * 1e3)}


def _check_loopback(address: str) -> None:
    if address.startswith("unix:"):
        return
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        found_addresses = socket.getaddrinfo(host, None)
    except OSError as error:
        raise InputError(f"`target` should be a known host. Received: {address}") from error
    for *_, found in found_addresses:
        if not ipaddress.ip_address(found[0]).is_loopback:
            raise InputError(f"`target` should be this machine unless other ones are allowed. Received: {address}")
