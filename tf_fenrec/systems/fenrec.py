"""FENRec: time-dependent soft labels and enduring hard negatives on contrastive sequential recommendation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Enduring, SoftLabelled, Softmax, option
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views.again import Again
from tf_fenrec.data.views.same_target import SameTarget
from tf_fenrec.data.views.view import View
from tf_fenrec.states.intents import Intents
from tf_fenrec.states.state import State
from tf_fenrec.systems.enduring import EnduringModel
from tf_fenrec.systems.icsrec import TwoViews
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class FENRecConfig(Enduring, TwoViews, SoftLabelled, Softmax, Attention):
    """Hyper-parameters of FENRec; the defaults are what all presets of the paper share."""

    model: ClassVar[str] = "fenrec"

    hard_negatives: bool = option(
        True, "enduring hard negatives, up-weighting and noise after the warm-up; without: InfoNCE throughout"
    )

    @property
    def contrastive(self) -> bool:
        """Whether any contrastive term is trained; without, this is SASRec with cross-entropy."""
        return self.coarse_weight > 0 or self.fine_weight > 0

    @property
    def row(self) -> str | None:
        if not self.contrastive:
            return "SASRec with soft labels" if self.gamma else "SASRec with cross-entropy"
        if self.hard_negatives:
            return "FENRec" if self.gamma else "without soft labels"
        return "without enduring negatives" if self.gamma else "ICSRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class FENRec(EnduringModel):
    """Contrastive sequential recommendation with soft labels and enduring hard negatives.

    total = L'_rec + lambda_0 coarse + beta_0 (fine_1 + fine_2): the soft-label cross-entropy of the examples (Eq. 8),
    the contrast of their two views, and the contrast of each view with the centroid of its intent cluster. In the first
    `warm_up_epochs` epochs the contrast is InfoNCE (Eq. 5), afterwards it has enduring hard negatives (Eq. 9-15) and
    noise.

    Example:
        >>> model = FENRec(FENRecConfig(dim=16), num_items=100)
        >>> model.recommend([[3, 7]], k=5)[0].shape
        (1, 5)

    Reference:
        - Huang et al., AAAI 2025, arXiv 2412.11589.
    """

    config_class = FENRecConfig
    # The released scripts' hyper-parameters, which produced Table 1, and some for the generated shop.
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {},
            "beauty": {
                "gamma": 0.2, "mix": 0.4, "focal_temperature": 8.0, "noise_portion": 2,
                "num_clusters": 256, "coarse_weight": 0.3, "fine_weight": 0.1,
            },
            "sports": {
                "gamma": 0.3, "mix": 0.4, "focal_temperature": 10.0, "noise_portion": 1,
                "num_clusters": 256, "coarse_weight": 0.3, "fine_weight": 0.1,
            },
            "toys": {
                "gamma": 0.2, "mix": 0.5, "focal_temperature": 8.0, "noise_portion": 3,
                "num_clusters": 1024, "coarse_weight": 0.2, "fine_weight": 0.1,
            },
            "yelp": {
                "gamma": 0.2, "mix": 0.2, "focal_temperature": 10.0, "noise_portion": 2,
                "num_clusters": 256, "coarse_weight": 0.5, "fine_weight": 0.3,
            },
            "demo": {
                "dropout": 0.2, "num_clusters": 32, "coarse_weight": 0.05, "fine_weight": 0.02, "warm_up_epochs": 3,
                "learning_rate": 3e-3, "epochs": 10, "patience": 10,
            },
        },
    }  # fmt: skip
    config: FENRecConfig

    def __init__(self, config: FENRecConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        self.intents = None
        if config.fine_weight:
            dim = self.encoder.item_embeddings.shape[1]
            self.intents = Intents(config.num_clusters, dim, config.seed, dtype=self.variable_dtype, name="intents")

    @classmethod
    def make_encoder(cls, config: FENRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    def rule(self, dataset: SequenceDataset) -> Prefixes:
        config = self.config
        return Prefixes(dataset, config.max_length, SoftLabels(config.gamma, config.label_rule))

    def views(self) -> dict[str, View]:
        if not self.config.contrastive:
            return {}
        return {"view1": Again(), "view2": SameTarget(self.config.view_rule)}

    def phase(self, epoch: int) -> bool:
        """Whether the hard negatives have come in."""
        return self.config.contrastive and self.config.hard_negatives and epoch >= self.config.warm_up_epochs

    @property
    def states(self) -> list[State]:
        return [self.intents] if self.intents is not None else []

    def loss_terms(self, step: Step) -> dict[str, tuple[float, tf.Tensor]]:
        config = self.config
        terms = {"recommendation": (1.0, step.cross_entropy())}
        if not config.contrastive:
            return terms
        view1, view2 = step.last("view1"), step.last("view2")
        contrast = self.contrast(step, view1, view2)
        if config.coarse_weight:
            terms["coarse"] = (config.coarse_weight, contrast(view1, view2, step.ids))
        if self.intents is not None:
            fine = sum(contrast(view, *self.intents.nearest(view)) for view in (view1, view2))
            terms["fine"] = (config.fine_weight, fine)
        return terms

    # ---- files of version 0.1

    def load_own_variables(self, store: Any) -> None:
        if len(store.keys()) == 2:
            super().load_own_variables(store)
            return
        self.step.assign(store["0"])
        if self.intents is not None:
            self.intents.centroids.assign(store["1"])
            self.intents.clustered.assign(store["2"])

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FENRec:
        return super().from_config(_from_version_0_1(config) if "contrastive" in config else config, custom_objects)


def _from_version_0_1(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `FENRec` from those it had when encoder and losses were passed to it."""
    config = dict(config)
    contrastive = dict(config.pop("contrastive"))
    values = {"hard_negatives": contrastive.pop("kind") == "EnduringContrastive"} | contrastive
    for name in ("coarse_weight", "fine_weight", "num_clusters", "warm_up_epochs", "noise_portion", "seed"):
        values[name] = config.pop(name)
    encoder = config["encoder"]["config"]
    if config["encoder"]["registered_name"] == "tf_fenrec>SASRecEncoder" and encoder["hidden_dim"] is None:
        config.pop("encoder")
        for name in ("dim", "max_length", "num_blocks", "num_heads", "dropout", "seed"):
            values[name] = encoder[name]
        dtype = encoder["dtype"]
        values["precision"] = dtype if isinstance(dtype, str) else dtype["config"]["name"]
    known = {one.name for one in dataclasses.fields(FENRecConfig)}
    config["config"] = {name: value for name, value in values.items() if name in known}
    config["num_items"] = encoder["num_items"]
    return config
