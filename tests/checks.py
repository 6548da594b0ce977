"""What every layer and every model must do, checked alike."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

MIXED = ["mixed_bfloat16", "mixed_float16"]


def arrays(layer: keras.layers.Layer) -> list[np.ndarray]:
    """The weights as NumPy arrays (`get_weights`, which custom steps may extend)."""
    return [np.asarray(weight) for weight in layer.weights]


def check_config(layer: keras.layers.Layer) -> None:
    """The configuration holds every constructor argument, survives JSON and gives the same layer."""
    config = layer.get_config()
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    assert named | {"name", "dtype"} <= set(config)
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in layer.weights]


def check_file(model: keras.Model, outputs: Callable[[keras.Model], Any], directory: Path) -> keras.Model:
    """The model saved as a .keras file and loaded gives the same outputs and weights; returns the loaded one."""
    path = directory / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(np.asarray(outputs(loaded)), np.asarray(outputs(model)))
    assert len(loaded.weights) == len(model.weights) > 0
    for one, other in zip(arrays(loaded), arrays(model), strict=True):
        np.testing.assert_array_equal(one, other)
    return loaded


def check_mixed_precision(layer: keras.layers.Layer, call: Callable[[], tf.Tensor], policy: str) -> None:
    """Forward and backward in half precision: its type outside, float32 variables, everything finite."""
    half = policy.removeprefix("mixed_")
    with tf.GradientTape() as tape:
        output = call()
        loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 2)
    assert output.dtype == half
    assert layer.compute_dtype == half
    assert all(weight.dtype == "float32" for weight in layer.trainable_weights)
    assert np.isfinite(tf.cast(output, tf.float32)).all()
    for weight, gradient in zip(layer.trainable_weights, tape.gradient(loss, layer.trainable_weights), strict=True):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.path
