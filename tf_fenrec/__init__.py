"""FENRec and its relatives: sequential recommendation in TensorFlow and Keras 3.

The names below are imported when first used, so that the command-line tools answer a wrong argument at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tf_fenrec.config import Config, preset
    from tf_fenrec.data import SequenceDataset, load
    from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
    from tf_fenrec.data.views import DropoutView, SameTargetView
    from tf_fenrec.data.vocabulary import Vocabulary
    from tf_fenrec.evaluation import evaluate
    from tf_fenrec.export import export_model
    from tf_fenrec.layers import SASRecEncoder
    from tf_fenrec.losses import EnduringContrastive, InfoNCE
    from tf_fenrec.models import FENRec, build_model, evaluation_batches, load_model, training_batches

_HOMES = {
    "tf_fenrec.config": ("Config", "preset"),
    "tf_fenrec.data": ("SequenceDataset", "load"),
    "tf_fenrec.data.batches": ("EvaluationBatches", "TrainingBatches"),
    "tf_fenrec.data.views": ("DropoutView", "SameTargetView"),
    "tf_fenrec.data.vocabulary": ("Vocabulary",),
    "tf_fenrec.evaluation": ("evaluate",),
    "tf_fenrec.export": ("export_model",),
    "tf_fenrec.layers": ("SASRecEncoder",),
    "tf_fenrec.losses": ("EnduringContrastive", "InfoNCE"),
    "tf_fenrec.models": ("FENRec", "build_model", "evaluation_batches", "load_model", "training_batches"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Config",
    "DropoutView",
    "EnduringContrastive",
    "EvaluationBatches",
    "FENRec",
    "InfoNCE",
    "SASRecEncoder",
    "SameTargetView",
    "SequenceDataset",
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
