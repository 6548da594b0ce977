"""Items added at export: placed, recommended, and refused with file and line."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from fake_model import fake_model
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Loaded

from tf_fenrec.cli.export import main
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.export import export_model
from tf_fenrec.export.added import added_items
from tf_fenrec.systems.fenrec import FENRec, FENRecConfig

STRINGS = Vocabulary(4, ("a", "b", "c", "d"), None, (2, 1, 4, 3))
INTEGERS = Vocabulary(4, None, ("A", "B", "C", "D"), (2, 1, 4, 3))
VECTORS = np.arange(24, dtype=np.float32).reshape(4, 6)


def write(path, *lines) -> str:
    file = path / "new.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def recommend(served: Loaded, history: list, dtype: type, k: int) -> dict[str, np.ndarray]:
    none = np.zeros((1, 0), dtype)
    inputs = {"history": np.array([history], dtype), "exclude": none, "allow": none}
    return served.run("recommend", inputs | {"k": np.array([k]), "exclude_seen": np.array([False])})


def test_added_items_are_recommended_and_count_in_histories(tmp_path):
    # Given a model of four items, and a fifth like a and c, a sixth with the vector of b doubled
    model = fake_model(4)
    before = np.array(model.encoder.item_embeddings)
    table = before[1:5]
    new = write(
        tmp_path,
        {"id": "e", "similar": ["a", "c"]},
        "",
        {"id": "f", "name": "Sixth", "vector": (2 * table[1]).tolist()},
    )
    path = export_model(model, STRINGS, tmp_path, "m", add_items=new)
    np.testing.assert_array_equal(model.encoder.item_embeddings, before)
    served = Loaded(path)
    # Then their vectors are those
    vectors = served.run("item_vectors", {"positions": np.arange(1, 8, dtype=np.int32)})
    assert vectors["ids"].tolist() == [b"a", b"b", b"c", b"d", b"e", b"f", b""]
    expected = np.stack([*table, (table[0] + table[2]) / 2, 2 * table[1], np.zeros(6)])
    np.testing.assert_allclose(vectors["vectors"], expected, rtol=1e-6)
    # a history of them makes the user that the model makes of such vectors
    user = served.run("embed", {"history": np.array([["b", "f"]], object)})["vectors"][0]
    np.testing.assert_allclose(user, 0.9 * table[1] + 2 * table[1], rtol=1e-5)
    # all are ranked by user times item
    outputs = recommend(served, ["b", "f"], object, 6)
    ranked = np.argsort(-(expected[:6] @ user))
    assert outputs["ids"][0].tolist() == [b"abcdef"[i : i + 1] for i in ranked]
    assert outputs["unknown"] == [0]
    # and without a history they come last, in the order of the file
    popular = recommend(served, [], object, 6)
    assert popular["ids"][0].tolist() == [b"b", b"a", b"d", b"c", b"e", b"f"]
    assert popular["names"][0].tolist() == [b"b", b"a", b"d", b"c", b"e", b"Sixth"]
    card = json.loads((path / "assets.extra/model_card.json").read_text())
    assert (card["num_items"], card["added_items"]) == (6, 2)


def test_added_items_of_integer_ids_are_the_next_integers(tmp_path):
    new = write(tmp_path, {"id": 5, "similar": [1]}, {"id": 6, "similar": [2, 2, 4]})
    served = Loaded(export_model(fake_model(4), INTEGERS, tmp_path, "m", add_items=new))
    outputs = recommend(served, [], np.int64, 6)
    assert outputs["ids"].tolist() == [[2, 1, 4, 3, 5, 6]]
    assert outputs["names"][0].tolist() == [b"B", b"A", b"D", b"C", b"5", b"6"]


def test_the_command_line(tmp_path, capsys):
    # Given what a training leaves, and a good and a bad file
    keras.utils.set_random_seed(0)
    FENRec(FENRecConfig(dim=6, max_length=4, fine_weight=0.0), 4).save(tmp_path / "best.keras")
    STRINGS.save(tmp_path / "vocabulary.json")
    (tmp_path / "config.json").write_text(json.dumps({"dataset": {"name": "fake", "sha256": "0123"}}))
    write(tmp_path, {"id": "e", "similar": ["a"]}, {"id": "b", "similar": ["a"]})
    common = ["--run", str(tmp_path), "--to", str(tmp_path / "models")]
    # When they are exported
    assert main([*common, "--add-items", str(tmp_path / "new.jsonl")]) == 2
    assert 'new.jsonl:2: "id" should be new' in capsys.readouterr().err
    assert main([*common, "--index", "ivf"]) == 2
    assert '`index` should be "exact" for these items' in capsys.readouterr().err
    write(tmp_path, {"id": "e", "similar": ["a"]})
    assert main([*common, "--add-items", str(tmp_path / "new.jsonl")]) == 0
    # Then the version says what it is made of
    card = json.loads((tmp_path / "models/fenrec/1/assets.extra/model_card.json").read_text())
    assert (card["num_items"], card["added_items"], card["index"]) == (5, 1, {"kind": "exact"})
    assert card["training"]["dataset"]["sha256"] == "0123"


GOOD = {"id": "e", "similar": ["a"]}


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "a line should be a JSON object"),
        ("[" * 10**5, "a line should be a JSON object"),
        ("[]", "a line should be a JSON object"),
        ({"id": "f"}, '"similar" or "vector"'),
        ({"id": "f", "similar": ["a"], "vector": [1] * 6}, '"similar" or "vector"'),
        ({"id": "f", "similar": ["a"], "colour": 1}, '"similar" or "vector"'),
        ({"similar": ["a"]}, '"id" should be a string'),
        ({"id": 5, "similar": ["a"]}, '"id" should be a string'),
        ({"id": "", "similar": ["a"]}, '"id" should be a string'),
        ({"id": "x\ny", "similar": ["a"]}, '"id" should be a string of one line'),
        ({"id": "\ud800", "similar": ["a"]}, '"id" should be a string of one line'),
        ({"id": "b", "similar": ["a"]}, r'"id" should be new. The model has .* Received: \'b\''),
        ({"id": "e", "similar": ["a"]}, r'"id" should be new. A line before has it too. Received: \'e\''),
        ({"id": "f", "similar": []}, '"similar" should be a list'),
        ({"id": "f", "similar": "a"}, '"similar" should be a list'),
        ({"id": "f", "similar": ["a", "e"]}, r'"similar" should hold ids of the model. Received: \'e\''),
        ({"id": "f", "similar": [["a"]]}, '"similar" should hold ids of the model'),
        ({"id": "f", "vector": [1] * 5}, r'"vector" should be a list of 6 numbers. Received: \'5 values\''),
        ({"id": "f", "vector": [1, 2, 3, 4, 5, float("nan")]}, '"vector" should hold finite numbers. Received: nan'),
        ({"id": "f", "vector": [1, 2, 3, 4, 5, 1e39]}, '"vector" should hold finite numbers'),
        ({"id": "f", "vector": [1, 2, 3, 4, 5, True]}, '"vector" should hold finite numbers'),
        ({"id": "f", "name": 3, "similar": ["a"]}, '"name" should be a string of one line'),
        ({"id": "f", "name": "x\ry", "similar": ["a"]}, '"name" should be a string of one line'),
    ],
)
def test_errors_name_file_and_line(tmp_path, line, rule):
    with pytest.raises(InputError, match=rf"new\.jsonl:2: .*{rule}"):
        added_items(write(tmp_path, GOOD, line), STRINGS, VECTORS)


@pytest.mark.parametrize("raw", [4, 6, 0, "5", 5.0, True, None])
def test_integer_ids_must_be_the_next_ones(tmp_path, raw):
    with pytest.raises(InputError, match=r"new\.jsonl:1: \"id\" should be the next integer, 5"):
        added_items(write(tmp_path, {"id": raw, "similar": [1]}), INTEGERS, VECTORS)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"new\.jsonl: should hold at least one item"):
        added_items(write(tmp_path, "", "  "), STRINGS, VECTORS)


@settings(max_examples=50)
@given(st.binary(max_size=60))
def test_no_file_is_a_bug(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"any\.jsonl"):
        added_items(path, STRINGS, VECTORS)
