"""A model as an object: configuration, files, half precision, recommendations, construction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checks import MIXED, check_config, check_file
from tests.small_data import random_dataset
from tests.systems import tiny_systems
from tf_fenrec.data.rules.prefixes import SoftLabels
from tf_fenrec.errors import InputError
from tf_fenrec.losses import EnduringContrastive
from tf_fenrec.states.clustering import cluster_centroids
from tf_fenrec.systems import build_model, evaluation_batches, load_model, training_batches
from tf_fenrec.systems.fenrec import FENRec, FENRecConfig

ROWS = np.array([[0, 0, 0, 0, 0, 3, 1, 20], [1, 2, 3, 4, 5, 6, 7, 8]], np.int32)
VARIANTS: dict[str, dict[str, Any]] = {
    "fenrec": {
        "temperature": 0.5,
        "focal_temperature": 7.0,
        "margin": 0.1,
        "mix": 0.3,
        "hard_weight": 0.2,
        "form": "paper",
        "coarse_weight": 0.4,
    },
    "icsrec": {"hard_negatives": False, "temperature": 0.5, "fine_weight": 0.2, "num_clusters": 3},
    "sasrec": {"coarse_weight": 0.0, "fine_weight": 0.0},
    "gru": {"own_encoder": tiny_systems.GRUEncoder, "warm_up_epochs": 0},
}


def variant(name: str) -> FENRec:
    changes = dict(VARIANTS[name])
    own = changes.pop("own_encoder", None)
    return tiny_systems.model(own and own(tiny_systems.NUM_ITEMS, tiny_systems.WIDTH), **changes)


@pytest.mark.parametrize("name", VARIANTS)
def test_round_trips(name: str, tmp_path: Path) -> None:
    model = variant(name)
    check_config(model)
    loaded = check_file(model, lambda model: model(ROWS), tmp_path)
    assert loaded.config == model.config
    assert loaded.current_phase == model.current_phase
    for ours, theirs in zip(loaded.recommend([[1, 2]]), model.recommend([[1, 2]]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_load_model_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.keras: no such model file"):
        load_model(tmp_path / "none.keras")
    path = tmp_path / "model.keras"
    variant("sasrec").save(path)
    np.testing.assert_array_equal(load_model(path)(ROWS), variant("sasrec")(ROWS))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.keras: not a whole \.keras file"):
        load_model(path)


@pytest.mark.parametrize("policy", MIXED)
def test_mixed_precision_trains_in_full_precision_where_it_matters(policy: str) -> None:
    model = tiny_systems.model(tiny_systems.encoder(dtype=policy), warm_up_epochs=0)
    batches = tiny_systems.training()
    model.compile(run_eagerly=True)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    before = tiny_systems.weights(model)
    history = model.fit(batches, epochs=1, verbose=0).history
    assert np.isfinite([history[name] for name in ("loss", "recommendation_loss", "coarse_loss", "fine_loss")]).all()
    assert all(np.isfinite(weight).all() for weight in tiny_systems.weights(model))
    assert all((one != other).any() for one, other in zip(before, tiny_systems.weights(model), strict=True))
    inputs, targets = tiny_systems.batch(batches)
    assert model.encoder(inputs).dtype == policy.removeprefix("mixed_")
    assert {loss.dtype for loss in model.compute_losses(inputs, targets, tf.constant([0, 0])).values()} == {tf.float32}
    assert model(inputs).dtype == tf.float32
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


def test_a_step_compiled_for_a_gpu_can_use_every_variable() -> None:
    """TensorFlow keeps int32 variables in the host's memory."""
    model = tiny_systems.model()
    model.compile()
    model.optimizer.build(model.trainable_variables)
    assert not [variable.path for variable in (*model.variables, *model.metrics_variables) if variable.dtype == "int32"]


def test_half_precision_is_close_to_float32() -> None:
    inputs, targets = tiny_systems.batch(tiny_systems.training())
    values = {}
    for policy in ("float32", *MIXED):
        model = tiny_systems.model(tiny_systems.encoder(dtype=policy, dropout=0.0), fine_weight=0.0)
        model.current_phase = True
        values[policy] = float(model.compute_losses(inputs, targets, tf.constant([0, 0]))["loss"])
    assert values["mixed_float16"] == pytest.approx(values["float32"], rel=0.01)
    assert values["mixed_bfloat16"] == pytest.approx(values["float32"], rel=0.05)


def test_a_global_policy_reaches_the_encoder_only() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny_systems.model(tiny_systems.encoder())
        assert model.encoder(ROWS).dtype == tf.bfloat16
        assert model(ROWS).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(before)


def test_scores_are_dot_products_with_every_row_of_the_table() -> None:
    model = variant("fenrec")
    h, table = model.encoder(ROWS).numpy(), np.asarray(model.encoder.item_embeddings)
    assert table.shape == (22, 16)
    np.testing.assert_allclose(model(ROWS), h @ table.T, rtol=1e-5, atol=1e-6)


HISTORIES = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=12), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=["fenrec", "gru"])
def scorer(request: pytest.FixtureRequest) -> FENRec:
    model = variant(request.param)
    # Padding and mask rows that would win.
    table = 10 * np.asarray(model.encoder.item_embeddings)
    table[[0, 21]] = 100 * np.sign(model.encoder(ROWS).numpy()[0])
    model.encoder.item_embeddings.assign(table)
    return model


@settings(max_examples=25)
@given(histories=HISTORIES, k=st.integers(1, 20), exclude_seen=st.booleans())
def test_recommendations_are_the_best_allowed_items(
    scorer: FENRec, histories: list[list[int]], k: int, exclude_seen: bool
) -> None:
    ids, scores = scorer.recommend(histories, k, exclude_seen)
    assert ids.shape == scores.shape == (len(histories), k)
    rows = np.array([[0] * max(0, 8 - len(history)) + history[-8:] for history in histories], np.int32)
    expected = scorer(rows).numpy()
    for history, row_ids, row_scores, row in zip(histories, ids, scores, expected, strict=True):
        assert len(set(row_ids.tolist())) == k
        assert not {0, 21} & set(row_ids.tolist())
        allowed = set(range(1, 21)) - (set(history) if exclude_seen else set())
        best = sorted((row[item] for item in allowed), reverse=True)[:k]
        real = row_scores > -np.inf
        assert set(row_ids[real].tolist()) <= allowed
        np.testing.assert_allclose(row_scores[real], best, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(row[row_ids[real]], row_scores[real], rtol=1e-4, atol=1e-4)
        assert real.tolist() == sorted(real.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("histories", "k", "message"),
    [
        ([], 5, r"`histories` must hold at least one history"),
        ([[1], []], 5, r"a list of item ids, not empty\. Received: history 1 \[\]"),
        ([[1, 0]], 5, r"item ids are whole numbers from 1 to 20\. Received: history 0 \[1, 0\]"),
        ([[1], [21]], 5, r"item ids are whole numbers from 1 to 20\. Received: history 1 \[21\]"),
        (["a"], 5, r"a list of item ids, not empty\. Received: history 0 'a'"),
        ([1, 2], 5, r"a list of item ids, not empty\. Received: history 0 1"),
        ([["a"]], 5, r"item ids are whole numbers from 1 to 20\. Received: history 0 \['a'\]"),
        ([[1.5]], 5, r"item ids are whole numbers from 1 to 20\. Received: history 0 \[1.5\]"),
        ("ab", 5, r"`histories` must be a list of histories\. Received: 'ab'"),
        ([[1]], 0, r"`k` must be between 1 and the 20 items\. Received: k=0"),
        ([[1]], 21, r"`k` must be between 1 and the 20 items\. Received: k=21"),
    ],
)
def test_recommend_names_mistakes(scorer: FENRec, histories: list[list[int]], k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scorer.recommend(histories, k)


def test_a_configuration_becomes_its_model_and_batches() -> None:
    config = FENRecConfig(
        max_length=6, gamma=0.5, label_rule="position", view_rule="random", dim=12, num_blocks=3, num_heads=3,
        dropout=0.4, coarse_weight=0.6, fine_weight=0.7, num_clusters=5, temperature=0.8, warm_up_epochs=2, mix=0.1,
        hard_weight=0.9, focal_temperature=6.0, margin=0.15, form="paper", noise_portion=4, batch_size=16, seed=9,
    )  # fmt: skip
    model = build_model(config, 20)
    encoder = model.encoder
    assert (encoder.num_items, encoder.dim, encoder.max_length, encoder.num_blocks) == (20, 12, 6, 3)
    assert (encoder.num_heads, encoder.dropout, encoder.seed) == (3, 0.4, 9)
    assert model.enduring == EnduringContrastive(0.8, 6.0, 0.15, 0.1, 0.9, "paper")
    assert model.intents.num_clusters == 5
    assert [model.phase(epoch) for epoch in (0, 1, 2)] == [False, False, True]
    batches = training_batches(config, random_dataset())
    assert (batches.batch_size, batches.seed, batches.views["view2"].rule) == (16, 9, "random")
    assert (batches.rule.max_length, batches.rule.soft_labels) == (6, SoftLabels(0.5, "position"))
    held_out = evaluation_batches(config, random_dataset(), "test", "strict")
    assert (held_out.split, held_out.protocol) == ("test", "strict")


def test_the_ablations_are_configurations() -> None:
    assert not build_model(FENRecConfig(hard_negatives=False), 20).phase(399)
    assert training_batches(FENRecConfig(gamma=0), random_dataset()).rule.soft_labels == SoftLabels(0.0)
    plain = FENRecConfig(coarse_weight=0, fine_weight=0, precision="mixed_bfloat16")
    assert training_batches(plain, random_dataset()).views == {}
    assert build_model(plain, 20).states == []
    assert build_model(plain, 20).encoder.compute_dtype == "bfloat16"


def test_k_means_finds_separate_clusters_and_goes_on_from_a_start() -> None:
    rng = np.random.default_rng(0)
    centers = np.array([[10.0, 0.0], [0.0, 10.0], [-10.0, -10.0]])
    features = np.concatenate([center + rng.normal(size=(50, 2)) for center in centers]).astype(np.float32)
    found = cluster_centroids(features, 3, None, seed=1)
    means = features.reshape(3, 50, 2).mean(axis=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[np.lexsort(found.T)], means[np.lexsort(means.T)], rtol=1e-4)
    np.testing.assert_array_equal(found, cluster_centroids(features, 3, None, seed=1))
    # From a start the clusters keep their numbers.
    order = [2, 0, 1]
    np.testing.assert_allclose(cluster_centroids(features, 3, (centers + 1)[order], 1), means[order], rtol=1e-4)


def test_fewer_places_than_clusters_are_no_matter_for_the_user(recwarn: pytest.WarningsRecorder) -> None:
    features = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), 50, axis=0)
    found = cluster_centroids(features, 3, None, seed=1)
    assert found.shape == (3, 2)
    np.testing.assert_array_equal(np.unique(found, axis=0), [[0, 1], [1, 0]])
    assert not recwarn.list
