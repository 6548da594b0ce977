"""MAERec's graph in half precision."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_fenrec.encoders import MAERecEncoder


def test_vectors_of_popular_items_are_summed_in_full_precision() -> None:
    """A sum of bfloat16 stands still once it is 256 times what is added."""
    items = 2000
    neighbours = np.arange(2, items + 1)
    encoder = MAERecEncoder(items, len(neighbours), 4, 3, 1, 1, 1, dtype="mixed_bfloat16")
    encoder.set_graph(np.full(len(neighbours), 1), neighbours, np.ones(len(neighbours)))
    encoder.item_table.assign(np.ones((items + 2, 4)))
    seen: list[tf.Tensor] = []

    def looked_up(x: tf.Tensor) -> tf.Tensor:
        seen.append(x)
        return x

    encoder.norm = looked_up
    encoder(np.array([[1]]))
    np.testing.assert_allclose(np.asarray(tf.cast(seen[0], tf.float32))[0, -1], items, rtol=0.01)
    np.testing.assert_allclose(encoder.item_vectors()[1], items)
