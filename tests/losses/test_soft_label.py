"""Soft-label cross-entropy against the dense formula. (The golden one is in test_encoder.py.)"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_fenrec.losses import soft_label_cross_entropy


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    h, table = rng.normal(size=(6, 5)), rng.normal(size=(9, 5))
    ids = rng.integers(1, 8, (6, 3))
    ids[0] = 4  # one item three times
    weights = rng.dirichlet(np.ones(3), 6)
    ids[1, 2], weights[1] = 0, (0.7, 0.3, 0.0)  # the last label does not exist
    return h, table, ids, weights


def dense(
    h: np.ndarray, table: np.ndarray, ids: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss and its gradients in h and the table, with the [B, V + 2] labels."""
    labels = np.zeros((len(h), len(table)))
    np.add.at(labels, (np.arange(len(h))[:, None], ids), weights)
    scores = h @ table.T
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = -(labels * np.log(probabilities)).sum(axis=1).mean()
    slope = (probabilities - labels) / len(h)
    return loss, slope @ table, slope.T @ h


def test_it_equals_the_dense_formula() -> None:
    h, table, ids, weights = drawn()
    tensors = [tf.constant(h), tf.constant(table)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = soft_label_cross_entropy(*tensors, ids, weights)
    found = [loss, *(tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, tensors))]
    for ours, theirs in zip(found, dense(h, table, ids, weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_half_precision_is_summed_in_float32() -> None:
    h, table, ids, weights = drawn()
    for dtype in ("bfloat16", "float16"):
        half = [tf.cast(array, dtype) for array in (h, table)]
        loss = soft_label_cross_entropy(*half, ids, tf.cast(weights, tf.float32))
        assert loss.dtype == tf.float32
        exact, *_ = dense(*(tf.cast(x, tf.float64).numpy() for x in half), ids, weights)
        np.testing.assert_allclose(loss, exact, rtol=0.02 if dtype == "bfloat16" else 2e-3)


def test_large_scores_stay_finite() -> None:
    h, table, ids, weights = drawn()
    loss = soft_label_cross_entropy(tf.constant(1e3 * h), tf.constant(table), ids, weights)
    scores = 1e3 * h @ table.T
    labels = np.take_along_axis(scores, ids, axis=1)
    expected = (scores.max(axis=1) - (weights * labels).sum(axis=1)).mean()  # the softmax is a maximum here
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
