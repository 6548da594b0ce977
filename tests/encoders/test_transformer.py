"""The encoder against the golden vectors, and its packed against its padded form."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden_vectors import PRECISIONS, golden
from tests.small_data import join
from tf_fenrec.data.packing import Layout, pack
from tf_fenrec.encoders import SASRecEncoder, padded_batch
from tf_fenrec.losses import soft_label_cross_entropy

WIDTH, NUM_ITEMS = 6, 12
pytestmark = pytest.mark.usefixtures("shared_rows")


def golden_encoder(dtype: str) -> SASRecEncoder:
    content = golden("sasrec_weights")
    config, weights = content["config"], {name: np.array(w) for name, w in content["weights"].items()}
    encoder = SASRecEncoder(
        config["item_size"] - 2,
        config["hidden_size"],
        config["max_len"],
        config["num_layers"],
        config["num_heads"],
        dtype=dtype,
    )
    encoder.embedding.item_table.assign(weights.pop("item_embeddings.weight"))
    encoder.embedding.position_table.assign(weights.pop("position_embeddings.weight"))
    norms = {"LayerNorm": encoder.embedding.norm}
    denses = {}
    for number, block in enumerate(encoder.blocks):
        prefix = f"item_encoder.layer.{number}"
        denses |= {
            f"{prefix}.attention.query": block.query,
            f"{prefix}.attention.key": block.key,
            f"{prefix}.attention.value": block.value,
            f"{prefix}.attention.dense": block.output_projection,
            f"{prefix}.intermediate.dense_1": block.expand,
            f"{prefix}.intermediate.dense_2": block.contract,
        }
        norms[f"{prefix}.attention.LayerNorm"] = block.attention_norm
        norms[f"{prefix}.intermediate.LayerNorm"] = block.feedforward_norm
    for name, dense in denses.items():
        dense.kernel.assign(weights.pop(f"{name}.weight").T)
        dense.bias.assign(weights.pop(f"{name}.bias"))
    for name, norm in norms.items():
        norm.gamma.assign(weights.pop(f"{name}.weight"))
        norm.beta.assign(weights.pop(f"{name}.bias"))
    assert not weights
    return encoder


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_outputs_equal_the_golden_ones(dtype: str, tolerance: float) -> None:
    expected, encoder = golden("sasrec_forward"), golden_encoder(dtype)
    items = np.array(expected["inputs"], np.int32)
    outputs = np.array(expected["outputs"])
    everywhere = encoder(items, everywhere=True).numpy()
    # A padding token sees hidden keys only, whose scores of -10000 keep three decimals in float32.
    compared = (items > 0) | (dtype == "float64")
    np.testing.assert_allclose(everywhere[compared], outputs[compared], rtol=tolerance, atol=tolerance)
    h = encoder(items)
    assert h.dtype == dtype
    np.testing.assert_allclose(h, outputs[:, -1], rtol=tolerance, atol=tolerance)
    scores = tf.matmul(h, tf.convert_to_tensor(encoder.item_embeddings), transpose_b=True)
    np.testing.assert_allclose(scores, expected["scores"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_loss_and_gradients_equal_the_golden_ones(dtype: str, tolerance: float, packed: bool) -> None:
    expected, encoder = golden("sasrec_forward"), golden_encoder(dtype)
    sequences = [[item for item in row if item] for row in expected["inputs"]]
    labels = np.array(expected["soft_labels"])
    ids = np.argsort(-labels, axis=1, kind="stable")[:, :3].astype(np.int32)
    weights = np.take_along_axis(labels, ids, axis=1)
    parameters = {
        "item_embeddings.weight": encoder.embedding.item_table,
        "position_embeddings.weight": encoder.embedding.position_table,
        "LayerNorm.weight": encoder.embedding.norm.gamma,
        "item_encoder.layer.0.attention.query.weight": encoder.blocks[0].query.kernel,
    }
    assert set(parameters) == set(expected["grads"])
    with tf.GradientTape() as tape:
        h = encoder(pack(join(sequences), Layout(encoder.max_length, packed)))
        table = tf.convert_to_tensor(encoder.item_embeddings)
        loss = soft_label_cross_entropy(h, table, ids, weights)
    np.testing.assert_allclose(loss, expected["soft_ce_loss"], rtol=tolerance)
    gradients = tape.gradient(loss, list(parameters.values()))
    for name, gradient in zip(parameters, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient).numpy()
        gradient = gradient.T if name.endswith("query.weight") else gradient
        np.testing.assert_allclose(gradient, expected["grads"][name], rtol=tolerance, atol=tolerance, err_msg=name)
        if name == "item_embeddings.weight":
            assert (gradient[0] != 0).any()  # the padding row: from scoring


@pytest.fixture(scope="module")
def encoder() -> SASRecEncoder:
    """A float64 encoder whose biases, norms and attention matter."""
    encoder = SASRecEncoder(NUM_ITEMS, 8, WIDTH, dtype="float64")
    rng = np.random.default_rng(0)
    for weight in encoder.trainable_weights:
        weight.assign(np.asarray(weight) + rng.normal(scale=0.4, size=weight.shape))
    return encoder


SEQUENCES = st.lists(st.lists(st.integers(1, NUM_ITEMS), min_size=1, max_size=WIDTH), min_size=1, max_size=12)


@settings(max_examples=12)
@given(sequences=SEQUENCES)
def test_packed_equals_padded(encoder: SASRecEncoder, sequences: list[list[int]]) -> None:
    padded = np.array([[0] * (WIDTH - len(sequence)) + sequence for sequence in sequences], np.int32)
    expected = encoder(padded).numpy()
    for packed in (False, True):
        batch = pack(join(sequences), Layout(WIDTH, packed))
        np.testing.assert_allclose(encoder(batch), expected, rtol=1e-11, atol=1e-11)
        everywhere = encoder(batch, everywhere=True).numpy()
        np.testing.assert_allclose(everywhere.reshape(-1, 8)[batch["last"]], expected, rtol=1e-11, atol=1e-11)
    # Every earlier token of a packed row is the last one of a shorter sequence.
    shorter = [sequence[:-1] for sequence in sequences if len(sequence) > 1]
    if shorter:
        positions = encoder(padded, everywhere=True).numpy()[[len(s) > 1 for s in sequences], -2]
        shifted = encoder(with_shift(shorter)).numpy()
        np.testing.assert_allclose(positions, shifted, rtol=1e-11, atol=1e-11)


def with_shift(sequences: list[list[int]]) -> dict[str, np.ndarray]:
    """Padded sequences that end one position before the last row of the position table."""
    batch = pack(join(sequences), Layout(WIDTH, packed=False))
    return batch | {"positions": np.where(batch["segments"] > 0, batch["positions"] - 1, 0).astype(np.int32)}


def test_packed_and_padded_gradients_are_equal(encoder: SASRecEncoder) -> None:
    rng = np.random.default_rng(1)
    sequences = [rng.integers(1, NUM_ITEMS + 1, rng.integers(1, WIDTH + 1)).tolist() for _ in range(20)]
    weights = rng.normal(size=(20, 8))
    gradients = []
    for packed in (False, True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(pack(join(sequences), Layout(WIDTH, packed))) ** 2 * weights)
        gradients.append([tf.convert_to_tensor(g) for g in tape.gradient(loss, encoder.trainable_weights)])
    for padded, packed in zip(*gradients, strict=True):
        np.testing.assert_allclose(packed, padded, rtol=1e-9, atol=1e-9)


def test_the_last_block_treats_last_tokens_as_any_token(
    encoder: SASRecEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when dropout takes weight from some tokens: the bias of the values counts with what is left."""
    batch = pack(join([[1, 2, 3], [4, 5], [6]]), Layout(WIDTH))
    kept = tf.constant(np.random.default_rng(3).uniform(size=WIDTH))

    def drop(weights: tf.Tensor, training: bool, seed: None) -> tf.Tensor:
        return weights * kept if weights.shape[-1] == WIDTH else weights  # attention weights, not vectors

    for block in encoder.blocks:
        monkeypatch.setattr(block, "drop", drop)
    everywhere = encoder(batch, everywhere=True).numpy().reshape(-1, 8)
    np.testing.assert_allclose(encoder(batch), everywhere[batch["last"]], rtol=1e-11, atol=1e-11)


def test_a_file_saved_before_the_encoders_moved() -> None:
    """Its weights are found by their paths."""
    path = Path(__file__).with_name("sasrec")
    expected = json.loads(path.with_suffix(".json").read_text())
    encoder = keras.saving.load_model(path.with_suffix(".keras")).get_layer("encoder")
    assert [weight.path.removeprefix("encoder/") for weight in encoder.weights] == expected["paths"]
    items = np.array(expected["items"], np.int32)
    np.testing.assert_allclose(encoder(items), expected["last"], atol=1e-5)


def test_later_items_and_other_sequences_have_no_influence(encoder: SASRecEncoder) -> None:
    batch = pack(join([[1, 2, 3, 4], [5, 6]]), Layout(WIDTH))
    row = batch["items"][0].tolist()
    assert sorted(row) == [1, 2, 3, 4, 5, 6]  # both share it
    before = encoder(batch, everywhere=True).numpy()[0]
    for item, reached in ((1, {1, 2, 3, 4}), (2, {2, 3, 4}), (3, {3, 4}), (4, {4}), (5, {5, 6}), (6, {6})):
        items = batch["items"].copy()
        items[0, row.index(item)] = 12
        after = encoder(batch | {"items": items}, everywhere=True).numpy()[0]
        changed = {row[column] for column in np.flatnonzero((before != after).any(axis=1))}
        assert changed == reached


def test_padding_has_no_influence(encoder: SASRecEncoder) -> None:
    items = np.array([[0, 0, 0, 0, 7, 3]], np.int32)
    expected = encoder(items).numpy()
    batch = {name: np.asarray(array) for name, array in padded_batch(items).items()}
    noisy = batch | {"items": np.array([[9, 9, 9, 9, 7, 3]], np.int32)}  # its segments still say padding
    np.testing.assert_array_equal(encoder(noisy), expected)


def test_a_row_of_padding_alone_is_like_any_other(encoder: SASRecEncoder) -> None:
    items = np.array([[0] * WIDTH, [0] * (WIDTH - 1) + [4]], np.int32)
    np.testing.assert_allclose(encoder(items), encoder(items, everywhere=True).numpy()[:, -1], rtol=1e-11, atol=1e-11)


def test_shorter_rows_end_at_the_last_position(encoder: SASRecEncoder) -> None:
    np.testing.assert_allclose(
        encoder(np.array([[0, 5, 8]])), encoder(np.array([[0, 0, 0, 0, 5, 8]])), rtol=1e-11, atol=1e-11
    )


def test_one_sequence_drops_differently_in_each_place() -> None:
    """The three passes over an example share a packed batch but no dropout mask."""
    encoder = SASRecEncoder(NUM_ITEMS, 16, WIDTH, dropout=0.2)
    for packed in (False, True):
        h = encoder(pack(join([[1, 2]] * 4), Layout(WIDTH, packed)), training=True, seed=tf.constant([1, 2])).numpy()
        assert len({row.tobytes() for row in h}) == 4
