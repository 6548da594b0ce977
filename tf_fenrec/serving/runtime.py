"""A version directory, loaded and run through a session as TensorFlow Serving does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_fenrec.errors import InputError


class Servable:
    """A SavedModel in a graph and a session of its own; `run` may be called from several threads.

    Args:
        directory: the version directory.

    Attributes:
        signatures: the SignatureDef of each signature.

    Raises:
        InputError: if `directory` holds no SavedModel that can be loaded.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():  # only here: the caller stays in eager mode
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], os.fspath(directory))
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
            self._session.close()
            raise InputError(f"{directory}: not a SavedModel that can be loaded: {error}") from error
        self.signatures = {
            name: signature
            for name, signature in meta_graph.signature_def.items()
            if signature.method_name == "tensorflow/serving/predict"
        }
        self._functions = {
            name: self._session.make_callable(
                {alias: info.name for alias, info in signature.outputs.items()},
                [signature.inputs[alias].name for alias in sorted(signature.inputs)],
            )
            for name, signature in self.signatures.items()
        }

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: such as "serving_default".
            inputs: one array for each input of the signature.
            outputs: the names of the wanted outputs; by default all.

        Returns:
            An array for each output.

        Raises:
            tf.errors.OpError: with the code of the official server: FailedPreconditionError for an unknown
                signature, InvalidArgumentError for unknown, missing or malformed inputs, or the graph's own.
        """
        if signature_name not in self.signatures:
            message = f'Serving signature key "{signature_name}" not found.'
            raise tf.errors.FailedPreconditionError(None, None, message)
        signature = self.signatures[signature_name]
        _check_names(inputs, signature.inputs)
        for name, info in signature.inputs.items():
            _check_tensor(name, inputs[name], info)
        wanted = list(outputs) or list(signature.outputs)
        for name in wanted:
            if name not in signature.outputs:
                known = ",".join(sorted(signature.outputs))
                raise _invalid(
                    f"output tensor alias not found in signature: {name} Outputs expected to be in the set {{{known}}}."
                )
        values = self._functions[signature_name](*(inputs[name] for name in sorted(inputs)))
        return {name: values[name] for name in wanted}

    def close(self) -> None:
        """Frees the model's memory; runs in progress end first."""
        self._session.close()


def _check_names(given: Iterable[str], expected: Iterable[str]) -> None:
    extra, missing = sorted(set(given) - set(expected)), sorted(set(expected) - set(given))
    if extra or missing:
        raise _invalid(
            f"inputs do not match signature. Sent extra: {{{','.join(extra)}}}. "
            f"Missing but required: {{{','.join(missing)}}}."
        )


def _check_tensor(name: str, value: np.ndarray, info: Any) -> None:
    expected = tf.as_dtype(info.dtype)
    received = tf.string if value.dtype.kind in "OSU" else tf.as_dtype(value.dtype)
    if received != expected:
        raise _invalid(f"input {name} should be {expected.name}. Received: {received.name}")
    shape = tf.TensorShape(info.tensor_shape)
    if not shape.is_compatible_with(value.shape):
        raise _invalid(f"input {name} should have the shape {shape}. Received: {value.shape}")


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
