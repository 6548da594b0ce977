"""ICSRec: contrast between subsequences of one target, and with the intents behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Clustered, Contrast, Softmax, option
from tf_fenrec.data.rules.prefixes import Prefixes
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views.again import Again
from tf_fenrec.data.views.same_target import SameTarget
from tf_fenrec.data.views.view import View
from tf_fenrec.losses import InfoNCE, contrastive_loss
from tf_fenrec.states.intents import Intents
from tf_fenrec.states.state import State
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class TwoViews(Contrast, Clustered):
    """Of the contrast of same-target views, and of each with its intent."""

    view_rule: Literal["last", "random"] = option(
        "last", "same-target view: the last one (released program), or a random one"
    )
    coarse_weight: float = option(0.3, "lambda_0, weight of the contrast of same-target views", least=0)
    fine_weight: float = option(0.1, "beta_0, weight of the contrast with intent centroids", least=0)


@dataclass(frozen=True)
class ICSRecConfig(TwoViews, Softmax, Attention):
    """Hyper-parameters of ICSRec."""

    model: ClassVar[str] = "icsrec"

    @property
    def row(self) -> str | None:
        return "ICSRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class ICSRec(SequenceModel):
    """Intent contrastive learning with cross subsequences.

    total = cross-entropy + lambda_0 coarse + beta_0 (fine_1 + fine_2): the contrast of two examples with one target,
    and the contrast of each with the centroid of its intent cluster. Examples of the same target, or of the same
    cluster, are no negatives of each other.

    Reference:
        - Qin et al., WSDM 2024, arXiv 2310.14318.
    """

    config_class = ICSRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {"epochs": 300},
            "toys": {"num_clusters": 1024, "coarse_weight": 0.2},
            # Not released; FENRec's are taken.
            "yelp": {"coarse_weight": 0.5, "fine_weight": 0.3},
            "demo": {
                "dropout": 0.2, "num_clusters": 32, "coarse_weight": 0.05, "fine_weight": 0.02,
                "learning_rate": 3e-3, "epochs": 10, "patience": 10,
            },
        },
    }  # fmt: skip
    config: ICSRecConfig

    def __init__(self, config: ICSRecConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        self.intents = Intents(
            config.num_clusters,
            self.encoder.item_embeddings.shape[1],
            config.seed,
            dtype=self.variable_dtype,
            name="intents",
        )

    @classmethod
    def make_encoder(cls, config: ICSRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    def rule(self, dataset: SequenceDataset) -> Prefixes:
        return Prefixes(dataset, self.config.max_length)

    def views(self) -> dict[str, View]:
        return {"view1": Again(), "view2": SameTarget(self.config.view_rule)}

    @property
    def states(self) -> list[State]:
        return [self.intents]

    def loss_terms(self, step: Step) -> dict[str, tuple[float, tf.Tensor]]:
        config = self.config
        loss = InfoNCE(config.temperature)
        view1, view2 = step.last("view1"), step.last("view2")
        fine = sum(contrastive_loss(view, *self.intents.nearest(view), loss) for view in (view1, view2))
        return {
            "recommendation": (1.0, step.cross_entropy()),
            "coarse": (config.coarse_weight, contrastive_loss(view1, view2, step.ids, loss)),
            "fine": (config.fine_weight, fine),
        }
