"""Datasets by name: the search order, and a download that is whole or not there."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tf_fenrec.data import DATASETS, catalog, load, read_sequences
from tf_fenrec.errors import InputError

CONTENT = b"".join(b"%d 1 2 3 4\n" % user for user in range(1, 40_000))


@dataclass
class Server:
    """What the local server answers, and what it was asked."""

    url: str
    body: bytes = CONTENT
    announced: int | None = None
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked.append(self.path)
            self.send_response(200 if answer.body else 404)
            self.send_header("Content-Length", str(answer.announced or len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as service:
        answer = Server(f"http://127.0.0.1:{service.server_port}/data")
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answer
        service.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache, no FENREC_DATA_DIR, and a published file that is CONTENT."""
    monkeypatch.delenv("FENREC_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    known = catalog.Benchmark("Beauty.txt", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(catalog.BENCHMARKS, "beauty", known)
    return tmp_path / "cache" / "tf_fenrec"


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*")) if directory.exists() else []


def test_download_goes_to_the_cache_once(server: Server, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = load("beauty", base_url=server.url)
    assert (dataset.name, dataset.num_users, dataset.num_items) == ("beauty", 39_999, 4)
    assert "Beauty.txt: 100%" in capfd.readouterr().err
    assert (cache / "Beauty.txt").read_bytes() == CONTENT
    load("Beauty.TXT", base_url=server.url)
    assert server.asked == ["/data/Beauty.txt"]
    assert left_in(cache) == ["Beauty.txt"]


@pytest.mark.parametrize(
    ("body", "announced", "reason"),
    [
        (CONTENT[:-2] + b"5\n", None, "the SHA-256 should be"),
        (CONTENT[:100_000], len(CONTENT), f"the connection was cut after 100000 of {len(CONTENT)} bytes"),
        (b"", None, "Not Found"),
    ],
)
def test_a_failed_download_leaves_nothing(
    server: Server, cache: Path, body: bytes, announced: int | None, reason: str
) -> None:
    server.body, server.announced = body, announced
    with pytest.raises(InputError) as raised:
        load("beauty", base_url=server.url)
    assert reason in str(raised.value)
    assert left_in(cache) == []


def test_without_network_one_message_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError) as raised:
            load("beauty", tmp_path, base_url=url)
    message = str(raised.value)
    for part in (
        "Beauty.txt",
        str(tmp_path),
        str(cache),
        f"{url}/Beauty.txt",
        "--data-dir",
        "FENREC_DATA_DIR",
    ):
        assert part in message
    assert "`--dataset demo` needs no file" in message
    assert left_in(cache) == []


def test_download_can_be_switched_off(server: Server) -> None:
    with pytest.raises(InputError, match="switched off"):
        load("beauty", download=False, base_url=server.url)
    assert server.asked == []


def test_search_order(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument, variable = tmp_path / "argument", tmp_path / "variable"
    monkeypatch.setenv("FENREC_DATA_DIR", str(variable))
    for directory in (argument, variable, cache):
        directory.mkdir(parents=True)
        (directory / "Beauty.txt").write_bytes(b"not the published file")
    for directory in (argument, variable, cache):  # each is found, and refused, once those before it are gone
        with pytest.raises(InputError, match="SHA-256 should be") as raised:
            load("beauty", argument, download=False)
        assert str(raised.value).startswith(f"{directory}/Beauty.txt: ")
        (directory / "Beauty.txt").unlink()
    (variable / "Beauty.txt").write_bytes(CONTENT)
    assert load("beauty", argument, download=False).num_users == 39_999


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DATASETS == ("beauty", "sports", "toys", "yelp", "demo")
    (tmp_path / "beauty").write_text("1 1 2 3\n")
    monkeypatch.chdir(tmp_path)
    assert load("./beauty").num_users == 1
    # The name a run keeps is the file's too when it is loaded again, and no benchmark's.
    assert load("./beauty").name == read_sequences("beauty").name == "./beauty"
    assert load(tmp_path / "beauty").name == str(tmp_path / "beauty")
    assert load("DEMO").name == "demo"


@pytest.mark.parametrize(
    ("given", "near"), [("sprots", "sports"), ("Toys_and_Game", "toys_and_games"), ("bueaty.txt", "beauty")]
)
def test_an_unknown_name_is_answered_with_near_ones(given: str, near: str) -> None:
    with pytest.raises(InputError, match=f"Nearest: {near}.*Received: '{given}'"):
        load(given)


def test_a_data_dir_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`data_dir` should be a directory"):
        load("beauty", tmp_path / "none")
