"""Contrastive losses, values and gradients, against the golden vectors and the materialised form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.golden_vectors import PRECISIONS, cases
from tests.materialised import contrast
from tf_fenrec.losses import EnduringContrastive, InfoNCE, contrastive_loss, enduring_contrastive_loss
from tf_fenrec.losses.contrastive import Form, enduring_hard_scores

Case = dict[str, Any]


def value_and_gradients(function: Any, *inputs: np.ndarray, dtype: str = "float64") -> list[np.ndarray]:
    """[value, gradient in each input]; a gradient that is not there is zero."""
    tensors = [tf.constant(array, dtype) for array in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    gradients = tape.gradient(value, tensors, unconnected_gradients="zero")
    assert value.dtype == dtype
    return [np.asarray(array) for array in (value, *gradients)]


def contrast_of(
    view1: tf.Tensor,
    view2: tf.Tensor,
    ids: Any,
    loss: InfoNCE | EnduringContrastive,
    noise: tf.Tensor | None = None,
) -> tf.Tensor:
    """The contrast of two views by either loss."""
    if isinstance(loss, InfoNCE):
        return contrastive_loss(view1, view2, ids, loss)
    return enduring_contrastive_loss(view1, view2, ids, loss, noise)


def check_golden(case: Case, loss: InfoNCE | EnduringContrastive, dtype: str, tolerance: float) -> None:
    noise = tf.constant(case["z_negative"], dtype) if "z_negative" in case else None
    found = value_and_gradients(
        lambda view1, view2: contrast_of(view1, view2, tf.constant(case["ids"]), loss, noise),
        case["z_i"],
        case["z_j"],
        dtype=dtype,
    )
    expected = case["loss"], case["grad_z_i"], case["grad_z_j"]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def of_cases(name: str) -> pytest.MarkDecorator:
    def label(case: Case) -> str:
        return f"{case['kind']}-{case['B']}x{case['d']}-t{case['temp']}-m{case['m']}"

    return pytest.mark.parametrize("case", cases(name), ids=label)


both_precisions = pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)


@both_precisions
@of_cases("info_nce")
def test_info_nce_equals_the_golden_one(case: Case, dtype: str, tolerance: float) -> None:
    check_golden(case, InfoNCE(case["temp"]), dtype, tolerance)


@both_precisions
@of_cases("focal_info_nce")
def test_up_weighting_equals_the_golden_one(case: Case, dtype: str, tolerance: float) -> None:
    loss = EnduringContrastive(case["temp"], case["tau"], case["m"], hard_weight=0.0)
    check_golden(case, loss, dtype, tolerance)


@both_precisions
@of_cases("enduring_contrastive_loss")
def test_enduring_loss_equals_the_golden_one(case: Case, dtype: str, tolerance: float) -> None:
    loss = EnduringContrastive(case["temp"], case["tau"], case["m"], case["lam"], case["mu"])
    check_golden(case, loss, dtype, tolerance)


@both_precisions
@pytest.mark.parametrize("case", cases("enduring_hard_negatives"), ids=lambda case: f"{case['lam']}-{case['same']}")
def test_closed_form_equals_the_golden_hard_negatives(case: Case, dtype: str, tolerance: float) -> None:
    """h_a . out[a][b], and out[a][b] as the gradient of that in h_a."""
    pos, neg, out = (np.array(case[name]) for name in ("pos", "neg", "out"))
    count = len(pos)
    z = pos if case["same"] else np.concatenate([pos, neg])
    half = len(z) // 2
    partners = np.roll(np.arange(len(z)), -half)  # the vector of column j
    units = (z / np.linalg.norm(z, axis=1, keepdims=True))[partners]
    column = [int(np.flatnonzero(partners == (b if case["same"] else count + b))[0]) for b in range(count)]
    weights = np.random.default_rng(0).normal(size=(count, count))

    def scores(h: tf.Tensor) -> tf.Tensor:
        hard = enduring_hard_scores(tf.matmul(h, tf.constant(units, dtype), transpose_b=True), case["lam"])
        return tf.gather(hard[:count], column, axis=1)

    found = scores(tf.constant(z, dtype))
    np.testing.assert_allclose(found, np.einsum("ad,abd->ab", pos, out), rtol=tolerance, atol=tolerance)
    _, gradient = value_and_gradients(lambda h: tf.reduce_sum(scores(h) * weights.astype(dtype)), z, dtype=dtype)
    expected = np.einsum("ab,abd->ad", weights, out)
    np.testing.assert_allclose(gradient[:count], expected, rtol=tolerance, atol=10 * tolerance)
    np.testing.assert_array_equal(gradient[count:], 0)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(2, 4),
    dim=st.integers(2, 5),
    labels=st.integers(1, 4),
    noise=st.integers(0, 3),
    temperature=st.sampled_from([0.5, 1.0]),
    focal_temperature=st.sampled_from([1.0, 8.0]),
    margin=st.sampled_from([0.0, 0.2]),
    mix=st.sampled_from([0.0, 0.4, 1.0]),
    hard_weight=st.sampled_from([0.0, 0.1, 1.0]),
    form=st.sampled_from(["released", "paper"]),
)
@example(0, 4, 5, 3, 3, 0.5, 8.0, 0.2, 0.4, 0.1, "paper")
@example(1, 4, 5, 3, 3, 0.5, 8.0, 0.2, 0.4, 0.1, "released")
def test_both_forms_equal_the_materialised_loss(
    seed: int,
    rows: int,
    dim: int,
    labels: int,
    noise: int,
    temperature: float,
    focal_temperature: float,
    margin: float,
    mix: float,
    hard_weight: float,
    form: Form,
) -> None:
    rng = np.random.default_rng(seed)
    view1, view2 = rng.normal(size=(2, rows, dim))
    ids = rng.integers(0, labels, rows)
    negatives = rng.normal(size=(noise, dim)) if noise else None
    enduring = {
        "focal_temperature": focal_temperature,
        "margin": margin,
        "mix": mix,
        "hard_weight": hard_weight,
    }
    loss = EnduringContrastive(temperature, form=form, **enduring)
    found = value_and_gradients(
        lambda a, b: contrast_of(a, b, ids, loss, None if noise == 0 else tf.constant(negatives)), view1, view2
    )
    expected = value_and_gradients(
        lambda a, b: contrast(a, b, ids, temperature, enduring, form, negatives), view1, view2
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_without_ids_only_the_row_and_its_positive_are_exempt() -> None:
    view1, view2 = np.random.default_rng(0).normal(size=(2, 3, 4))
    for loss, enduring in (
        (InfoNCE(), None),
        (EnduringContrastive(), {"focal_temperature": 8.0, "margin": 0.2, "mix": 0.4, "hard_weight": 0.1}),
    ):
        found = contrast_of(tf.constant(view1), tf.constant(view2), None, loss)
        expected = contrast(tf.constant(view1), tf.constant(view2), np.arange(3), enduring=enduring)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_long_vectors_stay_finite() -> None:
    """Scores far above what e^x can hold, opposite vectors, zero vectors: no NaN in value or gradients."""
    rng = np.random.default_rng(0)
    view1 = 1e3 * rng.normal(size=(4, 3))
    view2 = np.stack([view1[1], -view1[1], np.zeros(3), view1[0]])
    for loss in (InfoNCE(), EnduringContrastive(mix=0.5), EnduringContrastive(mix=0.5, form="paper")):
        found = value_and_gradients(
            lambda a, b, loss=loss: contrast_of(a, b, tf.range(4), loss), view1, view2, dtype="float32"
        )
        assert all(np.isfinite(array).all() for array in found)


@pytest.mark.parametrize("jit", [False, True])
def test_it_runs_in_a_graph(jit: bool) -> None:
    case = cases("enduring_contrastive_loss")[0]
    loss = EnduringContrastive(case["temp"], case["tau"], case["m"], case["lam"], case["mu"])
    step = tf.function(enduring_contrastive_loss, jit_compile=jit)
    views = (tf.constant(case[name], "float32") for name in ("z_i", "z_j"))
    found = step(*views, tf.constant(case["ids"]), loss, tf.constant(case["z_negative"], "float32"))
    np.testing.assert_allclose(found, case["loss"], rtol=1e-5)
