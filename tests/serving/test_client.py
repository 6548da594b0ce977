"""The clients, against a server of sums and loops that can be told to fail."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from fake_service import COUNT, FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_fenrec.errors import InputError
from tf_fenrec.serving import TLS, AsyncClient, Client
from tf_fenrec.serving.arrays import to_array, to_proto

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def running():
    with FakeServer() as server:
        yield server


@pytest.fixture
def fake(running):
    running.service.requests.clear()
    running.service.attempts.clear()
    running.service.failures.clear()
    return running


class InThread:
    """An `AsyncClient` driven as if it were a `Client`, so that one test checks both."""

    def __init__(self, *args, **kwargs):
        self._loop = asyncio.new_event_loop()

        async def make():
            return AsyncClient(*args, **kwargs)

        self._client = self._loop.run_until_complete(make())

    def __getattr__(self, name):
        def call(*args, **kwargs):
            return self._loop.run_until_complete(collected(getattr(self._client, name)(*args, **kwargs)))

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self._loop.close()


async def collected(answer):
    return [page async for page in answer] if inspect.isasyncgen(answer) else await answer


@pytest.fixture(params=[Client, InThread], ids=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture
def client(kind, fake):
    with kind(fake.address, "shop") as client:
        yield client


def code_of(call) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def ids(answer) -> list:
    return [item.id for item in answer.items]


def test_recommend(client):
    known, popular = client.recommend([["i30", "nope", "", "i3"], []], k=3)
    assert [(item.id, item.score, item.name) for item in known.items] == [
        ("i29", 33 * 29 + 2, "Item ñ29"),
        ("i28", 33 * 28 + 2, "Item ñ28"),
        ("i27", 33 * 27 + 2, "Item ñ27"),
    ]
    assert (known.unknown, known.fallback) == (1, False)
    assert ids(popular) == ["i1", "i2", "i3"]
    assert (popular.unknown, popular.fallback) == (0, True)


def test_each_history_has_its_own_k_and_lists(client):
    answers = client.recommend(
        [["i1"]] * 3,
        k=[1, 2, 5],
        exclude_seen=[True, True, False],
        exclude=[["i30"], ["nope", "i29"], []],
        allow=[None, None, ["i1", "i4", "nope"]],
    )
    assert [ids(answer) for answer in answers] == [["i29"], ["i30", "i28"], ["i4", "i1"]]


def test_integer_ids(kind, fake):
    with kind(fake.address, "integers") as client:
        assert client.id_type() is int
        [answer] = client.recommend([np.array([1, 99])], k=2, exclude=[[30]])
        assert ids(answer) == [29, 28]
        assert (answer.unknown, answer.items[0].name) == (1, None)


def test_score_and_embed(client):
    first, second = client.score([["i2", "i3"], ["nope"]], [["i4", "nope", "i1"], ["i5"]])
    assert (first.scores, first.unknown, first.fallback) == ((22, -np.inf, 7), 0, False)
    assert (second.scores, second.unknown, second.fallback) == ((0,), 1, True)
    one, none = client.embed([["i2", "i3"], []])
    np.testing.assert_array_equal(one.vector, np.float32([5, 2]))
    assert (one.fallback, none.fallback) == (False, True)


@pytest.mark.parametrize("page", [7, 10, 30, 4096])
def test_item_vectors_are_paged_through_one_version(client, fake, page):
    pages = list(client.item_vectors(page))
    assert [raw for ids, _ in pages for raw in ids] == [f"i{i}" for i in range(1, COUNT + 1)]
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in pages])[:, 0], np.arange(1, COUNT + 1))
    versions = [request.model_spec.version.value for request in fake.service.requests]
    assert versions == [0] + [7] * (COUNT // page)


def test_many_histories_go_in_requests_of_at_most_max_rows(kind, fake):
    histories = [[f"i{1 + row % 30}"] for row in range(100)]
    with kind(fake.address, "shop", max_rows=32) as client:
        answers = client.recommend(histories, k=[1 + row % 3 for row in range(100)])
        embeddings = client.embed(histories)
    assert [len(answer.items) for answer in answers] == [1 + row % 3 for row in range(100)]
    assert [embedding.vector[0] for embedding in embeddings] == [1 + row % 30 for row in range(100)]
    _, *requests = fake.service.requests  # the first is for the metadata
    sizes = [request.inputs["history"].tensor_shape.dim[0].size for request in requests]
    assert sizes == [32, 32, 32, 4] * 2


def test_one_long_history_widens_only_its_own_request(kind, fake):
    with kind(fake.address, "shop", max_rows=2) as client:
        client.embed([["i1"], ["i2", "i3"], ["i4"] * 100, [], []])
    _, *requests = fake.service.requests
    widths = [request.inputs["history"].tensor_shape.dim[1].size for request in requests]
    assert widths == [1 + 2, 1 + 100, 1 + 0]


def test_every_list_of_ids_begins_with_padding(client, fake):
    # A server that batches pads with the first element of each request.
    client.recommend([["i1", "i2"]], k=1, exclude=[["i3"]], allow=[["i4", "i5", "i6"]])
    client.score([["i1"]], [["i2"]])
    checked = 0
    for request in fake.service.requests[1:]:
        for name in set(request.inputs) - {"k", "exclude_seen"}:
            array = tf.make_ndarray(request.inputs[name])
            assert (array[:, 0] == b"").all()
            assert (array[:, 1:] != b"").all()
            checked += 1
    assert checked == 5


def test_the_version_or_label_is_asked_for(kind, fake):
    for arguments, field, value in [({"version": 7}, "version", 7), ({"label": "canary"}, "version_label", "canary")]:
        fake.service.requests.clear()
        with kind(fake.address, "shop", **arguments) as client:
            client.embed([["i1"]])
        assert len(fake.service.requests) == 2
        for request in fake.service.requests:
            asked = getattr(request.model_spec, field)
            assert (asked.value if field == "version" else asked) == value


def test_status_and_ready(kind, client, fake):
    broken, served = client.status()
    assert (broken.version, broken.state, broken.error) == (8, "END", "it is broken")
    assert (served.version, served.state, served.error) == (7, "AVAILABLE", "")
    assert client.ready()
    for address, name in [(fake.address, "nope"), (fake.address, "other"), ("127.0.0.1:1", "shop")]:
        with kind(address, name, timeout=5) as other:
            assert not other.ready()


def test_unavailable_is_tried_again(client, fake):
    client.id_type()
    fake.service.failures += [Code.UNAVAILABLE] * 3
    assert ids(client.recommend([["i1"]], k=1)[0]) == ["i30"]
    assert fake.service.attempts == [0, 1, 2, 3]


def test_attempts_are_bounded(kind, fake):
    for attempts in (1, 5):
        fake.service.attempts.clear()
        fake.service.failures[:] = [Code.UNAVAILABLE] * 5
        with kind(fake.address, "shop", attempts=attempts) as client:
            client.id_type()
            assert code_of(lambda: client.recommend([["i1"]], k=1)) == Code.UNAVAILABLE
        assert fake.service.attempts == list(range(attempts))


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, Code.INTERNAL])
def test_other_codes_are_not_tried_again(client, fake, code):
    client.id_type()
    fake.service.failures.append(code)
    assert code_of(lambda: client.recommend([["i1"]], k=1)) == code
    assert fake.service.attempts == [0]


def test_a_request_too_long_for_grpcs_own_buffer_is_tried_again(client, fake):
    client.id_type()
    fake.service.failures.append(Code.UNAVAILABLE)
    [answer] = client.recommend([["x" * 2**20, "i1"]], k=1)
    assert (ids(answer), answer.unknown) == (["i30"], 1)


def test_the_deadline_is_of_all_requests_together(kind, fake):
    with kind(fake.address, "shop", timeout=0.3, max_rows=1) as client:
        client.id_type()
        fake.service.held.clear()
        try:
            assert code_of(lambda: client.recommend([["i1"]] * 50, k=1)) == Code.DEADLINE_EXCEEDED
        finally:
            fake.service.held.set()
    assert len(fake.service.attempts) == 1


def test_no_retry_goes_past_the_deadline(kind, fake):
    with kind(fake.address, "shop", timeout=0.2) as client:
        client.id_type()
        fake.service.failures += [Code.UNAVAILABLE] * 4  # the waits before four retries are 0.65 s and more
        assert code_of(lambda: client.recommend([["i1"]], k=1)) == Code.DEADLINE_EXCEEDED
    assert len(fake.service.attempts) < 4


def test_two_servers_take_turns_and_one_may_be_killed(kind):
    with FakeServer() as first, FakeServer() as second, kind([first.address, second.address], "shop") as client:
        while not (first.service.attempts and second.service.attempts):  # until both are connected
            client.recommend([["i1"]], k=1)
        # Given calls of which the first server holds some
        first.service.held.clear()
        first.service.arrived.clear()
        answers: list = []
        if kind is Client:
            waiting = [
                threading.Thread(target=lambda: answers.extend(client.recommend([["i1"]], k=1))) for _ in range(4)
            ]
            for thread in waiting:
                thread.start()
            assert first.service.arrived.wait(20)
        # When it is killed
        first.kill()
        # Then these and all later ones are answered by the other
        if kind is Client:
            for thread in waiting:
                thread.join(timeout=20)
            assert [ids(answer) for answer in answers] == [["i30"]] * 4
        for _ in range(20):
            assert ids(client.recommend([["i1"]], k=1)[0]) == ["i30"]


def test_a_server_that_comes_back_is_found(kind):
    with FakeServer() as server, kind(server.address, "shop") as client:
        client.recommend([["i1"]], k=1)
        server.kill()
        with FakeServer(port=server.port):
            assert ids(client.recommend([["i1"]], k=1)[0]) == ["i30"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "`k` should be a positive 32-bit integer. Received: 0"),
        ({"k": 2**31}, "`k` should be a positive 32-bit integer"),
        ({"k": 1.5}, "`k` should be a positive 32-bit integer. Received: 1.5"),
        ({"k": [1, 2]}, "`k` should have one entry for each of the 1 histories. Received: 2"),
        ({"exclude": []}, "`exclude` should have one entry for each of the 1 histories. Received: 0"),
        ({"exclude": [[3]]}, r"`exclude` should hold strings for this model. Received: \[3\]"),
        ({"exclude": ["i3"]}, "`exclude` should hold a sequence of ids for each history. Received: 'i3'"),
        ({"allow": [[]]}, r"`allow` should hold None or at least one id for each history. Received: \[\]"),
        ({"allow": [[""]]}, "`allow` should hold None or at least one id"),
        ({"histories": "i"}, "`histories` should hold a sequence of ids for each history. Received: 'i'"),
        ({"histories": [["\ud800"]]}, "`histories` should hold strings for this model"),
    ],
)
def test_wrong_arguments_send_nothing(client, fake, arguments, message):
    client.id_type()
    fake.service.requests.clear()
    with pytest.raises(InputError, match=message):
        client.recommend(**{"histories": [["i1"]], "k": 3, **arguments})
    assert fake.service.requests == []


def test_a_page_of_nothing(client):
    with pytest.raises(InputError, match=r"`page` should be positive\. Received: 0"):
        list(client.item_vectors(0))


@pytest.mark.parametrize("wrong", ["i1", 2**63, 1.5, None])
def test_ids_that_are_no_int64(kind, fake, wrong):
    with kind(fake.address, "integers") as client, pytest.raises(InputError, match="should hold 64-bit integers"):
        client.embed([[wrong]])


def test_a_model_without_these_signatures(kind, fake):
    with kind(fake.address, "other") as client, pytest.raises(InputError, match="should have the signature recommend"):
        client.recommend([["i1"]], k=3)


def test_no_histories_need_no_server(kind):
    with kind("127.0.0.1:1") as client:
        assert client.recommend([], 3) == client.score([], []) == client.embed([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": ["a:1", "b:1"]}, "`target` should be one host:port, or several IP:port .* Received: a:1, b:1"),
        ({"target": ["127.0.0.1:1", "[::1]:1"]}, "all IPv4 or all IPv6"),
        ({"target": ["127.0.0.1", "127.0.0.2:1"]}, "`target` should be"),
        ({"target": []}, "`target` should be"),
        ({"version": 1, "label": "stable"}, "`version` and `label` should not both be given"),
        ({"max_rows": 0}, "`max_rows` should be positive"),
        ({"attempts": 0}, "`attempts` should be from 1 to 5"),
        ({"attempts": 6}, "`attempts` should be from 1 to 5"),
        ({"target": ["127.0.0.1:1", "127.0.0.2:1"], "tls": TLS()}, "`server_name` should be given"),
    ],
)
def test_arguments_of_the_client(arguments, message):
    with pytest.raises(InputError, match=message):
        Client(**{"target": "127.0.0.1:1", **arguments})


def test_half_a_client_certificate():
    with pytest.raises(InputError, match="`key` and `certificate` should be given both"):
        TLS(key="key.pem")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """An authority's certificate, and keys and certificates of a server named fenrec.example and of a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(*new, "-subj", "/CN=authority", "-keyout", "root.key", "-out", "root.pem")
    for name in ("server", "client"):
        signed = ("-CA", "root.pem", "-CAkey", "root.key", "-addext", "subjectAltName=DNS:fenrec.example")
        openssl(*new, "-subj", f"/CN={name}", *signed, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(kind, certificates, mutual):
    root, key, certificate = ((certificates / name).read_bytes() for name in ("root.pem", "server.key", "server.pem"))
    credentials = grpc.ssl_server_credentials([(key, certificate)], root if mutual else None, mutual)
    named = {"root": certificates / "root.pem", "server_name": "fenrec.example"}
    own = {"key": certificates / "client.key", "certificate": certificates / "client.pem"}
    with FakeServer(credentials=credentials) as first, FakeServer(credentials=credentials) as second:
        both = [first.address, second.address]
        with kind(both, "shop", tls=TLS(**named, **(own if mutual else {}))) as client:
            assert ids(client.recommend([["i1"]], k=1)[0]) == ["i30"]
        wrong = [TLS(root=certificates / "root.pem"), TLS(server_name="fenrec.example"), None]
        for tls in wrong + [TLS(**named)] * mutual:
            with kind(first.address, "shop", timeout=10, attempts=1, tls=tls) as client:
                assert code_of(lambda: client.recommend([["i1"]], k=1)) == Code.UNAVAILABLE


def test_a_missing_certificate_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Client("127.0.0.1:1", tls=TLS(root=tmp_path / "none.pem"))


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
VALUES = {
    np.float32: st.floats(width=32),
    np.int32: st.integers(-(2**31), 2**31 - 1),
    np.int64: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    object: st.binary(max_size=5),
}


@settings(max_examples=60)
@given(st.data(), st.sampled_from(list(VALUES)), SHAPES)
def test_tensors_are_those_of_tensorflow(data, dtype, shape):
    count = int(np.prod(shape))
    array = np.array(data.draw(st.lists(VALUES[dtype], min_size=count, max_size=count)), dtype).reshape(shape)
    np.testing.assert_array_equal(tf.make_ndarray(to_proto(array)), array)
    kind = tf.string if dtype is object else tf.as_dtype(dtype)
    np.testing.assert_array_equal(to_array(tf.make_tensor_proto(array, kind)), array)


def test_repeated_values_may_be_left_out_of_a_tensor():
    proto = tf.make_tensor_proto([0, 0], tf.int32)
    proto.ClearField("tensor_content")
    proto.int_val[:] = [5, 9]
    proto.tensor_shape.dim[0].size = 4
    np.testing.assert_array_equal(to_array(proto), tf.make_ndarray(proto))
    proto.tensor_shape.dim[0].size = 1
    with pytest.raises(InputError, match=r"should have 1 values\. Received: 2"):
        to_array(proto)
    with pytest.raises(InputError, match="should be of a known type"):
        to_array(tf.make_tensor_proto(1.0, tf.float64))


def test_a_client_needs_no_tensorflow_and_leaves_it_whole():
    code = """
        import sys
        from tf_fenrec.serving import Client
        assert not [name for name in sys.modules if name.startswith(("tensorflow.python", "keras"))]
        assert "tensorflow" not in sys.modules
        import tensorflow as tf
        from tf_fenrec.serving import arrays
        assert arrays.to_array(tf.make_tensor_proto([1, 2])).tolist() == [1, 2]
        assert int(tf.constant(2) + 1) == 3
    """
    subprocess.run([sys.executable, "-c", inspect.cleandoc(code)], check=True, timeout=120)
