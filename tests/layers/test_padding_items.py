"""Padding items within a sequence (a hidden item, the start of a window, an empty input) are seen by no other token."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.small_data import join
from tf_fenrec.data.packing import Layout, pack
from tf_fenrec.encoders import SASRecEncoder

SEQUENCES = [[3, 0, 5, 0, 2], [0, 4, 1], [0, 0, 6], [1, 2, 3, 4], [0], [5, 6, 0]]
NUM_ITEMS, WIDTH = 6, 8


@pytest.fixture(scope="module")
def encoder() -> SASRecEncoder:
    return SASRecEncoder(NUM_ITEMS, dim=8, max_length=WIDTH, num_blocks=2, num_heads=2, seed=3)


def encoded(encoder: SASRecEncoder, sequences: list[list[int]], packed: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """The vectors of the last tokens [S, D], and those of all tokens of each sequence."""
    batch = pack(join(sequences), Layout(WIDTH, packed))
    inputs = {name: tf.constant(array) for name, array in batch.items()}
    everywhere = np.asarray(encoder(inputs, everywhere=True)).reshape(-1, 8)
    tokens = [everywhere[end - len(one) + 1 : end + 1] for one, end in zip(sequences, batch["last"], strict=True)]
    return np.asarray(encoder(inputs)), tokens


@pytest.mark.parametrize("packed", [True, False])
def test_what_stands_for_padding_changes_no_other_vector(encoder: SASRecEncoder, packed: bool) -> None:
    last, tokens = encoded(encoder, SEQUENCES, packed)
    table = encoder.item_embeddings.numpy()
    other = table.copy()
    other[0] = np.linspace(-3, 5, 8)
    encoder.item_embeddings.assign(other)
    try:
        changed_last, changed_tokens = encoded(encoder, SEQUENCES, packed)
    finally:
        encoder.item_embeddings.assign(table)
    for number, sequence in enumerate(SEQUENCES):
        real = np.array(sequence) > 0
        np.testing.assert_array_equal(tokens[number][real], changed_tokens[number][real])
        assert (tokens[number][~real] != changed_tokens[number][~real]).any(axis=1).all()
        assert (last[number] == changed_last[number]).all() == (sequence[-1] > 0)


def test_sequences_see_nothing_of_those_in_the_same_row(encoder: SASRecEncoder) -> None:
    """Nor where all they have is padding items, which hide all keys of their own."""
    last, tokens = encoded(encoder, SEQUENCES, packed=True)
    for number, sequence in enumerate(SEQUENCES):
        [alone], [own] = encoded(encoder, [sequence], packed=True)
        np.testing.assert_allclose(last[number], alone, atol=1e-6)
        np.testing.assert_allclose(tokens[number], own, atol=1e-6)
        np.testing.assert_allclose(last[number], own[-1], atol=1e-6)
