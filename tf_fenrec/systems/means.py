"""The means of an epoch's losses."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

MOST_TERMS = 16


@keras.saving.register_keras_serializable("tf_fenrec")
class LossMeans(keras.metrics.Metric):
    """Means of loss terms over the examples of an epoch; the terms are those of the first update."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names: tuple[str, ...] = ()
        self.totals = self.add_variable((MOST_TERMS,), initializer="zeros", name="totals")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, losses: dict[str, tf.Tensor], examples: tf.Tensor) -> None:
        """Adds a batch.

        Args:
            losses: scalars by name.
            examples: int scalar, of how many examples they are the means.
        """
        self.names = tuple(losses)
        weight = tf.cast(examples, self.dtype)
        values = tf.stack([tf.cast(value, self.dtype) for value in losses.values()])
        self.totals.assign_add(tf.pad(values, [[0, MOST_TERMS - len(losses)]]) * weight)
        self.count.assign_add(weight)

    def result(self) -> dict[str, tf.Tensor]:
        means = tf.math.divide_no_nan(tf.convert_to_tensor(self.totals), tf.convert_to_tensor(self.count))
        return dict(zip(self.names, tf.unstack(means), strict=False))

    # What an epoch has added up is no part of a model.

    def save_own_variables(self, store: Any) -> None:
        return

    def load_own_variables(self, store: Any) -> None:
        return
