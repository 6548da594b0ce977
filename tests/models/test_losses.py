"""The losses of a model: golden totals, and a composition of independent parts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.golden_vectors import PRECISIONS, cases
from tests.materialised import contrast
from tests.models import tiny_models
from tests.small_data import join, unpack
from tf_fenrec.data.packing import pack
from tf_fenrec.data.views import DropoutView
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.losses import EnduringContrastive
from tf_fenrec.models import FENRec, fenrec

pytestmark = pytest.mark.usefixtures("shared_rows")
ENDURING = {"focal_temperature": 3.0, "margin": 0.3, "mix": 0.3, "hard_weight": 0.5}


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("case", cases("contrastive_total"), ids=lambda case: f"{case['phase']}-{case['B']}")
def test_terms_equal_the_golden_ones(
    case: dict[str, Any], dtype: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FENRec(
        SASRecEncoder(30, case["d"], 5, dtype=dtype),
        EnduringContrastive(case["temp"], case["tau"], case["m"], case["lam"], case["mu"]),
        case["lambda_0"],
        case["beta_0"],
        case["K"],
        case["warm_up_epoch"],
    )
    model.warming_up = case["epoch"] < model.warm_up_epochs
    model.centroids.assign(case["centroids_raw"])
    monkeypatch.setattr(fenrec, "noise_negatives", lambda *_: tf.constant(case["z_negative"], dtype))
    views = [tf.constant(case[name], dtype) for name in ("view1", "view2")]
    ids = tf.constant(case["target_ids"])
    with tf.GradientTape() as tape:
        tape.watch(views)
        terms = model._contrastive_terms(*views, ids, tf.constant([0, 0]))
        total = sum(weight * term for _, weight, term in terms)
    values = {name: term for name, _, term in terms}
    found = [values["coarse_loss"], values["fine_loss"], total, *tape.gradient(total, views)]
    for ours, name in zip(found, ("cicl", "ficl", "icl", "grad_view1", "grad_view2"), strict=True):
        np.testing.assert_allclose(ours, case[name], rtol=tolerance, atol=tolerance, err_msg=name)
    for view, name in zip(views, ("cluster_ids_view1", "cluster_ids_view2"), strict=True):
        assert model.nearest_intent(view)[1].numpy().tolist() == case[name]


def exact_model(**changes: Any) -> FENRec:
    """In float64 and with nothing random."""
    exact = tiny_models.model(
        tiny_models.encoder(dtype="float64", dropout=0.0),
        contrastive=EnduringContrastive(0.7, **ENDURING),
        noise_portion=0,
        **changes,
    )
    if exact.fine_weight:
        exact.centroids.assign(np.random.default_rng(0).normal(size=exact.centroids.shape))
    return exact


def slow_losses(
    model: FENRec, batch: tuple[dict[str, np.ndarray], dict[str, np.ndarray]], enduring: dict[str, float] | None
) -> dict[str, tf.Tensor]:
    """The definition of each term, from the sequences of the batch."""
    inputs, targets = batch
    size, table = len(targets["item"]), tf.convert_to_tensor(model.encoder.item_embeddings)
    h = model.encoder(pack(join(unpack(inputs)), tiny_models.WIDTH, packed=False))
    own, view1, view2 = h[:size], h[size : 2 * size], h[2 * size :]
    labels = np.zeros((size, table.shape[0]))
    np.add.at(labels, (np.arange(size)[:, None], targets["label_ids"]), targets["label_weights"])
    probabilities = tf.nn.softmax(tf.matmul(own, table, transpose_b=True))
    losses = {"recommendation_loss": -tf.reduce_mean(tf.reduce_sum(labels * tf.math.log(probabilities), axis=1))}
    if model.coarse_weight:
        losses["coarse_loss"] = contrast(view1, view2, targets["item"], 0.7, enduring)
    if model.fine_weight:
        centroids = np.asarray(model.centroids)
        fine = []
        for view in (view1, view2):
            nearest = ((view.numpy()[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
            unit = centroids[nearest] / np.linalg.norm(centroids[nearest], axis=1, keepdims=True)
            fine.append(contrast(view, tf.constant(unit), nearest, 0.7, enduring))
        losses["fine_loss"] = fine[0] + fine[1]
    weights = {"recommendation_loss": 1.0, "coarse_loss": model.coarse_weight, "fine_loss": model.fine_weight}
    return {"loss": tf.add_n([weights[name] * loss for name, loss in losses.items()])} | losses


@pytest.mark.parametrize("warming_up", [True, False])
@pytest.mark.parametrize(("coarse", "fine"), [(0.3, 0.2), (0.3, 0.0), (0.0, 0.2), (0.0, 0.0)])
def test_a_train_step_follows_the_gradient_of_the_composition(coarse: float, fine: float, warming_up: bool) -> None:
    model = exact_model(coarse_weight=coarse, fine_weight=fine)
    model.warming_up = warming_up
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    batch = next(tiny_models.training(batch_size=4).epoch_batches(0))
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
    inputs, targets = batch = next(tiny_models.training(batch_size=4).epoch_batches(0))
    for model.warming_up in (True, False):
        found = model.compute_losses(inputs, targets, tf.constant([0, 0]))
        for name, value in slow_losses(model, batch, None if model.warming_up else ENDURING).items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)


def test_noise_counts_and_changes_with_the_step() -> None:
    inputs, targets = next(tiny_models.training(batch_size=4).epoch_batches(0))

    def losses(portion: int, step: int) -> dict[str, float]:
        model = tiny_models.model(tiny_models.encoder(dropout=0.0), noise_portion=portion)
        model.warming_up = False
        values = model.compute_losses(inputs, targets, tf.constant([0, step]))
        return {name: float(value) for name, value in values.items()}

    one, again, other, none, more = (losses(*drawn) for drawn in ((1, 0), (1, 0), (1, 1), (0, 0), (3, 0)))
    assert one == again
    assert one["coarse_loss"] != other["coarse_loss"]
    assert none["coarse_loss"] < one["coarse_loss"] < more["coarse_loss"]
    assert one["recommendation_loss"] == other["recommendation_loss"] == none["recommendation_loss"]


def test_each_pass_over_an_example_has_its_own_dropout() -> None:
    model = tiny_models.model(tiny_models.encoder(dropout=0.2))
    batch = tiny_models.training(views=(DropoutView(), DropoutView()), batch_size=7)
    inputs, _ = next(batch.epoch_batches(0))
    own, view1, view2 = np.split(model.encoder(inputs, training=True, seed=tf.constant([1, 2])).numpy(), 3)
    for one, other in ((own, view1), (own, view2), (view1, view2)):
        assert (one != other).any(axis=1).all()


def test_nearest_intent_is_by_distance_to_the_raw_centroid() -> None:
    model = tiny_models.model(tiny_models.encoder(dim=2), num_clusters=3)
    model.centroids.assign([[10.0, 0.0], [1.0, 1.0], [0.0, -2.0]])
    unit, cluster = model.nearest_intent(tf.constant([[9.0, 3.0], [3.0, 0.0], [0.0, 0.0], [1.0, -3.0]]))
    assert cluster.numpy().tolist() == [0, 1, 1, 2]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(unit, [[1, 0], [half, half], [half, half], [0, -1]], rtol=1e-6)


@pytest.mark.parametrize("warming_up", [True, False])
def test_the_compiled_float32_step_equals_the_plain_one(warming_up: bool) -> None:
    """All that is fast together (packed, last positions only, closed form, XLA) against padded rows in float64."""
    exact = exact_model()
    exact.warming_up = warming_up
    fast = tiny_models.model(
        tiny_models.encoder(dropout=0.0), contrastive=EnduringContrastive(0.7, **ENDURING), noise_portion=0
    )
    fast.warming_up = warming_up
    for weight, value in zip(fast.weights, exact.weights, strict=True):
        weight.assign(tf.cast(tf.convert_to_tensor(value), weight.dtype))
    batch = next(tiny_models.training(batch_size=8).epoch_batches(0))
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
