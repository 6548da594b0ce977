"""FENRec and its relatives: sequential recommendation in TensorFlow and Keras 3.

The names below are imported when first used, so that the command-line tools answer a wrong argument at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tf_fenrec.config import Config
    from tf_fenrec.data import SequenceDataset, load
    from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
    from tf_fenrec.data.vocabulary import Vocabulary
    from tf_fenrec.encoders import Encoder
    from tf_fenrec.errors import InputError
    from tf_fenrec.evaluation import evaluate
    from tf_fenrec.export import export_model
    from tf_fenrec.layers import SASRecEncoder
    from tf_fenrec.losses import EnduringContrastive, InfoNCE
    from tf_fenrec.systems import build_model, evaluation_batches, load_model, preset, training_batches
    from tf_fenrec.systems.base import SequenceModel
    from tf_fenrec.systems.fenrec import FENRec, FENRecConfig
    from tf_fenrec.systems.icsrec import ICSRec, ICSRecConfig
    from tf_fenrec.systems.sasrec import SASRec, SASRecConfig

_HOMES = {
    "tf_fenrec.config": ("Config",),
    "tf_fenrec.data": ("SequenceDataset", "load"),
    "tf_fenrec.data.batches": ("EvaluationBatches", "TrainingBatches"),
    "tf_fenrec.data.vocabulary": ("Vocabulary",),
    "tf_fenrec.encoders": ("Encoder",),
    "tf_fenrec.errors": ("InputError",),
    "tf_fenrec.evaluation": ("evaluate",),
    "tf_fenrec.export": ("export_model",),
    "tf_fenrec.layers": ("SASRecEncoder",),
    "tf_fenrec.losses": ("EnduringContrastive", "InfoNCE"),
    "tf_fenrec.systems": ("build_model", "evaluation_batches", "load_model", "preset", "training_batches"),
    "tf_fenrec.systems.base": ("SequenceModel",),
    "tf_fenrec.systems.fenrec": ("FENRec", "FENRecConfig"),
    "tf_fenrec.systems.icsrec": ("ICSRec", "ICSRecConfig"),
    "tf_fenrec.systems.sasrec": ("SASRec", "SASRecConfig"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Config",
    "Encoder",
    "EnduringContrastive",
    "EvaluationBatches",
    "FENRec",
    "FENRecConfig",
    "ICSRec",
    "ICSRecConfig",
    "InfoNCE",
    "InputError",
    "SASRec",
    "SASRecConfig",
    "SASRecEncoder",
    "SequenceDataset",
    "SequenceModel",
    "TrainingBatches",
    "Vocabulary",
    "build_model",
    "evaluate",
    "evaluation_batches",
    "export_model",
    "load",
    "load_model",
    "preset",
    "training_batches",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tf_fenrec' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
