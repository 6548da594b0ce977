"""The official stubs of TensorFlow Serving, imported without TensorFlow.

They need protocol buffers that live inside the package `tensorflow`. Importing these the plain way runs that package:
seconds, and hundreds of megabytes, of which a client uses nothing. So it isn't run here; whoever imports it later
gets it whole. Only while this module is imported for the first time must no other thread import TensorFlow.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def _not_run(name: str) -> Iterator[None]:
    """Lets submodules of the package `name` be imported without running the package itself."""
    found = None if name in sys.modules else importlib.util.find_spec(name)
    if found is None:  # already run, or not installed
        yield
        return
    package = types.ModuleType(name)
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules[name] = package
    try:
        yield
    finally:
        del sys.modules[name]


with _not_run("tensorflow"):
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

__all__ = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "tensor_pb2",
    "types_pb2",
]
