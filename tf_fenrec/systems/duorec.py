"""DuoRec: the contrast of a second dropout pass with another sequence of the same target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Contrast, Enduring, SoftLabelled, option
from tf_fenrec.data.views import Again, SameTarget, View
from tf_fenrec.systems.enduring import Contrastive, EnduringModel, info_nce
from tf_fenrec.systems.next_item import NextItem, NextItemModel
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class DuoRecConfig(Contrast, NextItem, Attention):
    """Hyper-parameters of DuoRec."""

    model: ClassVar[str] = "duorec"

    contrast: Literal["us_x", "us", "un", "su"] = option(
        "us_x",
        "us_x: the dropout pass with the same-target sequence (released); un: the example with its dropout pass; su: "
        "with the same-target sequence; us: un and su",
    )
    dropout_weight: float = option(0.1, "weight of the contrast with the dropout pass (un, us)", least=0)
    target_weight: float = option(0.1, "weight of the contrast with the same-target sequence (us_x, us, su)", least=0)
    mask_same_target: bool = option(
        False, "examples of the same target are no negatives of each other; the released program lacks it"
    )

    @property
    def row(self) -> str | None:
        return "DuoRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class DuoRec(NextItemModel):
    """Contrastive learning with model-level and supervised augmentation.

    total = cross-entropy + lambda InfoNCE(a, b): a is the example again, with another dropout, and b another example
    with the same target, drawn anew at every step.

    Reference:
        - Qiu et al., WSDM 2022, arXiv 2110.05730.
    """

    config_class = DuoRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {"": {"epochs": 50, "patience": 10, "selection": "mrr"}},
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
    }
    config: DuoRecConfig

    @classmethod
    def make_encoder(cls, config: DuoRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    def views(self) -> dict[str, View]:
        views: dict[str, View] = {"dropout": Again(), "same_target": SameTarget("random")}
        left_out = {"un": "same_target", "su": "dropout"}.get(self.config.contrast)
        return {name: view for name, view in views.items() if name != left_out}

    def contrast(self, step: Step, view1: tf.Tensor, view2: tf.Tensor) -> Contrastive:
        """What two views are contrasted by."""
        return info_nce(self.config.temperature)

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        config = self.config
        terms = super().loss_terms(step)
        ids = step.ids if config.mask_same_target else None

        def contrasted(one: str, other: str) -> tf.Tensor:
            views = step.last(one), step.last(other)
            return self.contrast(step, *views)(*views, ids)

        if config.contrast == "us_x":
            terms["contrast"] = config.target_weight, contrasted("dropout", "same_target")
        if config.contrast in ("un", "us"):
            terms["dropout_contrast"] = config.dropout_weight, contrasted("examples", "dropout")
        if config.contrast in ("su", "us"):
            terms["target_contrast"] = config.target_weight, contrasted("examples", "same_target")
        return terms


@dataclass(frozen=True)
class DuoRecFENRecConfig(Enduring, SoftLabelled, DuoRecConfig):
    """Hyper-parameters of DuoRec with FENRec's two ideas."""

    model: ClassVar[str] = "duorec-fenrec"

    mask_same_target: bool = option(True, "examples of the same target are no negatives of each other")

    @property
    def row(self) -> str | None:
        return "DuoRec + FENRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class DuoRecFENRec(EnduringModel, DuoRec):
    """DuoRec with time-dependent soft labels and enduring hard negatives.

    Reference:
        - Huang et al., AAAI 2025, arXiv 2412.11589, Table 2.
    """

    config_class = DuoRecFENRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {"": {}, "sports": {"gamma": 0.3}},
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
    }
    config: DuoRecFENRecConfig
