"""CL4SRec: the contrast of two augmented copies of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Contrast, Enduring, SoftLabelled, option
from tf_fenrec.data.views import Augmented, Crop, Mask, Reorder, View
from tf_fenrec.data.views.augmented import Operation
from tf_fenrec.systems.enduring import Contrastive, EnduringModel, info_nce
from tf_fenrec.systems.next_item import NextItem, NextItemModel
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class CL4SRecConfig(Contrast, NextItem, Attention):
    """Hyper-parameters of CL4SRec."""

    model: ClassVar[str] = "cl4srec"

    contrast_weight: float = option(0.1, "weight of the contrast of the two augmented copies", least=0)
    crop_ratio: float = option(0.6, "share of a sequence that a crop keeps", least=0, below=1)
    mask_ratio: float = option(0.3, "share of a sequence that is masked", least=0, below=1)
    reorder_ratio: float = option(0.6, "share of a sequence that is shuffled", least=0, below=1)
    mask_same_target: bool = option(False, "examples of the same target are no negatives of each other")

    @property
    def row(self) -> str | None:
        return "CL4SRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class CL4SRec(NextItemModel):
    """Contrastive learning for sequential recommendation.

    total = cross-entropy + lambda InfoNCE(a, b): a and b are the example after two different operations, drawn from
    crop, mask and reorder.

    Reference:
        - Xie et al., ICDE 2022, arXiv 2010.14395, as in DuoRec's program, whose loader writes the masks into the
          training data themselves; here copies are augmented.
    """

    config_class = CL4SRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {"": {"epochs": 50, "patience": 10, "selection": "mrr"}},
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
    }
    config: CL4SRecConfig

    @classmethod
    def make_encoder(cls, config: CL4SRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    def views(self) -> dict[str, View]:
        config = self.config
        operations: list[Operation] = [
            Crop(config.crop_ratio),
            Mask(config.mask_ratio, self.num_items + 1),
            Reorder(config.reorder_ratio),
        ]
        return {"view1": Augmented(operations, number=0), "view2": Augmented(operations, number=1)}

    def contrast(self, step: Step, view1: tf.Tensor, view2: tf.Tensor) -> Contrastive:
        """What two views are contrasted by."""
        return info_nce(self.config.temperature)

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        views = step.last("view1"), step.last("view2")
        ids = step.ids if self.config.mask_same_target else None
        contrast = self.contrast(step, *views)(*views, ids)
        return super().loss_terms(step) | {"contrast": (self.config.contrast_weight, contrast)}


@dataclass(frozen=True)
class CL4SRecFENRecConfig(Enduring, SoftLabelled, CL4SRecConfig):
    """Hyper-parameters of CL4SRec with FENRec's two ideas."""

    model: ClassVar[str] = "cl4srec-fenrec"

    mask_same_target: bool = option(True, "examples of the same target are no negatives of each other")

    @property
    def row(self) -> str | None:
        return "CL4SRec + FENRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class CL4SRecFENRec(EnduringModel, CL4SRec):
    """CL4SRec with time-dependent soft labels and enduring hard negatives.

    Reference:
        - Huang et al., AAAI 2025, arXiv 2412.11589, Table 2.
    """

    config_class = CL4SRecFENRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {"": {}, "sports": {"gamma": 0.3}},
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
    }
    config: CL4SRecFENRecConfig
