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
    from tf_fenrec.systems.bert4rec import BERT4Rec, BERT4RecConfig
    from tf_fenrec.systems.blend import Blend, BlendConfig
    from tf_fenrec.systems.bsarec import BSARec, BSARecConfig
    from tf_fenrec.systems.caser import Caser, CaserConfig
    from tf_fenrec.systems.cbit import CBiT, CBiTConfig
    from tf_fenrec.systems.cl4srec import CL4SRec, CL4SRecConfig
    from tf_fenrec.systems.cooccurrence import Cooccurrence, CooccurrenceConfig
    from tf_fenrec.systems.coserec import CoSeRec, CoSeRecConfig
    from tf_fenrec.systems.duorec import DuoRec, DuoRecConfig
    from tf_fenrec.systems.fenrec import FENRec, FENRecConfig
    from tf_fenrec.systems.gru4rec import GRU4Rec, GRU4RecConfig
    from tf_fenrec.systems.iclrec import ICLRec, ICLRecConfig
    from tf_fenrec.systems.icsrec import ICSRec, ICSRecConfig
    from tf_fenrec.systems.lrurec import LRURec, LRURecConfig
    from tf_fenrec.systems.maerec import MAERec, MAERecConfig
    from tf_fenrec.systems.mvs import MVS, MVSConfig
    from tf_fenrec.systems.sasrec import SASRec, SASRecConfig
    from tf_fenrec.systems.swiftrec import SwiftRec, SwiftRecConfig

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
    "tf_fenrec.systems.bert4rec": ("BERT4Rec", "BERT4RecConfig"),
    "tf_fenrec.systems.blend": ("Blend", "BlendConfig"),
    "tf_fenrec.systems.bsarec": ("BSARec", "BSARecConfig"),
    "tf_fenrec.systems.caser": ("Caser", "CaserConfig"),
    "tf_fenrec.systems.cbit": ("CBiT", "CBiTConfig"),
    "tf_fenrec.systems.cl4srec": ("CL4SRec", "CL4SRecConfig"),
    "tf_fenrec.systems.cooccurrence": ("Cooccurrence", "CooccurrenceConfig"),
    "tf_fenrec.systems.coserec": ("CoSeRec", "CoSeRecConfig"),
    "tf_fenrec.systems.duorec": ("DuoRec", "DuoRecConfig"),
    "tf_fenrec.systems.gru4rec": ("GRU4Rec", "GRU4RecConfig"),
    "tf_fenrec.systems.iclrec": ("ICLRec", "ICLRecConfig"),
    "tf_fenrec.systems.lrurec": ("LRURec", "LRURecConfig"),
    "tf_fenrec.systems.maerec": ("MAERec", "MAERecConfig"),
    "tf_fenrec.systems.mvs": ("MVS", "MVSConfig"),
    "tf_fenrec.systems.swiftrec": ("SwiftRec", "SwiftRecConfig"),
    "tf_fenrec.systems.fenrec": ("FENRec", "FENRecConfig"),
    "tf_fenrec.systems.icsrec": ("ICSRec", "ICSRecConfig"),
    "tf_fenrec.systems.sasrec": ("SASRec", "SASRecConfig"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "MVS",
    "BERT4Rec",
    "BERT4RecConfig",
    "BSARec",
    "BSARecConfig",
    "Blend",
    "BlendConfig",
    "CBiT",
    "CBiTConfig",
    "CL4SRec",
    "CL4SRecConfig",
    "Caser",
    "CaserConfig",
    "CoSeRec",
    "CoSeRecConfig",
    "Config",
    "Cooccurrence",
    "CooccurrenceConfig",
    "DuoRec",
    "DuoRecConfig",
    "Encoder",
    "EnduringContrastive",
    "EvaluationBatches",
    "FENRec",
    "FENRecConfig",
    "GRU4Rec",
    "GRU4RecConfig",
    "ICLRec",
    "ICLRecConfig",
    "ICSRec",
    "ICSRecConfig",
    "InfoNCE",
    "InputError",
    "LRURec",
    "LRURecConfig",
    "MAERec",
    "MAERecConfig",
    "MVSConfig",
    "SASRec",
    "SASRecConfig",
    "SASRecEncoder",
    "SequenceDataset",
    "SequenceModel",
    "SwiftRec",
    "SwiftRecConfig",
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
