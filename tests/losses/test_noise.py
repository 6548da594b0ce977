"""Noise negatives against the golden ascent, and their distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.golden_vectors import PRECISIONS, cases
from tf_fenrec.losses import ascend_noise, noise_negatives
from tf_fenrec.losses.noise import ASCENT_STEP_SIZE, ASCENT_STEPS


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    "case", cases("noise_ascent"), ids=lambda case: f"{case['kind']}-{case['B']}-{case['portion']}"
)
def test_the_way_gone_equals_the_golden_one(case: dict[str, Any], dtype: str, tolerance: float) -> None:
    assert (case["steps"], case["step_size"]) == (ASCENT_STEPS, ASCENT_STEP_SIZE)
    view1, view2, start = (tf.constant(case[name], dtype) for name in ("view1", "view2", "z0"))
    end = ascend_noise(view1, view2, tf.constant(case["ids"]), start)
    assert end.dtype == dtype
    expected = np.array(case["out"]) - np.array(case["z0"])
    # About 4e-3 long: compared in its own scale, as far as the type can tell z0 + step from z0.
    scale = 4e-3 if dtype == "float64" else 4e-2
    np.testing.assert_allclose(end - start, expected, rtol=tolerance, atol=scale * tolerance)
    np.testing.assert_allclose(end, case["out"], rtol=tolerance, atol=tolerance)


def test_noise_is_constant_gaussian_and_follows_the_seed() -> None:
    rng = np.random.default_rng(0)
    view1, view2 = (tf.constant(rng.normal(size=(8, 16)), "float32") for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch([view1, view2])
        noise = noise_negatives(view1, view2, tf.range(8), 60, tf.constant([3, 4]))
        total = tf.reduce_sum(noise * view1[0])
    assert noise.shape == (480, 16)
    values = noise.numpy()
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert abs(values.std() - 1) < 5 / np.sqrt(2 * values.size)
    np.testing.assert_allclose(tape.gradient(total, view1)[1:], 0)  # none through the noise
    again = noise_negatives(view1, view2, tf.range(8), 60, tf.constant([3, 4]))
    np.testing.assert_array_equal(values, again)
    assert (values != noise_negatives(view1, view2, tf.range(8), 60, tf.constant([3, 5])).numpy()).all()
