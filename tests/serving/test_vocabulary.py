"""The vocabulary: popularity, rules, round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError

LINES = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))


@st.composite
def vocabularies(draw) -> Vocabulary:
    count = draw(st.integers(1, 20))
    ids = draw(st.none() | st.lists(LINES.filter(bool), min_size=count, max_size=count, unique=True).map(tuple))
    names = draw(st.none() | st.lists(LINES, min_size=count, max_size=count).map(tuple))
    return Vocabulary(count, ids, names, tuple(draw(st.permutations(range(1, count + 1)))))


@given(vocabularies())
def test_round_trip(tmp_path_factory, vocabulary):
    path = tmp_path_factory.getbasetemp() / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_popularity_counts_training_items_only():
    # Given users whose last two items are held out
    sequences = [[3, 3, 1, 2, 2], [3, 1, 4, 4]]
    items = np.concatenate(sequences).astype(np.int32)
    offsets = np.cumsum([0, *map(len, sequences)])
    # When
    vocabulary = Vocabulary.of(SequenceDataset("test", items, offsets, 4))
    # Then 3 was bought three times, 1 twice, 2 and 4 never: ties by id
    assert vocabulary.popular == (3, 1, 2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_ids": ("a", "b")}, "`item_ids` should have 3 entries"),
        ({"item_ids": ("a", "b", "a")}, "distinct"),
        ({"item_ids": ("a", "b", "")}, "padding"),
        ({"item_ids": ("a", "b", "c\nd")}, "one line"),
        ({"item_ids": ("a", "b", 3)}, "strings"),
        ({"item_names": ("a", "b", "c\rd")}, "`item_names` should be strings of one line"),
        ({"popular": (1, 2)}, "`popular`"),
        ({"popular": (1, 2, 2)}, "`popular`"),
        ({"popular": (0, 1, 2)}, "`popular`"),
    ],
)
def test_rules(change, message):
    good = {"num_items": 3, "item_ids": ("a", "b", "c"), "item_names": None, "popular": (1, 2, 3)}
    Vocabulary(**good)
    with pytest.raises(InputError, match=message):
        Vocabulary(**(good | change))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"num_items": 1}', '{"num_items": "1", "item_ids": 3}', "\ud800"]
)
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"vocabulary\.json: not a vocabulary"):
        Vocabulary.load(path)


@pytest.mark.parametrize("value", ["x", [2], 1.5])
def test_values_of_wrong_types_are_refused(value):
    good = {"num_items": 1, "item_ids": ["a"], "item_names": ["b"], "popular": [1]}
    for key in good:
        with pytest.raises((InputError, TypeError)):
            Vocabulary.from_json(good | {key: value})
