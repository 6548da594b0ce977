"""The REST API over a real port: its JSON shapes and HTTP codes are those that TensorFlow Serving documents."""

from __future__ import annotations

import base64
import http.client
import json
import math
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tiny_model import Gate, write_model

from tf_fenrec.errors import InputError
from tf_fenrec.serving.metrics import BUCKETS, Metrics
from tf_fenrec.serving.rest import MAX_BODY_BYTES
from tf_fenrec.serving.server import Limits, Server

METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def rest(models_dir, strings, integers):
    with Server(models_dir, port=0, rest_port=0, poll_seconds=0) as server:
        yield Rest(server.rest_port)


class Rest:
    """Sends requests to a port, over one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def send(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, data)
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def json(self, method: str, path: str, body: object = None) -> dict:
        status, text = self.send(method, path, body)
        assert status == 200, text
        return json.loads(text)

    def error(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        status, text = self.send(method, path, body)
        [(key, message)] = json.loads(text).items()
        assert key == "error"
        return status, message


def instance(history: list, k: int = 3, **changes) -> dict:
    padding = 0 if history and isinstance(history[0], int) else ""
    given = {"history": history, "k": k, "exclude_seen": True, "exclude": [padding], "allow": [padding]}
    return given | changes


def column(history: list[list], k: int) -> dict:
    rows = [instance(row, k) for row in history]
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("path", ["/v1/models/shop", "/v1/models/shop/versions/1", "/V1/Models/shop"])
def test_rows_and_columns_equal_the_model(rest, strings, path):
    histories = [["asin-5", "ünïcødé", "asin-9"], ["0", "nope", ""]]
    rows = rest.json("POST", f"{path}:predict", {"instances": [instance(history) for history in histories]})
    columns = rest.json("POST", f"{path}:predict", {"inputs": column(histories, 3), "signature_name": "recommend"})
    assert list(rows) == ["predictions"]
    assert list(columns) == ["outputs"]
    for row, history in enumerate(histories):
        expected = strings.reference(history, 3)
        prediction = rows["predictions"][row]
        assert prediction["ids"] == expected.ids
        assert prediction["names"] == expected.names
        np.testing.assert_allclose(prediction["scores"], expected.scores, rtol=1e-5)
        assert prediction["unknown"] == expected.unknown
        assert prediction["fallback"] is expected.fallback
        assert {name: values[row] for name, values in columns["outputs"].items()} == prediction


def test_integers(rest, integers):
    answer = rest.json("POST", "/v1/models/integers:predict", {"instances": [instance([5, 6, 99])]})
    expected = integers.reference([5, 6, 99], 3)
    assert answer["predictions"][0]["ids"] == expected.ids
    assert answer["predictions"][0]["unknown"] == 1


def test_no_candidates_are_infinite_as_in_the_official_server(rest):
    _, text = rest.send("POST", "/v1/models/shop:predict", {"instances": [instance(["asin-5"], 2, allow=["asin-6"])]})
    assert "-Infinity" in text
    [prediction] = json.loads(text)["predictions"]
    assert prediction["ids"] == ["asin-6", ""]
    assert prediction["scores"][1] == -math.inf


def test_base64_is_the_bytes_of_a_string(rest):
    encoded = [{"b64": base64.b64encode(raw.encode()).decode()} for raw in ("asin-5", "ünïcødé")]
    plain = rest.json("POST", "/v1/models/shop:predict", {"instances": [instance(["asin-5", "ünïcødé"])]})
    assert rest.json("POST", "/v1/models/shop:predict", {"instances": [instance(encoded)]}) == plain


def test_a_signature_of_one_input_and_one_of_one_output(rest):
    embed = {"signature_name": "embed"}
    named = rest.json("POST", "/v1/models/shop:predict", embed | {"instances": [{"history": ["asin-5"]}]})
    plain = rest.json("POST", "/v1/models/shop:predict", embed | {"instances": [["asin-5"]]})
    columns = rest.json("POST", "/v1/models/shop:predict", embed | {"inputs": [["asin-5"]]})
    assert named == plain
    assert columns["outputs"]["vectors"] == [named["predictions"][0]["vectors"]]


def test_status_and_metadata(rest):
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert rest.json("GET", "/v1/models/shop") == {"model_version_status": [status]}
    assert rest.json("GET", "/v1/models/shop/versions/1") == {"model_version_status": [status]}
    metadata = rest.json("GET", "/v1/models/shop/metadata")
    assert metadata["model_spec"]["name"] == "shop"
    assert metadata["model_spec"]["version"] == "1"
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    history = signatures["recommend"]["inputs"]["history"]
    assert history["dtype"] == "DT_STRING"
    assert [dim["size"] for dim in history["tensor_shape"]["dim"]] == ["-1", "-1"]


PREDICT = "/v1/models/shop:predict"
GOOD = instance(["asin-5"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/v1/models/nope", None, 404, "Could not find any versions of model nope"),
        ("GET", "/v1/models/shop/versions/7", None, 404, "Could not find version 7 of model shop"),
        ("GET", f"/v1/models/shop/versions/{2**64}", None, 400, "Failed to convert version"),
        ("GET", "/v1/models", None, 400, "Malformed request: GET /v1/models"),
        ("GET", PREDICT, None, 400, "Malformed request"),
        ("GET", "/elsewhere", None, 404, "Not found"),
        ("GET", "//[", None, 404, "Not found"),
        ("POST", "/v1/models/shop", {}, 400, "Malformed request"),
        ("POST", "/v1/models/shop:classify", {}, 501, "no classify"),
        ("POST", "/v1/models/nope:predict", {"instances": [GOOD]}, 404, "Servable not found for request: Latest(nope)"),
        ("POST", "/v1/models/shop/versions/7:predict", {"instances": [GOOD]}, 404, "Specific(shop, 7)"),
        ("POST", "/v1/models/shop/labels/x:predict", {"instances": [GOOD]}, 400, "Unrecognized servable version label"),
        ("POST", PREDICT, b"", 400, "JSON Parse error"),
        ("POST", PREDICT, b"{", 400, "JSON Parse error"),
        ("POST", PREDICT, b"\xff", 400, "JSON Parse error"),
        ("POST", PREDICT, b"[" * 100_000, 400, "JSON Parse error"),
        ("POST", PREDICT, b'{"inputs": ' + b"9" * 10_000 + b"}", 400, "JSON Parse error"),
        ("POST", PREDICT, [], 400, "Is not object"),
        ("POST", PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", PREDICT, {"inputs": {}, "instances": []}, 400, "only one of"),
        ("POST", PREDICT, {"instances": {}}, 400, "to be an list/array"),
        ("POST", PREDICT, {"instances": []}, 400, "No values"),
        ("POST", PREDICT, {"instances": [["asin-5"]]}, 400, "plain value/list"),
        ("POST", PREDICT, {"instances": [{"k": 3}]}, 400, "keys must be equal to"),
        ("POST", PREDICT, {"inputs": {"k": [3]}}, 400, "Missing named input"),
        ("POST", PREDICT, {"instances": [GOOD], "signature_name": 7}, 400, "must be a string value"),
        ("POST", PREDICT, {"instances": [GOOD], "signature_name": "no"}, 400, 'name: "no" not found'),
        ("POST", PREDICT, {"instances": [GOOD], "signature_name": "\ud800"}, 400, "JSON Parse error"),
        ("POST", PREDICT, {"instances": [GOOD, instance(["a", "b"])]}, 400, "input history: encountered list at"),
        ("POST", PREDICT, {"instances": [GOOD | {"k": 99}]}, 400, "`k` should be from 1 to 30"),
        ("POST", PREDICT, {"instances": [GOOD | {"k": 1.5}]}, 400, "input k: JSON Value: 1.5 is not of expected type"),
        ("POST", PREDICT, {"instances": [GOOD | {"k": True}]}, 400, "input k: JSON Value: true"),
        ("POST", PREDICT, {"instances": [GOOD | {"k": 2**31}]}, 400, "input k: JSON Value"),
        ("POST", PREDICT, {"instances": [GOOD | {"k": math.nan}]}, 400, "input k: JSON Value: NaN"),
        ("POST", PREDICT, {"instances": [GOOD | {"k": None}]}, 400, "input k: JSON Value: null"),
        ("POST", PREDICT, {"instances": [GOOD | {"exclude_seen": 1}]}, 400, "input exclude_seen: JSON Value: 1"),
        ("POST", PREDICT, {"instances": [GOOD | {"history": [5]}]}, 400, "input history: JSON Value: 5"),
        ("POST", PREDICT, {"instances": [GOOD | {"history": "asin-5"}]}, 400, "input history should have the shape"),
        ("POST", PREDICT, {"instances": [GOOD | {"history": [{"b64": "%"}]}]}, 400, "unable to base64 decode"),
        ("POST", PREDICT, {"instances": [GOOD | {"history": [{"b64": 1}]}]}, 400, "input history: JSON Value"),
        ("POST", PREDICT, {"instances": [GOOD | {"history": [["a"], "b"]}]}, 400, "input history: a list of 1"),
        ("POST", PREDICT, {"instances": [GOOD | {"history": [[[[[[[[["a"]]]]]]]]]}]}, 400, "at most 8 deep"),
    ],
)
def test_errors(rest, method, path, body, status, message):
    received, text = rest.error(method, path, body)
    assert received == status
    assert message in text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "k", "history"]), inner),
    max_leaves=6,
)


@settings(max_examples=150)
@given(
    body=st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name"]), VALUES)
    | st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES).map(lambda some: {"instances": [GOOD | some]})
)
def test_any_json_is_answered_or_refused(rest, body):
    status, text = rest.send("POST", PREDICT, body)
    assert status in (200, 400), text


def test_a_connection_is_kept_and_bodies_are_bounded(rest):
    first = rest.connection
    rest.json("GET", "/v1/models/shop")
    opened = first.sock
    rest.json("POST", PREDICT, {"instances": [GOOD]})
    assert first.sock is opened is not None
    for headers, status in (
        (f"Content-Length: {MAX_BODY_BYTES + 1}", 413),
        ("Content-Length: -1", 411),
        ("Transfer-Encoding: chunked", 411),
        ("Accept: */*", 411),
    ):
        with socket.create_connection((first.host, first.port), timeout=20) as raw:
            raw.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode())
            answer = b"".join(iter(lambda raw=raw: raw.recv(4096), b""))  # to its end: the connection is closed
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_connections_are_bounded(tmp_path):
    write_model(tmp_path / "tiny", 1)
    with Server(tmp_path, port=0, rest_port=0, limits=Limits(waiting=1)) as server:
        first = Rest(server.rest_port)
        first.json("GET", "/v1/models/tiny")
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) as second:
            assert second.recv(4096).startswith(b"HTTP/1.1 503 ")
        first.json("GET", "/v1/models/tiny")


def test_stopping_ends_requests_in_progress_and_idle_connections(tmp_path):
    gate = Gate()
    write_model(tmp_path / "tiny", 1, gate)
    server = Server(tmp_path, port=0, rest_port=0)
    idle, busy = Rest(server.rest_port), Rest(server.rest_port)
    idle.json("GET", "/v1/models/tiny")
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(busy.json, "POST", "/v1/models/tiny:predict", {"instances": [7]})
        assert gate.entered.acquire(timeout=20)
        stopped = pool.submit(server.stop, 20)
        assert idle.connection.sock.recv(1) == b""  # closed
        assert not stopped.done()
        gate.open.set()
        assert held.result(20) == {"predictions": [1]}
        stopped.result(20)
    with pytest.raises(ConnectionRefusedError):
        Rest(server.rest_port).send("GET", "/v1/models/tiny")


def test_an_address_that_cannot_be_bound(tmp_path, rest):
    write_model(tmp_path / "tiny", 1)
    with pytest.raises(InputError, match="REST port should be an address that is free"):
        Server(tmp_path, port=0, rest_port=rest.connection.port)


def samples(text: str) -> dict[tuple, float]:
    """Values by name and labels; the parser ends the names of counters in _total, whatever they are."""
    assert "request_count{" in text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def count(found: dict, model: str, status: str) -> float:
    labels = frozenset({"model_name": model, "status": status}.items())
    return found.get((":tensorflow:serving:request_count_total", labels), 0)


def latency(found: dict, kind: str, **labels: str) -> float:
    return found.get((f":tensorflow:serving:request_latency_{kind}", frozenset(labels.items())), 0)


def test_metrics_count_requests_by_model_and_status(rest):
    before = samples(rest.send("GET", METRICS)[1])
    for _ in range(3):
        rest.json("POST", PREDICT, {"instances": [GOOD]})
    rest.error("POST", PREDICT, {})
    for name in ("nope", "other"):
        rest.error("POST", f"/v1/models/{name}:predict", {"instances": [GOOD]})
    status, text = rest.send("GET", METRICS)
    assert status == 200
    after = samples(text)
    assert count(after, "shop", "OK") - count(before, "shop", "OK") == 3
    assert count(after, "shop", "INVALID_ARGUMENT") - count(before, "shop", "INVALID_ARGUMENT") == 1
    assert count(after, "", "NOT_FOUND") - count(before, "", "NOT_FOUND") == 2  # a request makes up no series
    assert not any(("model_name", "nope") in labels for _, labels in after)
    labels = {"API": "Predict", "entrypoint": "REST", "model_name": "shop"}
    assert latency(after, "count", **labels) - latency(before, "count", **labels) == 4
    assert latency(after, "bucket", **labels, le="+Inf") == latency(after, "count", **labels)


def test_the_histogram_counts_up():
    metrics = Metrics()
    microseconds = [1, 10, 11, 18, 1e12]
    labels = {"API": "Predict", "entrypoint": "GRPC", "model_name": 'a"\\\nb'}
    for value in microseconds:
        metrics.record(labels["model_name"], "Predict", "GRPC", "OK", value / 1e6)
    found = samples(metrics.page())
    for bound in ("10", "18", "32.4", "+Inf"):
        assert latency(found, "bucket", **labels, le=bound) == sum(value <= float(bound) for value in microseconds)
    assert latency(found, "sum", **labels) == pytest.approx(sum(microseconds))
    assert len(BUCKETS) == 33
