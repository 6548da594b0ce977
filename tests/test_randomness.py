"""Numbers from a seed: their distribution, and that no two streams share it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_fenrec.randomness import random_bits, random_normal, split_seed

SEEDS = [(0, 0), (0, 1), (1, 0), (-1, 0), (7, -(2**31)), (2**31 - 1, 5)]


def test_bits_are_uniform() -> None:
    for seed in SEEDS:
        bits = random_bits([1000, 100], tf.constant(seed)).numpy()
        assert bits.dtype == np.uint32
        assert len(np.unique(bits)) == bits.size  # a bijection of the element numbers
        share = np.unpackbits(bits.view(np.uint8)).reshape(-1, 32).mean(axis=0)
        assert abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(bits.size)
        counts = np.bincount(bits.ravel() >> 24, minlength=256)
        assert ((counts - bits.size / 256) ** 2 / (bits.size / 256)).sum() < 255 + 5 * np.sqrt(2 * 255)  # chi squared


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_normal(jit: bool, dtype: str) -> None:
    draw = tf.function(lambda seed: random_normal([400, 500], seed, tf.as_dtype(dtype)), jit_compile=jit)
    values = draw(tf.constant([3, 4])).numpy()
    assert values.dtype == dtype
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((values.astype("float64") ** power).mean() - moment) < 5 * np.sqrt(variance / values.size)
    for bound, share in ((1, 0.31731), (2, 0.0455), (3, 0.0027)):
        assert abs((abs(values) > bound).mean() - share) < 5 * np.sqrt(share / values.size)
    rows = values - values.mean()
    for one, other in ((rows[1:], rows[:-1]), (rows[:, 1:], rows[:, :-1])):
        assert abs((one * other).mean()) < 5 / np.sqrt(values.size)
    np.testing.assert_array_equal(values, draw(tf.constant([3, 4])))


def test_split_seeds_are_all_different_and_so_is_what_they_draw() -> None:
    seeds = [tuple(child.numpy()) for seed in SEEDS for child in split_seed(tf.constant(seed), 50)]
    assert len(set(seeds)) == 50 * len(SEEDS)
    signs = [random_bits([2000], tf.constant(seed)).numpy().astype(np.int64) >> 31 for seed in seeds]
    correlations = np.corrcoef(np.array(signs))[np.triu_indices(len(signs), 1)]
    assert abs(correlations).max() < 6 / np.sqrt(2000)


def test_a_step_number_in_the_seed_changes_everything() -> None:
    first, second = (random_bits([10_000], tf.constant([0, step])).numpy() for step in (1, 2))
    differing = np.unpackbits((first ^ second).view(np.uint8)).mean()
    assert abs(differing - 0.5) < 5 * 0.5 / np.sqrt(32 * 10_000)
