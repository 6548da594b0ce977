"""How a model speaks to an encoder, also to one of a user's own that knows only a part of the contract."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.data.packing import Layout
from tf_fenrec.errors import InputError

NEEDED = ("item_embeddings", "num_items", "max_length")


def check_encoder(encoder: Any) -> None:
    """Raises InputError when a model can't use `encoder`: a layer with `item_embeddings` [V + 2, D], `num_items` and
    `max_length`; the rest of `Encoder`'s contract has defaults."""
    if not isinstance(encoder, keras.layers.Layer):
        raise InputError(f"`encoder` must be a Keras layer. Received: {type(encoder).__name__}")
    for name in NEEDED:
        if not hasattr(encoder, name):
            raise InputError(f"`encoder` must have `{name}`. Received: {type(encoder).__name__} without it")
    rows, expected = encoder.item_embeddings.shape[0], encoder.num_items + 2
    if rows != expected:
        raise InputError(
            f"`encoder.item_embeddings` must have `num_items` + 2 rows, {expected} (padding, items, mask). "
            f"Received: {rows}"
        )


def layout_of(encoder: Any) -> Layout:
    """How the encoder takes sequences; one a row where it doesn't say."""
    return Layout(
        encoder.max_length,
        getattr(encoder, "packed", False),
        getattr(encoder, "mask_query", False),
        getattr(encoder, "takes_users", False),
    )


def encode(
    encoder: Any,
    inputs: dict[str, tf.Tensor] | tf.Tensor,
    training: bool = False,
    seed: tf.Tensor | None = None,
    everywhere: bool = False,
) -> tf.Tensor:
    """[S, D], or [R, T, D] with `everywhere`; an encoder without one of these arguments isn't given it."""
    known = _keywords(encoder.__class__)
    given: dict[str, Any] = {"training": training}
    if seed is not None:
        given["seed"] = seed
    if everywhere:
        if "everywhere" not in known and "**" not in known:
            raise InputError(
                "this system reads every token, so `encoder.call` must take `everywhere`. "
                f"Received: {type(encoder).__name__} without it"
            )
        given["everywhere"] = True
    return encoder(inputs, **{name: value for name, value in given.items() if name in known or "**" in known})


def catalogue(encoder: Any) -> list[keras.Variable]:
    """The weights whose first axis is the catalogue's V + 2 rows."""
    return getattr(encoder, "catalogue", None) or [encoder.item_embeddings]


def frozen(encoder: Any) -> Any:
    """An encoder of the same answers that computes nothing anew for each request which no request changes."""
    return encoder.frozen() if hasattr(encoder, "frozen") else encoder


def item_vectors(encoder: Any, training: bool = False) -> tf.Tensor:
    """[V + 2, D'], what user vectors are multiplied with; while training they may be others."""
    if hasattr(encoder, "item_vectors"):
        if training and "training" in inspect.signature(encoder.item_vectors).parameters:
            return encoder.item_vectors(training=True)
        return encoder.item_vectors()
    return tf.convert_to_tensor(encoder.item_embeddings)


def user_vectors(encoder: Any, hidden: tf.Tensor) -> tf.Tensor:
    """[..., D'], from what the encoder returned [..., D]."""
    return encoder.user_vectors(hidden) if hasattr(encoder, "user_vectors") else hidden


@functools.cache
def _keywords(kind: Any) -> frozenset[str]:
    """The arguments of an encoder class's `call`; "**" among them when it takes any."""
    parameters = inspect.signature(kind.call).parameters.values()
    return frozenset("**" if one.kind is one.VAR_KEYWORD else one.name for one in parameters)
