"""The losses of a model: golden totals, and a composition of independent parts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.golden_vectors import PRECISIONS, cases
from tests.materialised import contrast
from tests.small_data import join, unpack
from tests.systems import tiny_systems
from tf_fenrec.data.batches import TrainingBatches
from tf_fenrec.data.packing import Layout, pack
from tf_fenrec.data.views import Again
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.systems import enduring
from tf_fenrec.systems.fenrec import FENRec, FENRecConfig
from tf_fenrec.systems.step import EXAMPLES, Step

pytestmark = pytest.mark.usefixtures("shared_rows")
ENDURING = {"focal_temperature": 3.0, "margin": 0.3, "mix": 0.3, "hard_weight": 0.5}


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("case", cases("contrastive_total"), ids=lambda case: f"{case['phase']}-{case['B']}")
def test_terms_equal_the_golden_ones(
    case: dict[str, Any], dtype: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FENRecConfig(
        temperature=case["temp"], focal_temperature=case["tau"], margin=case["m"], mix=case["lam"],
        hard_weight=case["mu"], coarse_weight=case["lambda_0"], fine_weight=case["beta_0"], num_clusters=case["K"],
        warm_up_epochs=case["warm_up_epoch"],
    )  # fmt: skip
    model = FENRec(config, 30, SASRecEncoder(30, case["d"], 5, dtype=dtype))
    model.current_phase = model.phase(case["epoch"])
    model.intents.centroids.assign(case["centroids_raw"])
    monkeypatch.setattr(enduring, "noise_negatives", lambda *_: tf.constant(case["z_negative"], dtype))
    views = [tf.constant(case[name], dtype) for name in ("view1", "view2")]
    ids = tf.constant(case["target_ids"])
    with tf.GradientTape() as tape:
        tape.watch(views)
        terms = model.loss_terms(step_of(model, views, ids))
        total = sum(weight * term for name, (weight, term) in terms.items() if name != "recommendation")
    found = [terms["coarse"][1], terms["fine"][1], total, *tape.gradient(total, views)]
    for ours, name in zip(found, ("cicl", "ficl", "icl", "grad_view1", "grad_view2"), strict=True):
        np.testing.assert_allclose(ours, case[name], rtol=tolerance, atol=tolerance, err_msg=name)
    for view, name in zip(views, ("cluster_ids_view1", "cluster_ids_view2"), strict=True):
        assert model.intents.nearest(view)[1].numpy().tolist() == case[name]


def step_of(model: FENRec, views: list[tf.Tensor], ids: tf.Tensor) -> Step:
    """A step whose two views are these vectors [B, D]; its examples are any."""
    size = len(ids)
    targets = {"ids": ids, "label_ids": tf.ones([size, 1], tf.int32), "label_weights": tf.ones([size, 1])}
    hidden = tf.concat([tf.stop_gradient(views[0]), *views], axis=0)
    return Step(model.encoder, (EXAMPLES, *model.views()), hidden, {}, targets, tf.constant([0, 0]))


def exact_model(**changes: Any) -> FENRec:
    """In float64 and with nothing random."""
    exact = tiny_systems.model(
        tiny_systems.encoder(dtype="float64", dropout=0.0),
        temperature=0.7,
        **ENDURING,
        noise_portion=0,
        **changes,
    )
    if exact.intents is not None:
        exact.intents.centroids.assign(np.random.default_rng(0).normal(size=exact.intents.centroids.shape))
    return exact


def slow_losses(
    model: FENRec, batch: tuple[dict[str, np.ndarray], dict[str, np.ndarray]], enduring: dict[str, float] | None
) -> dict[str, tf.Tensor]:
    """The definition of each term, from the sequences of the batch."""
    inputs, targets = batch
    config, size, table = model.config, len(targets["ids"]), tf.convert_to_tensor(model.encoder.item_embeddings)
    h = model.encoder(pack(join(unpack(inputs)), Layout(tiny_systems.WIDTH, packed=False)))
    own, view1, view2 = h[:size], h[size : 2 * size], h[2 * size :]
    labels = np.zeros((size, table.shape[0]))
    np.add.at(labels, (np.arange(size)[:, None], targets["label_ids"]), targets["label_weights"])
    probabilities = tf.nn.softmax(tf.matmul(own, table, transpose_b=True))
    losses = {"recommendation_loss": -tf.reduce_mean(tf.reduce_sum(labels * tf.math.log(probabilities), axis=1))}
    if config.coarse_weight:
        losses["coarse_loss"] = contrast(view1, view2, targets["ids"], 0.7, enduring)
    if model.intents is not None:
        centroids = np.asarray(model.intents.centroids)
        fine = []
        for view in (view1, view2):
            nearest = ((view.numpy()[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
            unit = centroids[nearest] / np.linalg.norm(centroids[nearest], axis=1, keepdims=True)
            fine.append(contrast(view, tf.constant(unit), nearest, 0.7, enduring))
        losses["fine_loss"] = fine[0] + fine[1]
    weights = {"recommendation_loss": 1.0, "coarse_loss": config.coarse_weight, "fine_loss": config.fine_weight}
    return {"loss": tf.add_n([weights[name] * loss for name, loss in losses.items()])} | losses


def with_views(model: FENRec, batch_size: int) -> TrainingBatches:
    return tiny_systems.training(batch_size, views=model.views())


@pytest.mark.parametrize("warming_up", [True, False])
@pytest.mark.parametrize(("coarse", "fine"), [(0.3, 0.2), (0.3, 0.0), (0.0, 0.2), (0.0, 0.0)])
def test_a_train_step_follows_the_gradient_of_the_composition(coarse: float, fine: float, warming_up: bool) -> None:
    model = exact_model(coarse_weight=coarse, fine_weight=fine)
    model.current_phase = not warming_up
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    batch = tiny_systems.batch(with_views(model, 4))
    with tf.GradientTape() as tape:
        expected = slow_losses(model, batch, None if warming_up else ENDURING)
    before = [np.asarray(weight) for weight in model.trainable_weights]
    gradients = tape.gradient(expected["loss"], model.trainable_weights)
    constants = {weight.path: np.asarray(weight) for weight in model.non_trainable_weights}
    logs = model.train_step(batch)
    assert set(logs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-6, err_msg=name)  # the means are float32
    for weight, old, gradient in zip(model.trainable_weights, before, gradients, strict=True):
        step = -0.5 * tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(np.asarray(weight) - old, step, rtol=1e-8, atol=1e-9, err_msg=weight.path)
    changed = {
        weight.name for weight in model.non_trainable_weights if (np.asarray(weight) != constants[weight.path]).any()
    }
    assert changed == {"step"}
    assert int(model.step) == 1


def test_losses_equal_the_composition_in_float64() -> None:
    model = exact_model()
    inputs, targets = batch = tiny_systems.batch(tiny_systems.training(batch_size=4))
    for model.current_phase in (False, True):
        found = model.compute_losses(inputs, targets, tf.constant([0, 0]))
        for name, value in slow_losses(model, batch, ENDURING if model.current_phase else None).items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)


def test_noise_counts_and_changes_with_the_step() -> None:
    inputs, targets = tiny_systems.batch(tiny_systems.training(batch_size=4))

    def losses(portion: int, step: int) -> dict[str, float]:
        model = tiny_systems.model(tiny_systems.encoder(dropout=0.0), noise_portion=portion)
        model.current_phase = True
        values = model.compute_losses(inputs, targets, tf.constant([0, step]))
        return {name: float(value) for name, value in values.items()}

    one, again, other, none, more = (losses(*drawn) for drawn in ((1, 0), (1, 0), (1, 1), (0, 0), (3, 0)))
    assert one == again
    assert one["coarse_loss"] != other["coarse_loss"]
    assert none["coarse_loss"] < one["coarse_loss"] < more["coarse_loss"]
    assert one["recommendation_loss"] == other["recommendation_loss"] == none["recommendation_loss"]


def test_each_pass_over_an_example_has_its_own_dropout() -> None:
    model = tiny_systems.model(tiny_systems.encoder(dropout=0.2))
    inputs, _ = tiny_systems.batch(tiny_systems.training(views={"one": Again(), "two": Again()}, batch_size=7))
    own, view1, view2 = np.split(model.encoder(inputs, training=True, seed=tf.constant([1, 2])).numpy(), 3)
    for one, other in ((own, view1), (own, view2), (view1, view2)):
        assert (one != other).any(axis=1).all()


def test_nearest_intent_is_by_distance_to_the_raw_centroid() -> None:
    model = tiny_systems.model(tiny_systems.encoder(dim=2), num_clusters=3)
    model.intents.centroids.assign([[10.0, 0.0], [1.0, 1.0], [0.0, -2.0]])
    unit, cluster = model.intents.nearest(tf.constant([[9.0, 3.0], [3.0, 0.0], [0.0, 0.0], [1.0, -3.0]]))
    assert cluster.numpy().tolist() == [0, 1, 1, 2]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(unit, [[1, 0], [half, half], [half, half], [0, -1]], rtol=1e-6)


@pytest.mark.parametrize("warming_up", [True, False])
def test_the_compiled_float32_step_equals_the_plain_one(warming_up: bool) -> None:
    """All that is fast together (packed, last positions only, closed form, XLA) against padded rows in float64."""
    exact = exact_model()
    exact.current_phase = not warming_up
    fast = tiny_systems.model(tiny_systems.encoder(dropout=0.0), temperature=0.7, **ENDURING, noise_portion=0)
    fast.current_phase = not warming_up
    for weight, value in zip(fast.weights, exact.weights, strict=True):
        weight.assign(tf.cast(tf.convert_to_tensor(value), weight.dtype))
    batch = tiny_systems.batch(tiny_systems.training(batch_size=8))
    assert batch[0]["segments"].max() > 1

    @tf.function(jit_compile=True)
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = fast.compute_losses(*batch, tf.constant([0, 0]))["loss"]
        return loss, [tf.convert_to_tensor(g) for g in tape.gradient(loss, fast.trainable_weights)]

    loss, gradients = step()
    with tf.GradientTape() as tape:
        expected = slow_losses(exact, batch, None if warming_up else ENDURING)["loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for weight, ours, plain in zip(
        fast.trainable_weights, gradients, tape.gradient(expected, exact.trainable_weights), strict=True
    ):
        np.testing.assert_allclose(ours, tf.convert_to_tensor(plain), rtol=1e-5, atol=1e-5, err_msg=weight.path)
