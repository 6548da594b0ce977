"""The exported SavedModel, loaded and run through a session as TensorFlow Serving does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fake_model import fake_model
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Loaded, user_vector
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.export import export_model, saved_model
from tf_fenrec.export.recommender import LARGEST, Recommender
from tf_fenrec.export.search import ExactSearch
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.serving.versions import model_directories

SMALL = Vocabulary(5, None, None, (1, 2, 3, 4, 5))


@dataclass
class Holder:
    """The one thing that export needs of a model."""

    encoder: SASRecEncoder


@pytest.fixture(scope="module")
def served(exported) -> Loaded:
    return Loaded(exported.path)


@pytest.fixture(scope="module")
def graph_def(exported):
    parsed = saved_model_pb2.SavedModel.FromString((exported.path / "saved_model.pb").read_bytes())
    return parsed.meta_graphs[0].graph_def


def inputs_of(exported, histories, k, exclude_seen=True, exclude=None, allow=None) -> dict[str, np.ndarray]:
    """Inputs of `recommend`; k and exclude_seen may be given for all rows at once."""
    rows = len(histories)
    return {
        "history": exported.padded(histories),
        "k": np.broadcast_to(np.array(k, np.int32), rows),
        "exclude_seen": np.broadcast_to(exclude_seen, rows),
        "exclude": exported.padded(exclude or [[]] * rows),
        "allow": exported.padded(allow or [[]] * rows),
    }


def decoded(values: np.ndarray) -> list:
    return [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]


def check_row(outputs, row: int, exported, expected) -> None:
    """A row equals the reference, missing candidates are padded."""
    missing = outputs["ids"].shape[1] - len(expected.ids)
    assert decoded(outputs["ids"][row]) == expected.ids + [exported.padding] * missing
    scores = expected.scores + [-np.inf] * missing
    np.testing.assert_allclose(outputs["scores"][row], scores, rtol=1e-5, atol=1e-7)
    assert outputs["unknown"][row] == expected.unknown
    assert outputs["fallback"][row] == expected.fallback
    if expected.names is not None:
        assert decoded(outputs["names"][row]) == expected.names + [""] * missing


ITEMS = st.integers(-2, 33)  # known ones, the padding, the row of the mask, unknown ones
ROWS = st.tuples(
    st.lists(ITEMS, max_size=12),
    st.integers(1, 30),
    st.booleans(),
    st.lists(ITEMS, max_size=8),
    st.lists(ITEMS, max_size=3) | st.lists(ITEMS, min_size=6, max_size=12),  # scored alone, or with all items
)


@settings(max_examples=60)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_answers_equal_an_independent_computation(served, exported, rows):
    rows = [(exported.raw(h), k, seen, exported.raw(x), exported.raw(a)) for h, k, seen, x, a in rows]
    outputs = served.run("recommend", inputs_of(exported, *map(list, zip(*rows, strict=True))))
    assert outputs["ids"].shape == (len(rows), max(row[1] for row in rows))
    for number, row in enumerate(rows):
        check_row(outputs, number, exported, exported.reference(*row))


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(st.lists(ITEMS, max_size=12), st.lists(ITEMS, max_size=12)), min_size=1, max_size=4))
def test_scores_and_vectors_equal_an_independent_computation(served, exported, rows):
    histories, candidates = ([exported.raw(row[i]) for row in rows] for i in (0, 1))
    history, given_items = exported.padded(histories), exported.padded(candidates)
    embedded = served.run("embed", {"history": history})
    scored = served.run("score", {"history": history, "candidates": given_items})
    table = np.asarray(exported.model.encoder.item_embeddings)
    for row, raw_history in enumerate(histories):
        user, _, unknown = user_vector(exported.model, exported.vocabulary, raw_history)
        vector = np.zeros(table.shape[1]) if user is None else user
        np.testing.assert_allclose(embedded["vectors"][row], vector, rtol=1e-5, atol=1e-7)
        items = [*rows[row][1], *[0] * (given_items.shape[1] - len(rows[row][1]))]
        expected = [float(table[item] @ vector) if 1 <= item <= 30 else -np.inf for item in items]
        np.testing.assert_allclose(scored["scores"][row], expected, rtol=1e-5, atol=1e-7)
        for outputs in (embedded, scored):
            assert outputs["unknown"][row] == unknown
            assert outputs["fallback"][row] == (user is None)


def test_item_vectors_are_paged_until_padding(served, exported):
    ids: list = []
    while exported.padding not in ids:
        positions = np.arange(len(ids) + 1, len(ids) + 8, dtype=np.int32)
        outputs = served.run("item_vectors", {"positions": positions})
        table = np.asarray(exported.model.encoder.item_embeddings)
        expected = [table[p] if p <= 30 else np.zeros(table.shape[1]) for p in positions]
        np.testing.assert_array_equal(outputs["vectors"], expected)
        ids += decoded(outputs["ids"])
    assert ids == exported.raw(list(range(1, 31))) + [exported.padding] * 5
    outside = served.run("item_vectors", {"positions": np.array([0, -1, 31, 2**31 - 1, -(2**31)], np.int32)})
    assert decoded(outside["ids"]) == [exported.padding] * 5
    assert not outside["vectors"].any()


def test_requests_put_in_one_batch_are_answered_alike(served, exported):
    # Given requests of different widths and k, as the server's batching puts them together: padded to the widest
    rows = [([5, 9], 3, True, [1], []), ([], 7, False, [], [2, 8]), ([3], 1, True, [], []), ([40], 2, True, [30], [])]
    rows = [(exported.raw(h), k, seen, exported.raw(x), exported.raw(a)) for h, k, seen, x, a in rows]
    together = served.run("recommend", inputs_of(exported, *map(list, zip(*rows, strict=True))))
    # Then each gets what it gets alone, and nothing beyond its own k
    for number, row in enumerate(rows):
        alone = served.run("recommend", inputs_of(exported, *([value] for value in row)))
        assert decoded(together["ids"][number])[: row[1]] == decoded(alone["ids"][0])
        assert decoded(together["ids"][number])[row[1] :] == [exported.padding] * (7 - row[1])
        assert np.isneginf(together["scores"][number][row[1] :]).all()


def test_seen_items_beyond_the_most_recent_are_excluded(served, exported):
    # Given a history of all items but three, many times longer than L = 4
    history = exported.raw(list(range(1, 28)))
    # When more items are asked for than remain
    outputs = served.run("recommend", inputs_of(exported, [history], 5))
    # Then the three others are recommended, and nothing twice
    assert set(decoded(outputs["ids"][0])[:3]) == set(exported.raw([28, 29, 30]))
    assert decoded(outputs["ids"][0])[3:] == [exported.padding] * 2
    assert np.isneginf(outputs["scores"][0, 3:]).all()


def test_only_the_most_recent_items_count(served, exported):
    old, recent = [1, 2, 3], [9, 8, 7, 6]
    histories = [exported.raw(old + recent), exported.raw(recent)]
    outputs = served.run("recommend", inputs_of(exported, histories, 30, exclude_seen=False))
    np.testing.assert_array_equal(outputs["ids"][0], outputs["ids"][1])


def test_every_item_can_be_recommended_and_nothing_else(served, exported):
    outputs = served.run("recommend", inputs_of(exported, [exported.raw([5])], 30, exclude_seen=False))
    assert set(decoded(outputs["ids"][0])) == set(exported.raw(list(range(1, 31))))
    assert np.isfinite(outputs["scores"]).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_empty_batches_and_histories(served, exported, shape):
    empty = exported.padded([[]] * shape[0])
    history = np.resize(exported.padded([[exported.padding]]), shape)
    inputs = inputs_of(exported, [[]] * shape[0], 3) | {"history": history}
    assert served.run("recommend", inputs)["ids"].shape == (shape[0], 3 if shape[0] else 0)
    assert served.run("score", {"history": history, "candidates": empty})["scores"].shape == (shape[0], 0)
    assert not served.run("embed", {"history": history})["vectors"].any()
    assert served.run("item_vectors", {"positions": np.zeros(0, np.int32)})["ids"].shape == (0,)


@pytest.mark.parametrize("k", [0, -1, 31, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("output", ["ids", "unknown", "fallback"])  # the server fetches only those that are wanted
def test_k_out_of_bounds_is_an_invalid_argument(served, exported, k, output):
    inputs = inputs_of(exported, [exported.raw([1])] * 2, [3, k])
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"`k` should be from 1 to 30,.*Received:\] \[{k}\]"):
        served.run("recommend", inputs, output)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("history", (2,), r"`history` should have 2 dimensions. Received the shape:\] \[2\]"),
        ("history", (), r"`history` should have 2 dimensions. Received the shape:\] \[\]"),
        ("k", (), r"`k` should have 1 dimension. Received the shape:\] \[\]"),
        ("k", (3,), r"`k` should have as many rows as `history`. Received:\] \[3\]"),
        ("exclude_seen", (2, 1), r"`exclude_seen` should have 1 dimension. Received the shape:\] \[2 1\]"),
        ("exclude", (1, 1), r"`exclude` should have as many rows as `history`. Received:\] \[1\]"),
        ("allow", (2, 1, 1), r"`allow` should have 2 dimensions. Received the shape:\] \[2 1 1\]"),
        ("allow", (0, 4), r"`allow` should have as many rows as `history`. Received:\] \[0\]"),
        ("candidates", (2,), r"`candidates` should have 2 dimensions"),
        ("candidates", (3, 1), r"`candidates` should have as many rows as `history`"),
        ("positions", (2, 2), r"`positions` should have 1 dimension. Received the shape:\] \[2 2\]"),
    ],
)
def test_wrong_shapes_are_invalid_arguments_that_name_the_input(served, exported, name, shape, message):
    some = [exported.raw([1])] * 2
    recommend = inputs_of(exported, some, 3, exclude=some, allow=some)
    requests = {
        "recommend": recommend,
        "score": {"history": recommend["history"], "candidates": recommend["history"]},
        "item_vectors": {"positions": np.zeros(2, np.int32)},
    }
    signature = next(key for key, inputs in requests.items() if name in inputs)
    good = requests[signature]
    served.run_unchecked(signature, good)
    wrong = np.array(np.resize(good[name].ravel(), shape))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served.run_unchecked(signature, good | {name: wrong})


def test_wrong_dtypes_are_invalid_arguments(served, exported):
    good = inputs_of(exported, [exported.raw([1])], 3)
    for name, value in good.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expects arg"):
            served.run_unchecked("recommend", good | {name: np.zeros(value.shape, np.float32)})


def test_more_rows_than_fit_in_memory_are_refused(served, exported):
    # A few bytes can claim any number of rows of no columns.
    rows = json.loads((exported.path / "assets.extra/model_card.json").read_text())["max_rows"]
    assert rows == 4096
    wide = exported.padded([[]] * (rows + 1))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`history` should have at most 4096 rows.*\[4097\]"):
        served.run("embed", {"history": wide})
    assert len(served.run("embed", {"history": wide[:rows]})["vectors"]) == rows


def test_long_histories_mean_fewer_rows():
    # The attention of a row has num_heads L^2 numbers, beyond L = 2 D more than anything else.
    encoder = SASRecEncoder(num_items=5, dim=4, max_length=1024, num_blocks=1, num_heads=2)
    rows = Recommender(encoder, ExactSearch(encoder.item_embeddings, 5), SMALL, Path()).max_rows
    assert rows * 2 * 1024**2 <= LARGEST < (rows + 1) * 2 * 1024**2


def test_hostile_ids_are_unknown(served, exported):
    hostile = ["x" * 10**6, "\ud800".encode("utf-8", "surrogatepass"), b"\xff\xfe", "a\nb", "0 ", "\0", "nan", "-inf"]
    if exported.vocabulary.item_ids is None:
        hostile = [2**63 - 1, -(2**63), 2**32 + 1, 2**31, -(2**31), 31, -1, 1 - 2**32]
    request = inputs_of(exported, [hostile], 3, exclude=[hostile], allow=None)
    outputs = served.run("recommend", request)
    assert outputs["unknown"] == [8]
    assert decoded(outputs["ids"][0]) == exported.raw(list(exported.vocabulary.popular[:3]))
    outputs = served.run("recommend", inputs_of(exported, [hostile], 3, allow=[hostile]))
    assert decoded(outputs["ids"][0]) == [exported.padding] * 3


def test_signatures(served, exported):
    history, few = {"history"}, {"unknown", "fallback"}
    names = {"names"} if exported.vocabulary.item_names else set()
    recommend = (history | {"k", "exclude_seen", "exclude", "allow"}, few | {"ids", "scores"} | names)
    expected = {
        "recommend": recommend,
        "serving_default": recommend,
        "score": (history | {"candidates"}, few | {"scores"}),
        "embed": (history, few | {"vectors"}),
        "item_vectors": ({"positions"}, {"ids", "vectors"}),
    }
    assert {key: (set(s.inputs), set(s.outputs)) for key, s in served.signatures.items()} == expected


def test_every_input_has_the_batch_first(served):
    for signature in served.signatures.values():
        for info in signature.inputs.values():
            assert [dim.size for dim in info.tensor_shape.dim] in ([-1], [-1, -1])


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


@pytest.mark.parametrize("name", ["item_ids.txt", "item_names.txt"])
def test_a_truncated_vocabulary_is_not_loaded(strings, tmp_path, name):
    copy = shutil.copytree(strings.path, tmp_path / "1")
    lines = (copy / "assets" / name).read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "assets" / name).write_text("".join(lines[:-3]), encoding="utf-8")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name}: expected {len(lines)} but got {len(lines) - 3}"):
        Loaded(copy)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_encoder_of_fenrec(tmp_path, precision):
    encoder = SASRecEncoder(40, dim=8, max_length=5, num_blocks=2, hidden_dim=8, dtype=precision)
    vocabulary = Vocabulary(40, None, None, tuple(range(1, 41)))
    served = Loaded(export_model(Holder(encoder), vocabulary, tmp_path, "model"))
    history = np.array([[3, 9, 0, 27, 1, 40, 2], [7, 0, 0, 0, 0, 0, 0], [0] * 7], np.int64)
    none = np.zeros((3, 0), np.int64)
    outputs = served.run(
        "recommend",
        {"history": history, "k": np.full(3, 40), "exclude_seen": np.zeros(3, bool), "exclude": none, "allow": none},
    )
    aligned = np.array([[9, 27, 1, 40, 2], [0, 0, 0, 0, 7]], np.int32)
    users = np.asarray(tf.cast(encoder(aligned), tf.float32))
    scores = users @ np.asarray(encoder.item_embeddings)[1:41].T
    tolerance = 1e-5 if precision == "float32" else 1e-2
    np.testing.assert_allclose(outputs["scores"][:2], -np.sort(-scores), rtol=tolerance, atol=tolerance / 10)
    assert outputs["fallback"].tolist() == [False, False, True]
    assert outputs["ids"][2].tolist() == list(range(1, 41))


def test_the_items_are_stored_once(tmp_path):
    encoder = SASRecEncoder(20000, dim=16, max_length=5, num_blocks=1, hidden_dim=8)
    path = export_model(Holder(encoder), Vocabulary(20000, None, None, tuple(range(1, 20001))), tmp_path, "m")
    [data] = path.joinpath("variables").glob("variables.data*")
    assert data.stat().st_size < 20000 * (16 + 2) * 4 * 1.05  # vectors, and the order and place of popularity
    assert (path / "saved_model.pb").stat().st_size < 10**6


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = fake_model(5)
    model.encoder.item_embeddings.assign(np.full((7, 6), np.nan))
    with pytest.raises(InputError, match=r"`model` should have finite weights\. Received: NaN"):
        export_model(model, SMALL, tmp_path, "m")


def test_warm_up_requests_are_answered(served, exported):
    path = exported.path / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    assert len(requests) <= 1000  # more are refused by the server
    assert {request.model_spec.name for request in requests} == {exported.path.parent.name}
    sizes = set()
    for request in requests:
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = served.run(request.model_spec.signature_name, inputs)
        sizes.add((request.model_spec.signature_name, len(next(iter(outputs.values())))))
    names = {"recommend", "score", "embed", "item_vectors"}
    assert sizes == {(name, rows) for name in names for rows in saved_model.WARMUP_ROWS}


def test_model_card(exported):
    card = json.loads((exported.path / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
    assert card["training"] == {"dataset": "fake"}
    assert card["version"] == int(exported.path.name)
    raw = "int64" if exported.vocabulary.item_ids is None else "string"
    assert set(card["signatures"]) == {"recommend", "score", "embed", "item_vectors"}
    history = card["signatures"]["recommend"]["inputs"]["history"]
    assert (history["dtype"], history["shape"]) == (raw, [None, None])
    assert card["signatures"]["recommend"]["inputs"]["k"]["bounds"] == [1, 30]
    for signature in card["signatures"].values():
        for tensors in signature.values():
            assert all(tensor["meaning"] for tensor in tensors.values())


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
    assert model_directories(tmp_path) == {}
    assert export_model(fake_model(5), SMALL, tmp_path, "m").name == "1"
