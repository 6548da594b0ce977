"""The local server over a real loopback port, asked through the client and through the official stubs."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.wrappers_pb2 import Int64Value
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_fenrec.errors import InputError
from tf_fenrec.serving import Client
from tf_fenrec.serving.server import Server
from tf_fenrec.serving.versions import latest_versions

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def client(server, exported):
    with Client(f"127.0.0.1:{server.port}", exported.path.parent.name) as client:
        yield client


def good_request() -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["asin-5", "asin-6"]]))
    request.inputs["k"].CopyFrom(tf.make_tensor_proto(3, tf.int32))
    request.inputs["exclude_seen"].CopyFrom(tf.make_tensor_proto(True))
    return request


def code_and_details(call, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), caught.value.details()


def test_answers_equal_those_of_the_model(client, exported):
    ids = exported.vocabulary.item_ids or tuple(range(1, 31))
    unknown = -1 if exported.vocabulary.item_ids is None else "unknown"
    histories = [[ids[4], ids[2], ids[11], ids[7], ids[0], ids[19]], [], [ids[3], unknown], [unknown] * 2]
    for exclude_seen in (True, False):
        answers = client.recommend(histories, 30, exclude_seen)
        for history, answer in zip(histories, answers, strict=True):
            expected = exported.reference(history, 30, exclude_seen)
            assert [item.id for item in answer.items] == expected.ids
            np.testing.assert_allclose([item.score for item in answer.items], expected.scores, rtol=1e-5, atol=1e-7)
            if expected.names is not None:
                assert [item.name for item in answer.items] == expected.names
            assert (answer.unknown, answer.fallback) == (expected.unknown, expected.fallback)


def test_concurrent_requests(client, exported):
    ids = exported.vocabulary.item_ids or tuple(range(1, 31))

    def ask(number: int) -> bool:
        history = [ids[number % 30], ids[7 * number % 30]]
        [answer] = client.recommend([history], 5)
        return [item.id for item in answer.items] == exported.reference(history, 5).ids

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(60)))


def test_no_histories_need_no_server():
    assert Client("127.0.0.1:1").recommend([], 3) == []


def test_ids_of_the_wrong_type_are_refused(client, exported):
    wrong_integers, wrong_strings = ["asin-5", 2**63, 1.5, None], [5, b"asin-5", "\ud800", None]
    for value in wrong_integers if exported.vocabulary.item_ids is None else wrong_strings:
        with pytest.raises(InputError, match=r"`histories` should hold .* for this model\. Received"):
            client.recommend([[value]], 3)


@pytest.mark.parametrize("k", [0, -1, 2**31])
def test_k_that_is_no_positive_int32(client, k):
    with pytest.raises(InputError, match="`k` should be"):
        client.recommend([[]], k)


def test_an_unreachable_server_is_unavailable():
    with Client("127.0.0.1:1", "shop", timeout=5) as client, pytest.raises(grpc.RpcError) as caught:
        client.recommend([["a"]], 3)
    assert caught.value.code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


def test_the_version_asked_for_is_served(prediction):
    request = good_request()
    request.model_spec.version.CopyFrom(Int64Value(value=1))
    response = prediction.Predict(request)
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_output_filter(prediction):
    request = good_request()
    request.output_filter.append("scores")
    assert set(prediction.Predict(request).outputs) == {"scores"}


def _set(name: str, value, dtype=None):
    return lambda request: request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))


@pytest.mark.parametrize(
    ("change", "code", "details"),
    [
        (lambda r: r.ClearField("model_spec"), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            lambda r: r.model_spec.ClearField("name"),
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            lambda r: setattr(r.model_spec, "name", "nope"),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(nope)",
        ),
        (
            lambda r: setattr(r.model_spec.version, "value", 7),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(shop, 7)",
        ),
        (
            lambda r: setattr(r.model_spec, "version_label", "canary"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
        (
            lambda r: setattr(r.model_spec, "signature_name", "nope"),
            Code.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (lambda r: r.inputs.pop("k"), Code.INVALID_ARGUMENT, "Missing but required: {k}"),
        (_set("other", 1), Code.INVALID_ARGUMENT, "Sent extra: {other}"),
        (lambda r: r.output_filter.append("nope"), Code.INVALID_ARGUMENT, "output tensor alias not found"),
        (_set("k", 0, tf.int32), Code.INVALID_ARGUMENT, "`k` should be from 1 to 30"),
        (_set("k", 31, tf.int32), Code.INVALID_ARGUMENT, "`k` should be from 1 to 30"),
        (_set("k", 3, tf.int64), Code.INVALID_ARGUMENT, "input k should be int32. Received: int64"),
        (_set("k", [3], tf.int32), Code.INVALID_ARGUMENT, "input k should have the shape ()"),
        (_set("history", [[5]], tf.int64), Code.INVALID_ARGUMENT, "input history should be string"),
        (
            _set("history", ["asin-5"]),
            Code.INVALID_ARGUMENT,
            "input history should have the shape (None, None)",
        ),
        (_set("exclude_seen", 1, tf.int32), Code.INVALID_ARGUMENT, "input exclude_seen should be bool"),
    ],
)
def test_error_codes(prediction, change, code, details):
    request = good_request()
    change(request)
    received, message = code_and_details(prediction.Predict, request)
    assert received == code
    assert details in message


def test_malformed_tensors_are_invalid_arguments(prediction):
    def malformed(**fields) -> predict_pb2.PredictRequest:
        request = good_request()
        history = request.inputs["history"]
        history.Clear()
        history.dtype = fields.pop("dtype", tf.string.as_datatype_enum)
        for size in fields.pop("shape"):
            history.tensor_shape.dim.add(size=size)
        for name, value in fields.items():
            getattr(history, name).extend(value)
        return request

    for request in (
        malformed(shape=[-1, 2], string_val=[b"a"]),
        malformed(shape=[2**40, 2**20], string_val=[b"a"]),  # a few bytes that claim an exabyte
        malformed(shape=[2**31, 0]),
        malformed(shape=[1, 1], string_val=[b"a", b"b"]),
        malformed(shape=[1, 1], dtype=9999),
        malformed(shape=[1, 1], dtype=tf.resource.as_datatype_enum),
    ):
        assert code_and_details(prediction.Predict, request)[0] == Code.INVALID_ARGUMENT


def test_damaged_requests_get_an_error_code_and_the_server_lives(channel, prediction):
    send = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    good = good_request().SerializeToString()
    randomness = random.Random(0)
    codes = set()
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(randomness.randint(1, 4)):
            damaged[randomness.randrange(len(damaged))] = randomness.randrange(256)
        cut = randomness.choice([len(damaged), randomness.randrange(len(damaged))])
        try:
            send(bytes(damaged[:cut]), timeout=10)
        except grpc.RpcError as error:
            codes.add(error.code())
    # INTERNAL is gRPC's answer to bytes that are no message; UNKNOWN would be a bug of the server.
    assert codes <= {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.INTERNAL}
    assert len(prediction.Predict(good_request()).outputs["ids"].string_val) == 3


def test_model_metadata(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "integers"
    response = prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    inputs = signatures.signature_def["recommend"].inputs
    assert inputs["history"].dtype == tf.int64.as_datatype_enum
    assert [dim.size for dim in inputs["history"].tensor_shape.dim] == [-1, -1]

    request.metadata_field[:] = ["nope"]
    assert code_and_details(prediction.GetModelMetadata, request)[0] == Code.INVALID_ARGUMENT
    request.metadata_field[:] = []
    assert code_and_details(prediction.GetModelMetadata, request)[0] == Code.INVALID_ARGUMENT


def test_model_status(channel):
    status = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "shop"
    [version] = status.GetModelStatus(request).model_version_status
    assert version.version == 1
    assert version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    request.model_spec.name = "nope"
    assert code_and_details(status.GetModelStatus, request)[0] == Code.NOT_FOUND


def test_latest_complete_version(tmp_path):
    for name in ("m/2", "m/10", "m/.tmp-11-x", "m/12-old", "m/latest", "other"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").touch()
        (tmp_path / name / "variables/variables.index").touch()
    (tmp_path / "m/13").mkdir()
    (tmp_path / "m/13/saved_model.pb").touch()  # a copy in progress
    (tmp_path / "m/14").touch()
    (tmp_path / "file").touch()
    assert latest_versions(tmp_path) == {"m": tmp_path / "m/10"}


def test_models_that_cannot_be_served(tmp_path):
    with pytest.raises(InputError, match="should hold exported models"):
        Server(tmp_path, port=0)
    (tmp_path / "m/1/variables").mkdir(parents=True)
    (tmp_path / "m/1/saved_model.pb").write_bytes(b"junk")
    (tmp_path / "m/1/variables/variables.index").touch()
    with pytest.raises(InputError, match="not a SavedModel that can be loaded"):
        Server(tmp_path, port=0)


def test_addresses_that_cannot_be_bound(models_dir, server):
    with pytest.raises(InputError, match="an address that is free"):
        Server(models_dir, port=server.port)
    with pytest.raises(InputError, match="from 0 to 65535"):
        Server(models_dir, port=65536)
