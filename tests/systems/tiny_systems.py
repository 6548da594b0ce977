"""Models that train in a second."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.small_data import random_dataset
from tf_fenrec.data.batches import Batch, EvaluationBatches, TrainingBatches
from tf_fenrec.data.packing import Layout
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels
from tf_fenrec.data.views import Again, SameTarget
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.fenrec import FENRec, FENRecConfig

NUM_ITEMS, WIDTH = 20, 8
DATASET = random_dataset(40, NUM_ITEMS)
LAYOUT = Layout(WIDTH)
VIEWS = {"view1": Again(), "view2": SameTarget()}


def encoder(**changes: Any) -> SASRecEncoder:
    return SASRecEncoder(NUM_ITEMS, **{"dim": 16, "max_length": WIDTH, "num_blocks": 1, "dropout": 0.1} | changes)


def config(**changes: Any) -> FENRecConfig:
    """Hard negatives come in with the second epoch."""
    settings = {
        "dim": 16, "max_length": WIDTH, "num_blocks": 1, "dropout": 0.1, "num_clusters": 4, "warm_up_epochs": 1,
        "noise_portion": 1, "seed": 3, "batch_size": 70,
    }  # fmt: skip
    return FENRecConfig.from_dict(settings | changes)


def model(own_encoder: keras.layers.Layer | None = None, **changes: Any) -> FENRec:
    return FENRec(config(**changes), NUM_ITEMS, own_encoder)


def training(
    batch_size: int = 70, views: Any = VIEWS, gamma: float = 0.2, seed: int = 0, num_sampled: int = 0
) -> TrainingBatches:
    """Three steps an epoch."""
    rule = Prefixes(DATASET, WIDTH, SoftLabels(gamma))
    return TrainingBatches(rule, batch_size, views, seed, num_sampled)


def batch(batches: TrainingBatches, layout: Layout = LAYOUT) -> Batch:
    """The first of them."""
    return batches.step_batch(0, 0, layout)


def validation(**changes: Any) -> EvaluationBatches:
    return EvaluationBatches(DATASET, **{"split": "valid"} | changes)


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


def weights(trained: SequenceModel) -> list[np.ndarray]:
    """Every weight, step counter and centroids too."""
    return [np.asarray(weight) for weight in trained.weights]
