"""The weights of an encoder that have a row for each item, as they are served: items added, or in another order."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.encoders.calls import catalogue, item_vectors
from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.export.search import BLOCK


def catalogue_rows(encoder: Any) -> np.ndarray:
    """float32 [V + 2, ...], the rows of all weights that have one for each item, side by side."""
    parts = [np.asarray(weight, np.float32) for weight in catalogue(encoder)]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def with_catalogue(encoder: Any, rows: np.ndarray) -> Any:
    """A copy of `encoder` with other items, and rows of zeros before that of the mask, up to a multiple of `BLOCK`.

    Args:
        encoder: whatever it was trained on.
        rows: [V + 2, ...], as `catalogue_rows` gives them.
    """
    count = -(-len(rows) // BLOCK) * BLOCK
    rows = np.insert(rows, [len(rows) - 1] * (count - len(rows)), 0, axis=0)
    copy = type(encoder).from_config(encoder.get_config() | {"num_items": count - 2})
    grown = [id(weight) for weight in catalogue(encoder)]
    begin = 0
    columns = {}
    for weight in catalogue(encoder):
        width = int(np.prod(weight.shape[1:]))
        columns[id(weight)] = slice(begin, begin + width)
        begin += width
    for old, new in zip(encoder.weights, copy.weights, strict=True):
        new.assign(rows[:, columns[id(old)]].reshape(new.shape) if id(old) in grown else old)
    return copy


def vector_table(encoder: Any) -> keras.Variable | tf.Variable:
    """[V + 2, D'], what user vectors are multiplied with; the encoder's own table where that is it."""
    if getattr(type(encoder), "item_vectors", Encoder.item_vectors) is Encoder.item_vectors:
        return encoder.item_embeddings
    return tf.Variable(item_vectors(encoder), trainable=False)
