"""Every layer: configuration, file, half precision, jit; and dropout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.checks import MIXED, check_config, check_file, check_mixed_precision
from tf_fenrec.encoders import SASRecEncoder
from tf_fenrec.layers import ItemEmbedding, SelfAttentionBlock, StatelessDropout, dropout
from tf_fenrec.layers.attention import attention_mask

ITEMS = np.array([[0, 0, 4, 2, 7], [1, 2, 3, 4, 5], [0, 0, 0, 0, 9]], np.int32)
POSITIONS = np.tile(np.arange(5, dtype=np.int32), (3, 1))
VECTORS = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
MASK = attention_mask(tf.cast(ITEMS > 0, tf.int32)).numpy()


def built_block(**kwargs: Any) -> SelfAttentionBlock:
    block = SelfAttentionBlock(2, 12, 0.3, seed=4, **kwargs)
    block.build((None, None, 8))
    return block


# Each with arguments that are not the defaults, and its inputs.
LAYERS: dict[str, tuple[Callable[..., keras.layers.Layer], tuple[np.ndarray, ...]]] = {
    "dropout": (lambda **kwargs: StatelessDropout(0.3, **kwargs), (VECTORS,)),
    "embedding": (lambda **kwargs: ItemEmbedding(9, 8, 5, 0.3, seed=4, **kwargs), (ITEMS, POSITIONS)),
    "block": (built_block, (VECTORS, MASK)),
    "encoder": (lambda **kwargs: SASRecEncoder(9, 8, 5, 1, 4, 20, 0.3, seed=4, **kwargs), (ITEMS,)),
}
EVERY_LAYER = pytest.mark.parametrize("name", LAYERS)
WITH_WEIGHTS = pytest.mark.parametrize("name", [name for name in LAYERS if name != "dropout"])


@EVERY_LAYER
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_config_round_trip(name: str, dtype: str) -> None:
    make, inputs = LAYERS[name]
    layer = make(dtype=dtype, trainable=False)
    layer(*inputs)
    check_config(layer) if name != "block" else check_block_config(layer)


def check_block_config(block: SelfAttentionBlock) -> None:
    """A block learns its width when it is built."""
    again = SelfAttentionBlock.from_config(block.get_config())
    assert again.get_config() == block.get_config()
    again(VECTORS, MASK)
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in block.weights]


@WITH_WEIGHTS
def test_file_round_trip(name: str, tmp_path: Path) -> None:
    make, inputs = LAYERS[name]
    layer = make()
    symbolic = [keras.Input(array.shape[1:], dtype=str(array.dtype)) for array in inputs]
    model = keras.Model(symbolic, layer(*symbolic))
    for weight in layer.trainable_weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    check_file(model, lambda model: model(list(inputs)), tmp_path)


@EVERY_LAYER
@pytest.mark.parametrize("policy", MIXED)
def test_mixed_precision(name: str, policy: str) -> None:
    make, inputs = LAYERS[name]
    layer = make(dtype=policy)
    check_mixed_precision(layer, lambda: layer(*inputs, training=True, seed=tf.constant([1, 2])), policy)


@EVERY_LAYER
def test_jit_gives_the_same(name: str) -> None:
    make, inputs = LAYERS[name]
    layer = make()
    seed = tf.constant([1, 2])
    jitted = tf.function(lambda *inputs: layer(*inputs, training=True, seed=seed), jit_compile=True)
    expected = layer(*inputs, training=True, seed=seed)
    np.testing.assert_allclose(jitted(*map(tf.constant, inputs)), expected, rtol=1e-4, atol=1e-5)


@EVERY_LAYER
def test_dropout_follows_the_seed_and_only_in_training(name: str) -> None:
    make, inputs = LAYERS[name]
    layer = make()

    def call(training: bool, *seed: int) -> np.ndarray:
        return layer(*inputs, training=training, seed=tf.constant(seed) if seed else None).numpy()

    dropped = call(True, 3, 4)
    np.testing.assert_array_equal(dropped, call(True, 3, 4))
    assert (dropped != call(True, 3, 5)).any()
    assert (dropped != call(True, 4, 4)).any()
    np.testing.assert_array_equal(call(False, 3, 4), call(False, 5, 6))
    assert (dropped != call(False, 3, 4)).any()
    assert (call(True) != call(True)).any()  # without a seed, a new one each time


def test_dropout_rate() -> None:
    x = tf.fill([100, 1000], 3.0)
    for rate in (0.1, 0.5):
        dropped = StatelessDropout(rate)(x, training=True, seed=tf.constant([7, 8])).numpy()
        zero = dropped == 0
        np.testing.assert_allclose(dropped[~zero], 3 / (1 - rate), rtol=1e-6)
        deviation = np.sqrt(rate * (1 - rate) / x.shape[0] / x.shape[1])
        assert abs(zero.mean() - rate) < 5 * deviation
        assert abs(zero.mean(axis=0) - rate).max() < 5.5 * deviation * np.sqrt(1000)  # everywhere alike


def test_dropout_masks_are_independent() -> None:
    dropout, x = StatelessDropout(0.5), tf.ones([400, 400])
    seeds = [(0, 0), (0, 1), (0, 2), (1, 0), (-1, 0)]
    masks = [dropout(x, training=True, seed=tf.constant(seed)).numpy() - 1 for seed in seeds]  # -1 or 1
    pairs = [one * other for number, one in enumerate(masks) for other in masks[:number]]
    neighbours = [mask[1:] * mask[:-1] for mask in masks] + [mask[:, 1:] * mask[:, :-1] for mask in masks]
    for products in pairs + neighbours:
        assert abs(products.mean()) < 5 / 400


def test_every_dropout_of_an_encoder_has_its_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def random_bits(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        drawn.append((tuple(shape.numpy()), tuple(seed.numpy())))
        return original(shape, seed)

    original = dropout.random_bits
    monkeypatch.setattr(dropout, "random_bits", random_bits)
    SASRecEncoder(9, 8, 5, num_blocks=2, num_heads=4)(ITEMS, training=True, seed=tf.constant([1, 2]))
    # Embedding, then attention weights, attention output and feed-forward output of each block; the last block is
    # computed for the last positions only.
    everywhere, last = (3, 5, 8), (3, 8)
    first_block, last_block = [(3, 4, 5, 5), everywhere, everywhere], [(3, 1, 4, 5), last, last]
    assert [shape for shape, _ in drawn] == [everywhere, *first_block, *last_block]
    assert len({seed for _, seed in drawn}) == 7


def test_without_rate_nothing_is_dropped() -> None:
    np.testing.assert_array_equal(StatelessDropout(0.0)(VECTORS, training=True), VECTORS)


def test_initialisation() -> None:
    encoder = SASRecEncoder(2000, 32, 50, seed=3)
    for weight in encoder.trainable_weights:
        values = np.asarray(weight)
        if "norm/gamma" in weight.path or weight.path.endswith("gamma"):
            assert (values == 1).all()
        elif values.ndim == 1:
            assert (values == 0).all(), weight.path
        else:
            assert abs(values.std() - 0.02) < 0.02 * 4 / np.sqrt(2 * values.size)
            assert abs(values.mean()) < 5 * 0.02 / np.sqrt(values.size)
    tables = [np.asarray(weight) for weight in encoder.trainable_weights if len(weight.shape) == 2]
    assert len({table.ravel()[0] for table in tables}) == len(tables)  # no two drawn from the same seed
    np.testing.assert_array_equal(SASRecEncoder(2000, 32, 50, seed=3).item_embeddings, encoder.item_embeddings)
    assert (np.asarray(SASRecEncoder(2000, 32, 50, seed=4).item_embeddings) != tables[0]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StatelessDropout(1.0), r"`rate` must be .* below 1\. Received: rate=1\.0"),
        (lambda: SASRecEncoder(0), r"`num_items` must be at least 1\. Received: num_items=0"),
        (lambda: SASRecEncoder(5, 0), r"`dim` must be at least 1\. Received: dim=0"),
        (lambda: SASRecEncoder(5, 8, num_heads=3), r"multiple of `num_heads`\. Received: dim=8, num_heads=3"),
    ],
)
def test_mistakes_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
