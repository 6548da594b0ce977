"""The exported SavedModel, loaded and run through a session as TensorFlow Serving does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fake_model import fake_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.export import export_model, saved_model
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.serving.runtime import Servable
from tf_fenrec.serving.versions import latest_versions

SMALL = Vocabulary(5, None, None, (1, 2, 3, 4, 5))


@pytest.fixture(scope="module")
def servable(exported) -> Servable:
    return Servable(exported.path)


@pytest.fixture(scope="module")
def graph_def(exported):
    parsed = saved_model_pb2.SavedModel.FromString((exported.path / "saved_model.pb").read_bytes())
    return parsed.meta_graphs[0].graph_def


def padding(exported) -> str | int:
    return 0 if exported.vocabulary.item_ids is None else ""


def raw(exported, items: list[int]) -> list:
    """Raw ids of internal ones; 0 becomes padding, negative ones and those beyond V unknown ids."""
    ids = exported.vocabulary.item_ids
    if ids is None:
        return items
    return ["" if i == 0 else ids[i - 1] if 0 < i <= len(ids) else f"unknown {i}" for i in items]


def run(servable, exported, histories: list[list], k: int, exclude_seen: bool = True, name="serving_default"):
    width = max((len(history) for history in histories), default=0)
    rows = [[*history, *[padding(exported)] * (width - len(history))] for history in histories]
    dtype = np.int64 if exported.vocabulary.item_ids is None else object
    inputs = {
        "history": np.array(rows, dtype).reshape(len(rows), width),
        "k": np.int32(k),
        "exclude_seen": np.bool_(exclude_seen),
    }
    return servable.run(name, inputs)


def decoded(values: np.ndarray) -> list:
    return [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]


def check(outputs, exported, histories: list[list], k: int, exclude_seen: bool) -> None:
    """Every row equals the reference, missing candidates are padded."""
    for row, history in enumerate(histories):
        expected = exported.reference(history, k, exclude_seen)
        missing = k - len(expected.ids)
        assert decoded(outputs["ids"][row]) == expected.ids + [padding(exported)] * missing
        scores = expected.scores + [-np.inf] * missing
        np.testing.assert_allclose(outputs["scores"][row], scores, rtol=1e-5, atol=1e-7)
        assert outputs["unknown"][row] == expected.unknown
        assert outputs["fallback"][row] == expected.fallback
        if expected.names is not None:
            assert decoded(outputs["names"][row]) == expected.names + [""] * missing


@settings(max_examples=60, deadline=None)
@given(
    histories=st.lists(st.lists(st.integers(-2, 33), max_size=12), min_size=1, max_size=4),
    k=st.integers(1, 30),
    exclude_seen=st.booleans(),
)
def test_answers_equal_an_independent_computation(servable, exported, histories, k, exclude_seen):
    histories = [raw(exported, history) for history in histories]
    outputs = run(servable, exported, histories, k, exclude_seen)
    check(outputs, exported, histories, k, exclude_seen)


def test_seen_items_beyond_the_most_recent_are_excluded(servable, exported):
    # Given a history of all items but three, many times longer than L = 4
    history = raw(exported, list(range(1, 28)))
    # When more items are asked for than remain
    outputs = run(servable, exported, [history], k=5)
    # Then the three others are recommended, and nothing twice
    assert set(decoded(outputs["ids"][0])[:3]) == set(raw(exported, [28, 29, 30]))
    assert decoded(outputs["ids"][0])[3:] == [padding(exported)] * 2
    assert np.isneginf(outputs["scores"][0, 3:]).all()


def test_only_the_most_recent_items_count(servable, exported):
    old, recent = [1, 2, 3], [9, 8, 7, 6]
    with_old = run(servable, exported, [raw(exported, old + recent)], 30, exclude_seen=False)
    without = run(servable, exported, [raw(exported, recent)], 30, exclude_seen=False)
    np.testing.assert_array_equal(with_old["ids"], without["ids"])


def test_every_item_can_be_recommended_and_nothing_else(servable, exported):
    outputs = run(servable, exported, [raw(exported, [5])], 30, exclude_seen=False)
    assert set(decoded(outputs["ids"][0])) == set(raw(exported, list(range(1, 31))))
    assert np.isfinite(outputs["scores"]).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_empty_batches_and_histories(servable, exported, shape):
    dtype = np.int64 if exported.vocabulary.item_ids is None else object
    inputs = {"history": np.zeros(shape, dtype), "k": np.int32(3), "exclude_seen": np.bool_(True)}
    outputs = servable.run("recommend", inputs)
    assert outputs["ids"].shape == (shape[0], 3)
    assert outputs["fallback"].all()


@pytest.mark.parametrize("k", [0, -1, 31, 2**31 - 1, -(2**31)])
def test_k_out_of_bounds_is_an_invalid_argument(servable, exported, k):
    with pytest.raises(tf.errors.InvalidArgumentError, match="`k` should be from 1 to 30"):
        run(servable, exported, [raw(exported, [1])], k)


@pytest.mark.parametrize("output", ["ids", "unknown", "fallback"])
def test_k_is_checked_whatever_output_is_wanted(exported, output):
    # TensorFlow Serving fetches only the outputs of a request's filter.
    graph = tf.Graph()
    with tf.compat.v1.Session(graph=graph) as session, graph.as_default():
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(exported.path))
        signature = meta.signature_def["recommend"]
        feed = {
            signature.inputs["history"].name: [raw(exported, [1])],
            signature.inputs["k"].name: 31,
            signature.inputs["exclude_seen"].name: True,
        }
        with pytest.raises(tf.errors.InvalidArgumentError, match="`k` should be"):
            session.run(signature.outputs[output].name, feed)


def test_signatures(servable, exported):
    assert set(servable.signatures) == {"recommend", "serving_default"}
    for signature in servable.signatures.values():
        names = {"names"} if exported.vocabulary.item_names else set()
        assert set(signature.inputs) == {"history", "k", "exclude_seen"}
        assert set(signature.outputs) == {"ids", "scores", "unknown", "fallback"} | names


def test_loading_leaves_eager_mode_on(servable):
    assert tf.executing_eagerly()
    assert tf.compat.v1.get_default_graph() is not servable._session.graph


def test_no_xla_in_the_graph(graph_def):
    nodes = [*graph_def.node, *(node for f in graph_def.library.function for node in f.node_def)]
    assert len(nodes) > 50
    assert not [node.op for node in nodes if "xla" in node.op.lower()]
    for function in graph_def.library.function:
        assert not function.attr["_XlaMustCompile"].b


def test_the_vocabulary_is_in_files_not_in_the_graph(strings):
    graph = (strings.path / "saved_model.pb").read_bytes()
    for text in ("asin-17", "Item number 17"):
        assert text.encode() not in graph
    assert sorted(path.name for path in (strings.path / "assets").iterdir()) == [
        "item_ids.txt",
        "item_names.txt",
    ]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_encoder_of_fenrec(tmp_path, precision):
    class Holder:
        encoder = SASRecEncoder(40, dim=8, max_length=5, num_blocks=2, hidden_dim=8, dtype=precision)

    vocabulary = Vocabulary(40, None, None, tuple(range(1, 41)))
    servable = Servable(export_model(Holder, vocabulary, tmp_path, "model"))
    history = np.array([[3, 9, 0, 27, 1, 40, 2], [7, 0, 0, 0, 0, 0, 0], [0] * 7], np.int64)
    outputs = servable.run("recommend", {"history": history, "k": np.int32(40), "exclude_seen": np.bool_(False)})
    aligned = np.array([[9, 27, 1, 40, 2], [0, 0, 0, 0, 7]], np.int32)
    users = np.asarray(tf.cast(Holder.encoder(aligned), tf.float32))
    scores = users @ np.asarray(Holder.encoder.item_embeddings)[1:41].T
    tolerance = 1e-5 if precision == "float32" else 1e-2
    np.testing.assert_allclose(outputs["scores"][:2], -np.sort(-scores), rtol=tolerance, atol=tolerance / 10)
    assert outputs["fallback"].tolist() == [False, False, True]
    assert outputs["ids"][2].tolist() == list(range(1, 41))


def test_warm_up_requests_are_answered(servable, exported):
    path = exported.path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert [len(servable_answer(servable, log)["ids"]) for log in logs] == list(saved_model.WARMUP_ROWS)
    assert {log.predict_log.request.model_spec.name for log in logs} == {exported.path.parent.name}


def servable_answer(servable, log):
    request = log.predict_log.request
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    return servable.run(request.model_spec.signature_name, inputs)


def test_model_card(exported):
    card = json.loads((exported.path / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
    assert card["training"] == {"dataset": "fake"}
    assert card["version"] == int(exported.path.name)
    history = card["signatures"]["recommend"]["inputs"]["history"]
    assert history["shape"] == [None, None]
    assert history["dtype"] == ("int64" if exported.vocabulary.item_ids is None else "string")


def test_versions_count_up_and_are_never_replaced(tmp_path):
    model = fake_model(5)
    assert export_model(model, SMALL, tmp_path, "m").name == "1"
    assert export_model(model, SMALL, tmp_path, "m", version=9).name == "9"
    assert export_model(model, SMALL, tmp_path, "m").name == "10"
    with pytest.raises(InputError, match="`version` should be a new one"):
        export_model(model, SMALL, tmp_path, "m", version=9)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1", "10", "9"]


def test_the_loser_of_a_race_for_a_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "_write_warmup", lambda *_: _publish(tmp_path / "m" / "1"))
    with pytest.raises(InputError, match="`version` should be a new one"):
        export_model(fake_model(5), SMALL, tmp_path, "m")
    assert (tmp_path / "m" / "1" / "winner").exists()


def _publish(version: Path) -> None:
    version.mkdir()
    (version / "winner").touch()


@pytest.mark.parametrize(("name", "version"), [("", 1), ("a/b", 1), ("..", 1), (".hidden", 1), ("m", 0), ("m", -3)])
def test_names_and_versions_that_a_server_cannot_use(tmp_path, name, version):
    with pytest.raises(InputError, match=r"`name` should|`version` should"):
        export_model(fake_model(5), SMALL, tmp_path, name, version)
    assert not list(tmp_path.iterdir())


def test_the_vocabulary_must_be_the_models(tmp_path):
    with pytest.raises(InputError, match=r"should be of the model's 6 items\. Received: one of 5"):
        export_model(fake_model(6), SMALL, tmp_path, "m")


def test_an_error_half_way_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_model, "_write_warmup", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export_model(fake_model(5), SMALL, tmp_path, "m")
    assert not list((tmp_path / "m").iterdir())


def test_killed_half_way_publishes_nothing(tmp_path):
    # Given an export that is killed with the SavedModel written but not yet published
    script = """
import os, signal, sys
from fake_model import fake_model
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.export import export_model, saved_model
saved_model._write_warmup = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
export_model(fake_model(5), Vocabulary(5, None, None, (1, 2, 3, 4, 5)), sys.argv[1], "m")
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    # Then a server sees no version, and the next export is version 1
    [left] = (tmp_path / "m").iterdir()
    assert (left / "saved_model.pb").exists()
    assert not left.name.isdecimal()
    assert latest_versions(tmp_path) == {}
    assert export_model(fake_model(5), SMALL, tmp_path, "m").name == "1"
