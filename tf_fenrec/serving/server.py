"""A small gRPC server that speaks the protocol of TensorFlow Serving.

It is for development, the demo and tests; in production the official image serves the same directories. As
there, models are run through a session; errors carry the codes that the official server gives.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_fenrec.errors import InputError
from tf_fenrec.serving.runtime import Servable
from tf_fenrec.serving.versions import latest_versions

MAX_ELEMENTS = 2**24
"""Of one input tensor: a few bytes can claim any shape, and the value is then repeated to fill it."""

MAX_MESSAGE_BYTES = 64 * 2**20

STATUS_OF_CODE = {status.value[0]: status for status in grpc.StatusCode}


class Models:
    """The latest version of each model in a directory, loaded.

    Args:
        directory: holds MODEL/VERSION/saved_model.pb.

    Raises:
        InputError: if it holds none, or one that can't be loaded.
        OSError: if it can't be read.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._servables: dict[str, tuple[int, Servable]] = {}
        for name, path in latest_versions(directory).items():
            self._servables[name] = (int(path.name), Servable(path))
        if not self._servables:
            raise InputError(f"`models` should hold exported models, as NAME/VERSION. Received: {directory}")

    @property
    def versions(self) -> dict[str, int]:
        """The served version of each model."""
        return {name: version for name, (version, _) in self._servables.items()}

    def find(self, spec: model_pb2.ModelSpec) -> tuple[int, Servable]:
        """The version that `spec` asks for.

        Raises:
            tf.errors.OpError: NotFoundError if it isn't served, InvalidArgumentError if `spec` is malformed.
        """
        if not spec.name:
            raise tf.errors.InvalidArgumentError(None, None, "ModelSpec has no name specified.")
        if spec.HasField("version_label"):
            message = f"Unrecognized servable version label: {spec.version_label}"
            raise tf.errors.InvalidArgumentError(None, None, message)
        asked = spec.version.value if spec.HasField("version") else None
        found = self._servables.get(spec.name)
        if found is None or asked not in (None, found[0]):
            request = f"Latest({spec.name})" if asked is None else f"Specific({spec.name}, {asked})"
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {request}")
        return found

    def close(self) -> None:
        """Frees the models."""
        for _, servable in self._servables.values():
            servable.close()


def answering(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Makes a method `request -> response` a gRPC handler that answers TensorFlow's errors by their code."""

    def handle(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            if not request.HasField("model_spec"):
                raise tf.errors.InvalidArgumentError(None, None, "Missing ModelSpec")
            return method(self, request)
        except tf.errors.OpError as error:
            # The prefix is of the Python API only.
            message = error.message.removeprefix("Graph execution error:\n\n")
            return context.abort(STATUS_OF_CODE[error.error_code], message)

    return handle


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata over `models`."""

    def __init__(self, models: Models) -> None:
        self._models = models

    @answering
    def Predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        version, servable = self._models.find(request.model_spec)
        signature_name = request.model_spec.signature_name or "serving_default"
        inputs = {name: _to_array(name, tensor) for name, tensor in request.inputs.items()}
        outputs = servable.run(signature_name, inputs, request.output_filter)
        spec = model_pb2.ModelSpec(name=request.model_spec.name, signature_name=signature_name)
        spec.version.value = version
        return predict_pb2.PredictResponse(
            model_spec=spec, outputs={name: tf.make_tensor_proto(value) for name, value in outputs.items()}
        )

    @answering
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise tf.errors.InvalidArgumentError(None, None, message)
        for field in request.metadata_field:
            if field != "signature_def":
                raise tf.errors.InvalidArgumentError(None, None, f"Metadata field {field} is not supported")
        version, servable = self._models.find(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
        response.metadata["signature_def"].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus over `models`."""

    def __init__(self, models: Models) -> None:
        self._models = models

    @answering
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        version, _ = self._models.find(request.model_spec)
        status = get_model_status_pb2.ModelVersionStatus(
            version=version, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE
        )
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])


class Server:
    """Serves the models of a directory until it is stopped.

    Args:
        models: the directory, as for `Models`.
        host: the address to listen on.
        port: the port; 0 chooses a free one.

    Attributes:
        port: the port it listens on.
        versions: the served version of each model.

    Raises:
        InputError: if there are no models or the address can't be bound.
        OSError: if `models` can't be read.
    """

    def __init__(self, models: str | os.PathLike[str], host: str = "127.0.0.1", port: int = 8500) -> None:
        if not 0 <= port < 2**16:
            raise InputError(f"`port` should be from 0 to 65535. Received: {port}")
        self._models = Models(models)
        self.versions = self._models.versions
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self._models), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._models), self._server)
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            self._models.close()
            raise InputError(f"`host` and `port` should be an address that is free. Received: {host}:{port}") from error
        self._server.start()

    def stop(self, grace: float = 5.0) -> None:
        """Refuses new requests, gives those in progress `grace` seconds, and frees the models."""
        self._server.stop(grace).wait()
        self._models.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _to_array(name: str, tensor: Any) -> np.ndarray:
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    elements = math.prod(max(size, 1) for size in sizes)
    if tensor.tensor_shape.unknown_rank or min(sizes, default=0) < 0 or elements > MAX_ELEMENTS:
        message = f"input {name} should have a known shape of at most {MAX_ELEMENTS} elements. Received: {sizes}"
        raise tf.errors.InvalidArgumentError(None, None, message)
    try:
        return tf.make_ndarray(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise tf.errors.InvalidArgumentError(None, None, f"input {name}: tensor parsing error: {error}") from error
