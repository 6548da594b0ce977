"""The search among all items: exact in two stages, and by lists."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from fake_model import FakeEncoder, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Loaded

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.export import export_model
from tf_fenrec.export.search import BLOCK, LIST, MOST, ExactSearch, ListSearch, best_columns, list_order

NUM_ITEMS = 10000


def sorted_best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and places of the k largest of each row, equals from the left: by a full sort."""
    places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, places, axis=1), places


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31), k=st.sampled_from([1, 2, 9, 10, 11, 40, 5120]), values=st.sampled_from([2, 30, 10**6])
)
def test_two_stages_equal_a_full_sort_with_its_ties(seed, k, values):
    # Given 40 blocks of scores with few different values, some of them -inf; 10 is the largest k for two stages
    random = np.random.default_rng(seed)
    scores = random.integers(0, values, (2, 40 * BLOCK)).astype(np.float32)
    scores[random.random(scores.shape) < 0.3] = -np.inf
    found = best_columns(tf.constant(scores), tf.constant(k))
    for given_, expected in zip(found, sorted_best(scores, k), strict=True):
        np.testing.assert_array_equal(given_, expected)


def test_rows_without_an_item_are_never_found():
    # Given a table where the padding and the rows beyond the items have the best scores by far
    table = np.full((BLOCK, 2), 100, np.float32)
    table[1:11] = np.random.default_rng(0).normal(size=(10, 2))
    search = ExactSearch(tf.Variable(table), 10)
    # When all items are asked for, two of them excluded
    scores, items = search.best(tf.ones([1, 2]), tf.constant([[3, 0, 7, 3]]), tf.constant(10))
    assert set(items.numpy()[0, :8]) == {1, 2, 4, 5, 6, 8, 9, 10}
    assert np.isneginf(scores[0, 8:]).all()


@pytest.fixture(scope="module")
def clustered() -> np.ndarray:
    """[V, D] in 40 clusters."""
    random = np.random.default_rng(0)
    group = np.arange(NUM_ITEMS) % 40
    return (random.normal(size=(40, 16))[group] + 0.2 * random.normal(size=(NUM_ITEMS, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def order(clustered) -> np.ndarray:
    return list_order(clustered)


def test_the_order_of_lists_holds_every_item_once(order):
    np.testing.assert_array_equal(np.sort(order), np.arange(1, NUM_ITEMS + 1))


def lists(clustered: np.ndarray, order: np.ndarray, probes: int) -> ListSearch:
    size = -(-(NUM_ITEMS + 1) // BLOCK) * BLOCK
    table = np.full((size, 16), 100, np.float32)  # what has no item would be the best of all
    table[1 : NUM_ITEMS + 1] = clustered[order - 1]
    return ListSearch(tf.Variable(table), order, probes)


@pytest.mark.parametrize("k", [1, 20, MOST, MOST + 1, NUM_ITEMS])
def test_lists_find_what_is_in_them(clustered, order, k):
    # Given a search among few lists, users near items, and for each an exclusion of its best items
    random = np.random.default_rng(1)
    users = clustered[random.integers(NUM_ITEMS, size=5)]
    exact = users @ clustered.T
    excluded = np.argsort(-exact, axis=1)[:, :7] + 1
    np.put_along_axis(exact, excluded - 1, -np.inf, axis=1)
    search = lists(clustered, order, 30)
    assert 30 * LIST > MOST
    # When it searches
    scores, items = (
        x.numpy() for x in search.best(tf.constant(users), tf.constant(excluded, tf.int32), tf.constant(k))
    )
    # Then each item has its own score, once, in order, none is excluded
    for row in range(5):
        found = items[row][scores[row] > -np.inf]
        assert len(set(found)) == len(found) == min(k, NUM_ITEMS - 7)
        np.testing.assert_allclose(scores[row][: len(found)], exact[row, found - 1], rtol=1e-4, atol=1e-5)
        assert (np.diff(scores[row][: len(found)]) <= 0).all()
    # and beyond MOST they are the best; few nearly are
    best, _ = sorted_best(exact, k)
    if k > MOST:
        np.testing.assert_allclose(scores, best, rtol=1e-4, atol=1e-5)
    elif k <= 20:
        assert np.mean(np.isclose(scores, best, rtol=1e-4, atol=1e-5)) > 0.9


def test_all_lists_are_exact(clustered, order):
    users = np.random.default_rng(2).normal(size=(4, 16)).astype(np.float32)
    scores, items = lists(clustered, order, len(order) // LIST + 1).best(
        tf.constant(users), tf.zeros([4, 0], tf.int32), tf.constant(20)
    )
    values, places = sorted_best(users @ clustered.T, 20)
    np.testing.assert_allclose(scores, values, rtol=1e-4)
    assert np.mean(items.numpy() == places + 1) > 0.97  # equal but for rounding


@pytest.mark.parametrize("count", [100, 500, 5000])
def test_excluding_much_of_what_the_lists_hold_makes_it_exact(clustered, order, count):
    # Given a user whose best items are excluded: more than a quarter of the 256 in the probed lists
    user = clustered[:1]
    exact = user @ clustered.T
    excluded = np.argsort(-exact[0])[:count] + 1
    exact[0, excluded - 1] = -np.inf
    scores, _ = lists(clustered, order, 8).best(
        tf.constant(user), tf.constant(excluded[None], tf.int32), tf.constant(20)
    )
    np.testing.assert_allclose(scores, sorted_best(exact, 20)[0], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def pair(clustered, tmp_path_factory) -> tuple[Loaded, Loaded, dict]:
    """The same model exported both ways, and the model card of that with lists."""
    model = FakeModel(FakeEncoder(NUM_ITEMS, width=16, max_length=1))
    model.encoder.item_embeddings.assign(np.pad(clustered, [(1, 1), (0, 0)], constant_values=50))
    vocabulary = Vocabulary(NUM_ITEMS, None, None, tuple(range(NUM_ITEMS, 0, -1)))
    folder = tmp_path_factory.mktemp("models")
    exact = export_model(model, vocabulary, folder, "exact")
    ivf = export_model(model, vocabulary, folder, "ivf", index="ivf")
    card = json.loads((ivf / "assets.extra/model_card.json").read_text())
    return Loaded(exact), Loaded(ivf), card


def test_an_export_with_lists_answers_as_the_exact_one(pair, clustered):
    exact, ivf, _ = pair
    random = np.random.default_rng(3)
    history = random.integers(1, NUM_ITEMS + 1, (64, 4))
    history[0] = 0
    request = {
        "history": history,
        "k": np.full(64, 20, np.int32),
        "exclude_seen": np.ones(64, bool),
        "exclude": random.integers(0, NUM_ITEMS + 9, (64, 5)),
        "allow": np.zeros((64, 0), np.int64),
    }
    found, best = ivf.run("recommend", request), exact.run("recommend", request)
    shares = [np.isin(best["ids"][row], found["ids"][row]).mean() for row in range(64)]
    assert np.mean(shares) >= 0.98
    # One without a history gets the popular ones, whatever the order of the table is.
    np.testing.assert_array_equal(found["ids"][0], best["ids"][0])
    # Lists of allowed items are scored exactly.
    allowed = request | {"allow": random.integers(1, NUM_ITEMS + 1, (64, 30))}
    for name in ("ids", "scores"):
        a, b = (model.run("recommend", allowed, name)[name] for model in (ivf, exact))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    wide = request | {"allow": random.integers(1, NUM_ITEMS + 1, (64, 3000))}  # more than are scored alone
    np.testing.assert_allclose(
        *(model.run("recommend", wide, "scores")["scores"] for model in (ivf, exact)), rtol=1e-4, atol=1e-5
    )


def test_an_export_with_lists_keeps_the_numbers_of_items(pair, clustered):
    exact, ivf, _ = pair
    history = np.random.default_rng(4).integers(1, NUM_ITEMS + 1, (8, 4))
    positions = {"positions": np.arange(0, NUM_ITEMS + 2, dtype=np.int32)}
    vectors = ivf.run("item_vectors", positions)
    np.testing.assert_array_equal(vectors["vectors"][1:-1], clustered)
    assert not vectors["vectors"][[0, -1]].any()
    for name, inputs in (("embed", {"history": history}), ("score", {"history": history, "candidates": history})):
        for key, value in exact.run(name, inputs).items():
            np.testing.assert_allclose(ivf.run(name, inputs)[key], value, rtol=1e-5, atol=1e-6)


def test_the_card_tells_the_measured_recall(pair):
    _, _, card = pair
    index = card["index"]
    assert index["kind"] == "ivf"
    assert 0.99 <= index["recall@20"] <= 1
    assert index["probes"] * index["rows_of_a_list"] * 16 <= NUM_ITEMS


@pytest.mark.parametrize(("count", "received"), [(50, "too few for lists"), (4100, "recall@20 0")])
def test_items_for_which_lists_do_not_work_are_refused(tmp_path, count, received):
    # Given too few items, or such that no list is better than another
    model = FakeModel(FakeEncoder(count, width=64))
    model.encoder.item_embeddings.assign(np.random.default_rng(0).normal(size=(count + 2, 64)))
    vocabulary = Vocabulary(count, None, None, tuple(range(1, count + 1)))
    with pytest.raises(InputError, match=f'`index` should be "exact".*{received}'):
        export_model(model, vocabulary, tmp_path, "m", index="ivf")
    assert not list(tmp_path.glob("m/*"))
