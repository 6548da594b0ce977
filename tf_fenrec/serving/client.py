"""Asks a server for recommendations: the local one or the official TensorFlow Serving image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_fenrec.errors import InputError


@dataclass(frozen=True)
class Item:
    """A recommended item: its raw id, its score, and its name where the model has names."""

    id: str | int
    score: float
    name: str | None = None


@dataclass(frozen=True)
class Recommendation:
    """The answer for one history.

    Attributes:
        items: at most k, best first; fewer where there are no more candidates.
        unknown: how many ids of the history the model doesn't know; they were skipped.
        fallback: whether no known item was left, so that these are the most popular items (with score 0).
    """

    items: tuple[Item, ...]
    unknown: int
    fallback: bool


class Client:
    """Asks for recommendations over gRPC; may be used from several threads.

    Args:
        target: the server, as host:port.
        model: the name of the model to ask.
        timeout: seconds until a call is given up.
    """

    def __init__(self, target: str, model: str = "fenrec", timeout: float = 10.0) -> None:
        self.model = model
        self._timeout = timeout
        # An answer of many items is longer than the default of 4 MiB.
        self._channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    @cached_property
    def id_type(self) -> type[str] | type[int]:
        """What the raw ids of the model are; the first access asks the server.

        Raises:
            InputError: if the model isn't one that this package exports.
            grpc.RpcError: if the server can't be reached or doesn't serve the model.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        response = self._stub.GetModelMetadata(request, timeout=self._timeout)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        if "recommend" not in signatures.signature_def:
            raise InputError(f"`model` should have the signature recommend. Received: {self.model}")
        history = signatures.signature_def["recommend"].inputs["history"]
        return str if history.dtype == tf.string.as_datatype_enum else int

    def recommend(
        self, histories: Sequence[Sequence[str]] | Sequence[Sequence[int]], k: int, exclude_seen: bool = True
    ) -> list[Recommendation]:
        """The k best items for each history.

        Args:
            histories: for each user the raw ids in time order, the most recent last; strings or integers, as
                the model has them.
            k: how many items, from 1 to the number of items.
            exclude_seen: whether to leave out every item of the history.

        Raises:
            InputError: if an id is not of the model's type, or `k` is no positive int32.
            grpc.RpcError: with the server's code, such as INVALID_ARGUMENT for a `k` beyond the number of
                items, NOT_FOUND for an unknown model, UNAVAILABLE or DEADLINE_EXCEEDED for no answer.
        """
        if not 1 <= k < 2**31:
            raise InputError(f"`k` should be a positive 32-bit integer. Received: {k}")
        if not histories:
            return []
        request = predict_pb2.PredictRequest(
            inputs={
                "history": self._pad(histories),
                "k": tf.make_tensor_proto(k, tf.int32),
                "exclude_seen": tf.make_tensor_proto(exclude_seen, tf.bool),
            }
        )
        request.model_spec.name = self.model
        request.model_spec.signature_name = "recommend"
        response = self._stub.Predict(request, timeout=self._timeout)
        return _read({name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()})

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pad(self, histories: Sequence[Sequence[str]] | Sequence[Sequence[int]]) -> Any:
        encode, padding = (_encode_string, b"") if self.id_type is str else (_encode_integer, 0)
        width = max(len(history) for history in histories)
        rows = [[*map(encode, history), *[padding] * (width - len(history))] for history in histories]
        dtype = tf.string if self.id_type is str else tf.int64
        array = np.array(rows, object if self.id_type is str else np.int64).reshape(len(rows), width)
        return tf.make_tensor_proto(array, dtype)


def _read(outputs: dict[str, np.ndarray]) -> list[Recommendation]:
    ids, scores = outputs["ids"], outputs["scores"]
    names = outputs.get("names")
    answers = []
    for row in range(len(ids)):
        items = tuple(
            Item(
                _plain(ids[row, rank]),
                float(score),
                None if names is None else names[row, rank].decode("utf-8"),
            )
            for rank, score in enumerate(scores[row])
            if score != -np.inf
        )
        answers.append(Recommendation(items, int(outputs["unknown"][row]), bool(outputs["fallback"][row])))
    return answers


def _encode_string(raw: Any) -> bytes:
    try:
        return raw.encode("utf-8")
    except (AttributeError, UnicodeEncodeError) as error:
        raise InputError(f"`histories` should hold strings for this model. Received: {raw!r}") from error


def _encode_integer(raw: Any) -> int:
    if not isinstance(raw, int) or not -(2**63) <= raw < 2**63:
        raise InputError(f"`histories` should hold 64-bit integers for this model. Received: {raw!r}")
    return raw


def _plain(raw: bytes | np.int64) -> str | int:
    return raw.decode("utf-8") if isinstance(raw, bytes) else int(raw)
