"""ICLRec: augmented copies are contrasted with each other and with the intent behind the sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Clustered, option
from tf_fenrec.data.views import Augmented, Crop, Mask, Reorder, View
from tf_fenrec.data.views.augmented import Operation
from tf_fenrec.encoders.calls import encode
from tf_fenrec.losses import InfoNCE, contrastive_loss
from tf_fenrec.states.intents import Intents
from tf_fenrec.states.state import State
from tf_fenrec.systems.coserec import Augmentation
from tf_fenrec.systems.next_item import NextItem, NextItemModel
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class ICLRecConfig(Augmentation, Clustered, NextItem, Attention):
    """Hyper-parameters of ICLRec."""

    model: ClassVar[str] = "iclrec"

    intent_weight: float = option(0.1, "weight of the contrast with intent centroids", least=0)
    mask_same_intent: bool = option(
        False, "examples of one intent (and of one id) are no negatives of each other: the paper, not its scripts"
    )

    @property
    def row(self) -> str | None:
        return "ICLRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class ICLRec(NextItemModel):
    """Intent contrastive learning.

    total = loss of the next item + lambda InfoNCE(a, b) + beta (InfoNCE(a, c) + InfoNCE(b, c)) / 2: a and b are the
    sequence cropped, masked or reordered, c the unit-normalised centroid nearest to the sequence itself.

    As in the paper the copies are encoded once; the released program encodes them anew for each term.

    Reference:
        - Chen et al., WWW 2022, arXiv 2202.02519.
    """

    config_class = ICLRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {"examples": "users", "loss": "binary", "read_out": "all", "epochs": 300},
            "beauty": {"num_blocks": 1},
            "toys": {"num_blocks": 3},
        },
        "fair": {
            "": {},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "num_clusters": 32, "epochs": 10, "patience": 10},
        },
    }
    config: ICLRecConfig

    def __init__(self, config: ICLRecConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        dim = self.encoder.item_embeddings.shape[1]
        self.intents = Intents(config.num_clusters, dim, config.seed, dtype=self.variable_dtype, name="intents")

    @classmethod
    def make_encoder(cls, config: ICLRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    @property
    def states(self) -> list[State]:
        return [self.intents]

    @property
    def padded(self) -> bool:
        return self.config.read_out == "all"

    @property
    def everywhere(self) -> bool:
        return super().everywhere or self.padded

    def views(self) -> dict[str, View]:
        config = self.config
        operations: list[Operation] = [
            Crop(config.crop_ratio),
            Mask(config.mask_ratio, 0),
            Reorder(config.reorder_ratio),
        ]
        return {"view1": Augmented(operations, uncut=True), "view2": Augmented(operations, uncut=True)}

    def representation(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        if not self.padded:
            return super().representation(inputs)
        return tf.reduce_mean(encode(self.encoder, inputs, everywhere=True), axis=1)

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        config = self.config
        loss = InfoNCE(config.temperature)
        instance, intent = (step.flat, step.mean) if self.padded else (step.last, step.last)
        masked = config.mask_same_intent
        centroid, cluster = self.intents.nearest(intent("examples"))
        contrast = contrastive_loss(instance("view1"), instance("view2"), step.ids if masked else None, loss)
        intents = [
            contrastive_loss(intent(view), centroid, cluster if masked else None, loss) for view in ("view1", "view2")
        ]
        return super().loss_terms(step) | {
            "contrast": (config.contrast_weight, contrast),
            "intent": (config.intent_weight, sum(intents) / 2),
        }
