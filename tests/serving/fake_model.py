"""A tiny model with the contract that export needs, so that these tests train nothing."""

from __future__ import annotations

import keras
import numpy as np


@keras.saving.register_keras_serializable("tests")
class FakeEncoder(keras.Layer):
    """Recent items weigh more: h = sum_j 0.9^(L - 1 - j) E[item_j], padding is nothing."""

    def __init__(self, num_items: int, width: int = 6, max_length: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.num_items, self.width, self.max_length = num_items, width, max_length
        self.embedding = keras.layers.Embedding(num_items + 2, width, embeddings_initializer="normal")
        self.embedding.build()
        self.built = True

    @property
    def item_embeddings(self):
        return self.embedding.embeddings

    def call(self, items):
        weights = 0.9 ** np.arange(self.max_length - 1, -1, -1, dtype="float32")
        known = keras.ops.cast(items > 0, "float32") * weights
        return keras.ops.sum(self.embedding(items) * known[..., None], axis=1)

    def get_config(self):
        own = {"num_items": self.num_items, "width": self.width, "max_length": self.max_length}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tests")
class FakeModel(keras.Model):
    """Holds an encoder, as FENRec does."""

    def __init__(self, encoder: FakeEncoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder

    def call(self, items):
        return self.encoder(items)

    def get_config(self):
        return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("encoder")), **config)


def fake_model(num_items: int, max_length: int = 4) -> FakeModel:
    keras.utils.set_random_seed(0)
    return FakeModel(FakeEncoder(num_items, max_length=max_length))
