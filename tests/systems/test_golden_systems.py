"""Whole losses of the other systems against the golden ones: terms, weights and gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.encoders.test_golden_baselines import set_transformer
from tests.golden_vectors import PRECISIONS, golden
from tf_fenrec.encoders import SASRecEncoder, padded_batch
from tf_fenrec.losses import InfoNCE, contrastive_loss
from tf_fenrec.systems import system
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.mvs import MVS, MVSConfig
from tf_fenrec.systems.step import Step

both_precisions = pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)


@keras.saving.register_keras_serializable("tests")
class Table(keras.layers.Layer):
    """An encoder of which only the item vectors matter here."""

    def __init__(self, rows: Any, max_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_items, self.max_length = len(rows) - 2, max_length
        self.item_embeddings = self.add_weight(name="items", shape=np.shape(rows), initializer="zeros")
        self.item_embeddings.assign(rows)
        self.built = True

    def call(self, inputs: Any, everywhere: bool = False) -> None: ...


def model_of(name: str, rows: Any, max_length: int, dtype: str, **changes: Any) -> SequenceModel:
    kind = system(name)
    known = {"max_length": max_length, "num_clusters": 3} | changes
    values = {option: value for option, value in known.items() if option in kind.config_class.names()}
    table = Table(rows, max_length, dtype=dtype)
    return kind(kind.config_class.from_dict(values), table.num_items, table)


def total_and_gradients(
    model: SequenceModel, groups: dict[str, tf.Tensor], targets: dict[str, Any], everywhere: bool
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Terms, the weighted total, and its gradients in each group and in the item rows."""
    inputs = {}
    if everywhere:
        rows, width = next(iter(groups.values())).shape[:2]
        inputs["last"] = tf.range(1, rows * len(groups) + 1) * width - 1
    names = list(groups)
    with tf.GradientTape() as tape:
        tape.watch(list(groups.values()))
        hidden = tf.concat(list(groups.values()), axis=0)
        step = Step(model.encoder, tuple(names), hidden, inputs, targets, tf.constant([0, 0]))
        terms = model.loss_terms(step)
        total = tf.add_n([weight * term for weight, term in terms.values()])
    found = tape.gradient(total, [*groups.values(), model.encoder.item_embeddings], unconnected_gradients="zero")
    gradients = dict(zip([*names, "item_rows"], (tf.convert_to_tensor(g).numpy() for g in found), strict=True))
    return {name: float(term) for name, (_, term) in terms.items()} | {"total": float(total)}, gradients


@both_precisions
@pytest.mark.parametrize("number", range(4))
def test_duorec(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/duorec_total")["cases"][number]
    model = model_of(
        "duorec", case["item_rows"], 4, dtype, contrast=case["contrast"], dropout_weight=case["lmd"],
        target_weight=case["lmd_sem"], temperature=case["tau"],
    )  # fmt: skip
    views = ["examples", *model.views()]
    names = {"examples": "seq", "dropout": "dropout_view", "same_target": "same_target_view"}
    groups = {view: tf.constant(case[names[view]], dtype) for view in views}
    ids = np.array(case["targets"])
    targets = {"ids": ids, "label_ids": ids[:, None], "label_weights": np.ones((len(ids), 1))}
    values, gradients = total_and_gradients(model, groups, targets, everywhere=False)
    assert values["recommendation"] == pytest.approx(case["rec_loss"], rel=tolerance)
    assert values["total"] == pytest.approx(case["total"], rel=tolerance)
    for view, gradient in gradients.items():
        expected = case["grads"][names.get(view, view)]
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance, err_msg=view)


def everywhere_targets(case: dict[str, Any]) -> dict[str, Any]:
    positives, negatives = np.array(case["positives"]), np.array(case["negatives"])
    return {
        "ids": np.arange(len(positives), dtype=np.int32),
        "label_ids": positives.reshape(-1, 1),
        "label_weights": (positives.reshape(-1, 1) > 0).astype(float),
        "label_tokens": np.arange(positives.size),
        "negative_ids": negatives.reshape(-1, 1),
    }


def padded_groups(case: dict[str, Any], dtype: str) -> dict[str, tf.Tensor]:
    names = {"examples": "seq_output", "view1": "view1", "view2": "view2"}
    return {group: tf.constant(case[name], dtype) for group, name in names.items()}


@both_precisions
def test_coserec(dtype: str, tolerance: float) -> None:
    case = golden("baselines/coserec_total")
    model = model_of("coserec", case["item_rows"], case["L"], dtype, examples="users", loss="binary", read_out="all")
    values, gradients = total_and_gradients(model, padded_groups(case, dtype), everywhere_targets(case), True)
    assert values["recommendation"] == pytest.approx(case["bce"], rel=tolerance)
    assert values["contrast"] == pytest.approx(case["nce"], rel=tolerance)
    assert values["total"] == pytest.approx(case["total"], rel=tolerance)
    for view, gradient in gradients.items():
        expected = case["grads"]["seq_output" if view == "examples" else view]
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance, err_msg=view)


@both_precisions
@pytest.mark.parametrize("number", [0, 1])
def test_iclrec(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/iclrec_total")["cases"][number]
    model = model_of(
        "iclrec", case["item_rows"], case["L"], dtype, examples="users", loss="binary", read_out="all",
        mask_same_intent=case["de_noise"],
    )  # fmt: skip
    model.intents.centroids.assign(case["centroids_raw"])
    targets = everywhere_targets(case)
    values, gradients = total_and_gradients(model, padded_groups(case, dtype), targets, True)
    assert values["recommendation"] == pytest.approx(case["bce"], rel=tolerance)
    assert values["contrast"] == pytest.approx(case["instance_nce"], rel=tolerance)
    assert values["intent"] == pytest.approx(case["intent_loss"], rel=tolerance)
    assert values["total"] == pytest.approx(case["total"], rel=tolerance)
    for view, gradient in gradients.items():
        expected = case["grads"]["seq_output" if view == "examples" else view]
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance, err_msg=view)


@both_precisions
@pytest.mark.parametrize("number", range(3))
def test_cbit_contrast_and_its_weight(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/cbit_multipair")["cases"][number]
    views = [tf.constant(view, dtype) for view in case["views"]]
    count, rows, width, _ = np.shape(case["views"])
    reweighting = case.get("reweighting") or {"lambda_": 5, "alpha": 0.1, "theta_before": 0.0}
    model = model_of(
        "cbit", np.ones((6, views[0].shape[-1] + 1)), width, dtype, num_copies=count, read_out="all",
        temperature=case["tau"], balance=float(reweighting["lambda_"]), balance_rate=reweighting["alpha"],
    )  # fmt: skip
    model.theta.assign(reweighting["theta_before"])
    if case["sim"] != "cosine":
        pairs = [
            contrastive_loss(*(tf.reshape(v, [rows, -1]) for v in (one, other)), None, InfoNCE(case["tau"]))
            for one in views for other in views if one is not other
        ]  # fmt: skip
        assert float(tf.add_n(pairs)) == pytest.approx(case["cl_loss"], rel=tolerance)
        return
    groups = dict(zip(["examples", *model.views()], views, strict=True))

    class Main(Step):
        def cross_entropy(self) -> tf.Tensor:
            return tf.constant(reweighting.get("main_loss", 1.0) / count, dtype)

    inputs = {"last": tf.range(1, rows * count + 1) * width - 1}
    targets = {"ids": np.arange(rows), "label_ids": np.zeros((0, 1)), "label_weights": np.zeros((0, 1))}
    with tf.GradientTape() as tape:
        tape.watch(views)
        hidden = tf.concat(views, axis=0)
        step = Main(model.encoder, tuple(groups), hidden, inputs, targets, tf.constant([0, 0]))
        terms = model.loss_terms(step)
    weight, contrast = terms["contrast"]
    assert float(contrast) == pytest.approx(case["cl_loss"], rel=tolerance)
    gradient = tape.gradient(contrast, views[0])
    np.testing.assert_allclose(gradient, case["grad_view0"], rtol=tolerance, atol=tolerance)
    if "theta" in reweighting:
        assert float(weight) == pytest.approx(reweighting["theta"], rel=tolerance)
        total = float(terms["recommendation"][1] + weight * contrast)
        assert total == pytest.approx(reweighting["total"], rel=tolerance)


@both_precisions
def test_info_nce_with_and_without_ids(dtype: str, tolerance: float) -> None:
    content = golden("baselines/info_nce")
    for case in content["unmasked"] + content["false_negative_masked"]:
        views = [tf.constant(case[name], dtype) for name in ("z_i", "z_j")]
        with tf.GradientTape() as tape:
            tape.watch(views)
            compared = [tf.math.l2_normalize(v, axis=1) if case.get("sim", "dot") != "dot" else v for v in views]
            value = contrastive_loss(*compared, case.get("ids"), InfoNCE(case["temp"]))
        assert float(value) == pytest.approx(case["loss"], rel=tolerance)
        for gradient, name in zip(tape.gradient(value, views), ("grad_z_i", "grad_z_j"), strict=True):
            np.testing.assert_allclose(gradient, case[name], rtol=tolerance, atol=tolerance)


# ---- MVS


def set_body(encoder: Any, weights: dict[str, Any]) -> None:
    set_transformer(
        encoder, {name: np.array(array) for name, array in weights.items()}, "item_encoder.layer.{}", "attention",
        "intermediate",
    )  # fmt: skip


@both_precisions
def test_mvs(dtype: str, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    case = golden("baselines/mvs_total")
    config, (w1, w2, w3) = case["config"], case["config"]["weights"]
    settings = MVSConfig(
        dim=config["d"], max_length=config["L"], num_blocks=config["layers"], num_heads=config["heads"], dropout=0.0,
        label_weight=w1, context_weight=w2, divergence_weight=w3, noise_scale=config["variance"],
        ascent_length=config["ascent_length"], complementary_epochs=0,
    )  # fmt: skip
    body = {"dim": config["d"], "max_length": config["L"], "num_blocks": 1, "num_heads": 2, "dropout": 0.0}
    model = MVS(settings, config["V"], SASRecEncoder(config["V"], dtype=dtype, **body))
    model.complementary = SASRecEncoder(config["V"], dtype=dtype, **body)
    set_body(model.encoder, case["model_weights"])
    set_body(model.complementary, case["complementary_weights"])
    draws = iter(case["standard_normal_noise"])
    monkeypatch.setattr(MVS, "context_noise", staticmethod(lambda *_: tf.constant(next(draws), dtype)))
    items, labels = np.array(case["inputs"], np.int32), np.array(case["targets"], np.int32)
    inputs = padded_batch(tf.constant(items))
    targets = {
        "ids": np.arange(len(items)),
        "label_ids": labels.reshape(-1, 1),
        "label_weights": (labels.reshape(-1, 1) > 0).astype(float),
        "label_tokens": np.arange(labels.size),
    }
    hidden = model.encoder(inputs, everywhere=True)
    step = Step(model.encoder, ("examples",), hidden, inputs, targets, tf.constant([0, 0]))
    terms = model.loss_terms(step)
    values = {name: float(value) for name, (_, value) in terms.items()}
    assert values["recommendation"] == pytest.approx(case["ce"], rel=tolerance)
    assert values["label"] == pytest.approx(case["label_smooth_kl_with_complementary_items"], rel=tolerance)
    assert values["context"] == pytest.approx(sum(case["ce_smoothed"]), rel=tolerance)
    divergence = sum(case["kl_smoothed"]) + case["kl_between"]
    assert values["divergence"] == pytest.approx(divergence, rel=tolerance, abs=10 * tolerance)
    total = sum(float(weight) * float(value) for weight, value in terms.values())
    mended = w1 * (case["label_smooth_kl_with_complementary_items"] - case["label_smooth_kl_released"])
    assert total == pytest.approx(case["total"] + mended, rel=tolerance)
