"""Models that train in a second."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.small_data import random_dataset
from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
from tf_fenrec.data.views import DropoutView, SameTargetView
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.models import FENRec

NUM_ITEMS, WIDTH = 20, 8
DATASET = random_dataset(40, NUM_ITEMS)


def encoder(**changes: Any) -> SASRecEncoder:
    return SASRecEncoder(NUM_ITEMS, **{"dim": 16, "max_length": WIDTH, "num_blocks": 1, "dropout": 0.1} | changes)


def model(own_encoder: keras.layers.Layer | None = None, **changes: Any) -> FENRec:
    """Hard negatives come in with the second epoch."""
    settings = {"num_clusters": 4, "warm_up_epochs": 1, "noise_portion": 1, "seed": 3} | changes
    return FENRec(own_encoder or encoder(), **settings)


def training(**changes: Any) -> TrainingBatches:
    """Three steps an epoch, the last one smaller."""
    views = (DropoutView(), SameTargetView())
    return TrainingBatches(DATASET, **{"batch_size": 70, "views": views, "max_length": WIDTH} | changes)


def validation(**changes: Any) -> EvaluationBatches:
    return EvaluationBatches(DATASET, **{"split": "valid", "max_length": WIDTH} | changes)


@keras.saving.register_keras_serializable("tests")
class GRUEncoder(keras.layers.Layer):
    """Another encoder with the call contract, one sequence a row (GRU4Rec in small)."""

    packed = False

    def __init__(self, num_items: int, max_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_items, self.max_length = num_items, max_length
        self.table = keras.layers.Embedding(num_items + 2, 6)
        self.table.build()
        self.gru = keras.layers.GRU(6, use_cudnn=False)  # cuDNN takes right-padded sequences only
        self.gru.build((None, None, 6))
        self.built = True

    @property
    def item_embeddings(self) -> keras.Variable:
        return self.table.embeddings

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        items = inputs["items"] if isinstance(inputs, dict) else tf.convert_to_tensor(inputs)
        return self.gru(self.table(items), mask=items > 0, training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_items": self.num_items, "max_length": self.max_length}


def weights(trained: FENRec) -> list[np.ndarray]:
    """Every weight, step counter and centroids too."""
    return [np.asarray(weight) for weight in trained.weights]
