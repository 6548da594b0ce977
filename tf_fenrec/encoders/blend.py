"""Several encoders beside each other, and counts: one product of joined vectors, and the neighbours' few entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.encoders.calls import catalogue, encode, item_vectors, user_vectors
from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.encoders.neighbours import NeighbourEncoder


@keras.saving.register_keras_serializable("tf_fenrec")
class BlendEncoder(Encoder):
    """The scores of all items: sum_k w_k (user_k . item_k) + w log(1 + K / (floor max K)), K the scores of counts.

    A sum of products is the product of the joined vectors: one matrix product, whatever the number of members.

    Args:
        num_items: int. V.
        members: list of encoders, or of their configurations.
        neighbours: NeighbourEncoder or its configuration, None for no counts.

    Attributes:
        shares: [members + 2], w_k of each, then w and the floor; see `set_shares`.

    Call arguments:
        inputs: a batch of sequences in padded rows, or int [S, T] right-aligned items.

    Returns:
        [S, V + 2], scores.
    """

    packed = False
    scores_items = True

    def __init__(
        self,
        num_items: int,
        members: list[Any],
        neighbours: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("max_length", None)
        made = [_made(member, num_items) for member in members]
        counts = None if neighbours is None else _made(neighbours, num_items)
        lengths = [member.max_length for member in [*made, *([counts] if counts is not None else [])]]
        super().__init__(num_items, max(lengths), **kwargs)
        self.members = made
        self.neighbours: NeighbourEncoder | None = counts
        self.widths = [int(item_vectors(member).shape[1]) for member in made]
        self.item_table = self.add_weight(
            name="vectors", shape=(num_items + 2, sum(self.widths)), initializer="zeros", trainable=False
        )
        self.shares = self.add_weight(name="shares", shape=(len(made) + 2,), initializer="ones", trainable=False)
        self.trainable = False
        self.built = True

    def set_shares(self, weights: Sequence[float], counts_weight: float, floor: float) -> None:
        """Sets w_k of each member, w, and what an item without counts has, in parts of the greatest."""
        self.shares.assign([*weights, counts_weight, floor])

    def assemble(self) -> None:
        """Joins the members' item vectors, once they have their weights."""
        self.item_table.assign(np.concatenate([np.asarray(item_vectors(member)) for member in self.members], axis=1))

    @property
    def catalogue(self) -> list[keras.Variable]:
        parts = [weight for member in self.members for weight in catalogue(member)]
        if self.neighbours is not None:
            parts += self.neighbours.catalogue
        return [self.item_table, *parts]

    def call(
        self, inputs: dict[str, tf.Tensor] | tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        items = self.batch_of(inputs)["items"]
        *weights, counts_weight, floor = tf.unstack(tf.cast(tf.convert_to_tensor(self.shares), self.compute_dtype))
        users = [
            weight * tf.cast(user_vectors(member, encode(member, items[:, -member.max_length :])), self.compute_dtype)
            for member, weight in zip(self.members, weights, strict=True)
        ]
        table = tf.cast(tf.convert_to_tensor(self.item_table), self.compute_dtype)
        scores = tf.matmul(tf.concat(users, axis=1), table, transpose_b=True)
        if self.neighbours is None:
            return scores
        counts = tf.cast(self.neighbours(items[:, -self.neighbours.max_length :]), scores.dtype)
        share = tf.math.divide_no_nan(counts, tf.reduce_max(counts, axis=1, keepdims=True))
        return scores + counts_weight * tf.math.log1p(share / floor)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "members": [keras.saving.serialize_keras_object(member) for member in self.members],
            "neighbours": None if self.neighbours is None else keras.saving.serialize_keras_object(self.neighbours),
        }
        del config["max_length"]
        return config


def _made(encoder: Any, num_items: int) -> Any:
    """The encoder of a configuration over `num_items` items; an encoder as it is."""
    if isinstance(encoder, keras.layers.Layer):
        return encoder
    settings = {**encoder, "config": encoder["config"] | {"num_items": num_items}}
    return keras.saving.deserialize_keras_object(settings)
