"""Training as a Keras user does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small_data import random_dataset
from tests.systems import tiny_systems
from tests.systems.tiny_systems import DATASET, LAYOUT, VIEWS, GRUEncoder, batch, training, validation, weights
from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
from tf_fenrec.data.packing import Layout
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels
from tf_fenrec.errors import InputError
from tf_fenrec.systems.fenrec import FENRec

LOSSES = {"loss", "recommendation_loss", "coarse_loss", "fine_loss"}
METRICS = {f"{kind}@{cutoff}" for kind in ("hr", "ndcg") for cutoff in (5, 10, 20)} | {"mrr"}


def compiled(own_encoder: keras.layers.Layer | None = None, **changes: Any) -> FENRec:
    """A fresh model; eager unless told, which for these few steps is faster than tracing."""
    how = {name: changes.pop(name) for name in ("jit_compile", "steps_per_execution", "run_eagerly") if name in changes}
    optimizer = changes.pop("optimizer", "adam")
    model = tiny_systems.model(own_encoder, **changes)
    model.compile(optimizer, **{"jit_compile": False} | (how or {"run_eagerly": True}))
    return model


def fit(model: FENRec, epochs: int = 3, **kwargs: Any) -> dict[str, list[float]]:
    return model.fit(kwargs.pop("x", None) or training(), epochs=epochs, verbose=0, **kwargs).history


@pytest.fixture(scope="module")
def trained() -> tuple[FENRec, dict[str, list[float]]]:
    """Three epochs in a graph, as all others here are compared with."""
    model = compiled(jit_compile=False)
    return model, fit(model, validation_data=validation())


def test_history(trained: tuple[FENRec, dict[str, list[float]]]) -> None:
    model, history = trained
    assert set(history) == LOSSES | {f"val_{name}" for name in METRICS}
    assert all(len(values) == 3 and np.isfinite(values).all() for values in history.values())
    for epoch in range(3):
        total = history["recommendation_loss"][epoch]
        total += 0.3 * history["coarse_loss"][epoch] + 0.1 * history["fine_loss"][epoch]
        assert history["loss"][epoch] == pytest.approx(total, rel=1e-5)
    assert history["recommendation_loss"][2] < history["recommendation_loss"][0]
    assert int(model.step) == 3 * len(training())


def test_evaluate_and_predict(trained: tuple[FENRec, dict[str, list[float]]]) -> None:
    model, history = trained
    found = model.evaluate(validation(), verbose=0, return_dict=True)
    assert found == pytest.approx({name: history[f"val_{name}"][-1] for name in METRICS})
    listed = model.evaluate(validation(batch_size=7), verbose=0)
    assert dict(zip(found, listed, strict=True)) == pytest.approx(found, rel=1e-5)
    users = np.arange(DATASET.num_users)
    rows = np.array([([0] * 8 + DATASET.sequence(user).tolist()[:-2])[-8:] for user in users], np.int32)
    scores = model.predict(validation(batch_size=7), verbose=0)
    np.testing.assert_allclose(scores, model(rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(rows, verbose=0), scores, rtol=1e-5, atol=1e-6)


def test_shorter_batches_than_the_encoder_takes(trained: tuple[FENRec, Any]) -> None:
    model, _ = trained
    inputs, _ = validation().batch(0, Layout(4))
    assert inputs["items"].shape[1] == 4
    np.testing.assert_allclose(model.encode(inputs), model.encoder(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_evaluate_equals_a_slow_ranking(trained: tuple[FENRec, Any], protocol: str) -> None:
    model, _ = trained
    ranks = []
    for user in range(DATASET.num_users):
        *history, target = DATASET.sequence(user).tolist()
        row = np.array([([0] * 8 + history)[-8:]], np.int32)
        scores = model(row).numpy()[0]
        if protocol == "paper":
            scores[history] = 0
            candidates = range(22)
        else:
            candidates = [item for item in range(1, 21) if item == target or item not in history]
        ahead = [c for c in candidates if scores[c] > scores[target] or (scores[c] == scores[target] and c < target)]
        ranks.append(1 + len(ahead))
    found = model.evaluate(validation(split="test", protocol=protocol), verbose=0, return_dict=True)
    for cutoff in (5, 10, 20):
        hits = np.array([rank <= cutoff for rank in ranks])
        assert found[f"hr@{cutoff}"] == pytest.approx(hits.mean(), rel=1e-5)
        assert found[f"ndcg@{cutoff}"] == pytest.approx((hits / np.log2(1.0 + np.array(ranks))).mean(), rel=1e-5)
    assert found["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), rel=1e-5)


def test_the_same_seed_gives_the_same(trained: tuple[FENRec, dict[str, list[float]]]) -> None:
    """But for the order in which threads add up, which the trainer fixes: there it is the same bits (test_resume)."""
    model, history = trained
    again = compiled(jit_compile=False)
    found = fit(again, validation_data=validation())
    for name, values in history.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)
    for one, other in zip(weights(again), weights(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_another_seed_gives_other_dropout_and_noise() -> None:
    histories = [fit(compiled(seed=seed), 1) for seed in (3, 4)]  # the initial weights are the encoder's
    assert histories[0]["recommendation_loss"] != histories[1]["recommendation_loss"]


def test_several_steps_an_execution_give_the_same() -> None:
    simple = {"hard_negatives": False, "warm_up_epochs": 0, "fine_weight": 0.0}
    one, two = compiled(**simple), compiled(steps_per_execution=2, **simple)
    assert len(training()) == 3  # so that the last execution has one step
    assert len(validation(batch_size=8)) == 5
    found, expected = (fit(model, 2, validation_data=validation(batch_size=8)) for model in (two, one))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4)
    assert int(two.step) == 6
    for ours, theirs in zip(weights(two), weights(one), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_jit_gives_the_same() -> None:
    # Noise is another with XLA: its normal numbers are. One batch, so that it compiles once.
    histories = []
    for jit in (False, True):
        how = {"jit_compile": True} if jit else {"run_eagerly": True}
        model = compiled(optimizer="sgd", noise_portion=0, warm_up_epochs=0, fine_weight=0.0, **how)
        histories.append(fit(model, 3, x=training(batch_size=1000), validation_data=validation()))
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-3, err_msg=name)
    assert histories[0]["loss"][2] != histories[0]["loss"][0]


class Stop(keras.callbacks.Callback):
    """Breaks training off in the middle of its second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == (1, 1):
            raise KeyboardInterrupt


def test_backup_and_restore_goes_on_to_the_same(tmp_path: Path) -> None:
    whole = compiled()
    history = fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Stop()])
    resumed = compiled()
    later = fit(resumed, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])
    assert later["loss"] == pytest.approx(history["loss"][1:], rel=1e-5)
    for one, other in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_loaded_model_goes_on_with_its_optimizer(tmp_path: Path) -> None:
    whole = compiled()
    fit(whole, 2)
    first = compiled()
    fit(first, 1)
    first.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    fit(loaded, 2, initial_epoch=1)
    for one, other in zip(weights(loaded), weights(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_checkpoint_and_early_stopping(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.ModelCheckpoint(path, "val_ndcg@20", save_best_only=True, mode="max"),
        keras.callbacks.EarlyStopping("val_ndcg@20", mode="max", patience=2, min_delta=1.0),  # nothing is better
    ]
    model = compiled(coarse_weight=0.0, fine_weight=0.0)
    history = fit(model, 9, x=training(views={}), validation_data=validation(), callbacks=callbacks)
    assert len(history["loss"]) == 3
    best = keras.saving.load_model(path).evaluate(validation(), verbose=0, return_dict=True)
    assert best["ndcg@20"] == pytest.approx(max(history["val_ndcg@20"]), rel=1e-5)


def test_the_contrast_changes_after_the_warm_up() -> None:
    model = compiled(tiny_systems.encoder(dropout=0.0), warm_up_epochs=2, fine_weight=0.0, noise_portion=0)
    model.optimizer.learning_rate = 0.0  # so that nothing else changes
    batches = training(batch_size=1000)
    history = fit(model, 4, x=batches)
    plain, again, hard, later = history["coarse_loss"]
    assert again == pytest.approx(plain, rel=1e-5)
    assert later == pytest.approx(hard, rel=1e-5)
    assert abs(hard - plain) > 0.01 * plain
    inputs, targets = batch(batches)
    for model.current_phase, expected in ((False, plain), (True, hard)):
        losses = model.compute_losses(inputs, targets, tf.constant([0, 0]))
        assert float(losses["coarse_loss"]) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(history["recommendation_loss"], history["recommendation_loss"][0], rtol=1e-5)


def test_the_switch_reaches_a_traced_graph(trained: tuple[FENRec, dict[str, list[float]]]) -> None:
    _, history = trained
    eager = fit(compiled(), 3)
    for name, values in eager.items():
        np.testing.assert_allclose(values, history[name], rtol=1e-3, err_msg=name)


def test_info_nce_throughout_knows_no_switch() -> None:
    one = training(batch_size=1000)
    histories = [fit(compiled(hard_negatives=False, warm_up_epochs=epochs), 2, x=one) for epochs in (1, 2)]
    assert histories[0] == histories[1]


def test_cross_entropy_alone_needs_no_views() -> None:
    model = compiled(coarse_weight=0.0, fine_weight=0.0)
    history = fit(model, 2, x=training(views={}), validation_data=validation())
    assert set(history) == {"loss", "recommendation_loss"} | {f"val_{name}" for name in METRICS}
    assert history["loss"] == history["recommendation_loss"]
    assert model.states == []


def test_soft_labels_are_those_of_the_batches() -> None:
    losses = {gamma: fit(compiled(), 1, x=training(gamma=gamma))["recommendation_loss"] for gamma in (0.0, 0.9)}
    assert losses[0.0] != losses[0.9]


def test_centroids_are_those_of_all_representations() -> None:
    model = compiled(tiny_systems.encoder(dropout=0.0), warm_up_epochs=9, coarse_weight=0.0)
    batches = training()
    features = model.represent(batches)
    rule = batches.rule
    assert isinstance(rule, Prefixes)
    for number in (0, 57, len(rule) - 1):
        row = np.zeros((1, 8), np.int32)
        items = DATASET.items[rule.start[number] : rule.target[number]]
        row[0, 8 - len(items) :] = items
        np.testing.assert_allclose(features[number], model.encoder(row)[0], rtol=1e-4, atol=1e-5)
    model.optimizer.learning_rate = 0.0
    fit(model, 3, x=training(batch_size=1000))  # Lloyd's algorithm, an epoch after the other, has come to rest
    centroids = np.asarray(model.intents.centroids)
    nearest = ((features[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    for cluster in range(4):
        np.testing.assert_allclose(centroids[cluster], features[nearest == cluster].mean(axis=0), atol=1e-3)


def test_an_epoch_that_goes_on_keeps_its_centroids() -> None:
    model, batches = compiled(), training()
    model.begin_epoch(0, batches)
    before = np.asarray(model.intents.centroids)
    assert before.any()
    model.encoder.item_embeddings.assign(-np.asarray(model.encoder.item_embeddings))
    batches.first_step = 1
    model.begin_epoch(0, batches)
    np.testing.assert_array_equal(model.intents.centroids, before)
    batches.first_step = 0
    model.begin_epoch(0, batches)
    assert (np.asarray(model.intents.centroids) != before).all()


def test_another_encoder_trains(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)  # this encoder takes no seed
    model = compiled(GRUEncoder(20, 8), optimizer=keras.optimizers.Adam(0.01))
    history = fit(model, 4, validation_data=validation())
    assert set(history) == LOSSES | {f"val_{name}" for name in METRICS}
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["recommendation_loss"][3] < history["recommendation_loss"][0]
    rows = np.array([([0] * 8 + DATASET.sequence(user).tolist()[:-2])[-8:] for user in range(40)], np.int32)
    np.testing.assert_allclose(model.predict(validation(batch_size=9), verbose=0), model(rows), rtol=1e-5, atol=1e-6)


def test_batches_that_the_tables_cannot_hold_are_refused() -> None:
    model = compiled()
    data = random_dataset(num_items=21)
    batches, message = EvaluationBatches(data, "valid"), "20 items. Received: 21"
    with pytest.raises(InputError, match=message):
        model.evaluate(batches)
    with pytest.raises(InputError, match=message):
        model.predict(batches)
    with pytest.raises(InputError, match=message):
        model.fit(training(), validation_data=batches)
    with pytest.raises(InputError, match="20 items"):
        model.fit(TrainingBatches(Prefixes(data, 8), views=VIEWS))
    with pytest.raises(InputError, match=r"at most the encoder's, 8\. Received: 50"):
        model.fit(TrainingBatches(Prefixes(DATASET, 50), views=VIEWS))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("y", np.ones(3)),
        ("batch_size", 32),
        ("class_weight", {1: 2.0}),
        ("sample_weight", np.ones(3)),
        ("validation_split", 0.1),
        ("steps_per_epoch", 2),
        ("shuffle", True),
    ],
)
def test_fit_refuses_what_it_cannot_honour(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"`{name}` can't be honoured"):
        compiled().fit(training(), **{name: value})


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_evaluate_refuses_what_it_cannot_honour(name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` can't be honoured"):
        compiled().evaluate(validation(), **{name: np.ones(40)})


def test_the_encoder_is_compiled_as_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made, function = [], tf.function
    monkeypatch.setattr(tf, "function", lambda *args, **how: made.append(how["jit_compile"]) or function(*args, **how))
    model = tiny_systems.model()
    inputs, _ = validation().batch(0, LAYOUT)
    for jit in (False, False, True):
        model.compile(jit_compile=jit)
        model.encode(inputs)
        model.encode(inputs)
    assert made == [False, False, True]


@pytest.mark.parametrize(
    ("name", "value"), [("loss", "mse"), ("metrics", ["mae"]), ("loss_weights", [1.0]), ("weighted_metrics", ["mae"])]
)
def test_compile_refuses_losses_and_metrics(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"`{name}` can't be set"):
        tiny_systems.model().compile("adam", **{name: value})


def test_fit_refuses_other_data() -> None:
    with pytest.raises(InputError, match=r"`x` must be a TrainingBatches or a .*\. Received: x of type ndarray"):
        compiled().fit(np.zeros((3, 8)))
    with pytest.raises(InputError, match=r"`x` must be an EvaluationBatches\. Received: x of type ndarray"):
        compiled().evaluate(np.zeros((3, 8)))
    with pytest.raises(InputError, match=r"the views view1, view2\. Received: none"):
        fit(compiled(), x=training(views={}))


def test_a_small_shop_has_fewer_clusters_and_is_told() -> None:
    model, few = compiled(num_clusters=500), training()
    with pytest.warns(UserWarning, match=f"num_clusters=500 .* {len(few.rule)} clusters are used"):
        history = fit(model, 1, x=few)
    assert np.isfinite(history["fine_loss"]).all()
    _, nearest = model.intents.nearest(tf.constant(model.represent(few)))
    assert nearest.numpy().max() < len(few.rule)


def test_a_dataset_is_enough() -> None:
    other = compiled()
    fit(other, 2, x=TrainingBatches(Prefixes(DATASET, 8, SoftLabels(0.2)), 70, VIEWS, seed=3))
    again = compiled()
    again.fit(DATASET, epochs=2, verbose=0)
    for one, two in zip(weights(again), weights(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_a_sampled_softmax_ends_near_the_exact_one() -> None:
    few = {"coarse_weight": 0.0, "fine_weight": 0.0}
    exact, sampled = (compiled(optimizer=keras.optimizers.Adam(0.01), **few) for _ in range(2))
    fit(exact, 8, x=training(views={}))
    history = fit(sampled, 8, x=training(views=(), num_sampled=16))
    assert history["recommendation_loss"][-1] < history["recommendation_loss"][0]
    inputs, targets = batch(training(views={}))
    losses = [float(model.compute_losses(inputs, targets, tf.constant([0, 0]))["loss"]) for model in (exact, sampled)]
    untrained = float(compiled(**few).compute_losses(inputs, targets, tf.constant([0, 0]))["loss"])
    # What the sampled one gained of the exact loss it never saw.
    assert untrained - losses[1] > 0.8 * (untrained - losses[0])
