"""Registers the systems with Keras, so that `keras.models.load_model` knows them wherever tf_fenrec was imported."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def check_backend() -> None:
    """Raises ImportError where Keras is set to another backend than TensorFlow, before it is imported."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ImportError(
            "tf_fenrec needs Keras on TensorFlow: unset KERAS_BACKEND, or set it to tensorflow. "
            f"Received: KERAS_BACKEND={backend}"
        )


def register_after_keras() -> None:
    """Registers now where Keras is there already, else right after it was imported: importing it here takes seconds."""
    if "keras" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())


def register() -> None:
    """Imports all systems, unless a part of tf_fenrec is being imported: whoever asked for it goes on first."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("tf_fenrec.")]
    if any(getattr(module.__spec__, "_initializing", False) for module in [*ours, sys.modules["keras"]]):
        return
    from tf_fenrec.systems import SYSTEMS

    for place in SYSTEMS.values():
        importlib.import_module(place.partition(":")[0])


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras once, by the other finders, and has its loader call `register` at the end."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        initializing, module.__spec__._initializing = module.__spec__._initializing, False  # type: ignore
        try:
            register()
        finally:
            module.__spec__._initializing = initializing  # type: ignore
