"""CoSeRec: augmented copies in which similar items are inserted or substituted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Contrast, option
from tf_fenrec.data.views import Augmented, Crop, Insert, Mask, Reorder, Substitute, View
from tf_fenrec.data.views.augmented import Operation
from tf_fenrec.losses import InfoNCE, contrastive_loss
from tf_fenrec.states.similar_items import SimilarItems
from tf_fenrec.states.state import State
from tf_fenrec.systems.next_item import NextItem, NextItemModel
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class Augmentation(Contrast):
    """Of copies that are augmented, as CoSeRec and ICLRec do it."""

    contrast_weight: float = option(0.1, "weight of the contrast of the two augmented copies", least=0)
    crop_ratio: float = option(0.2, "share of a sequence that a crop keeps", least=0, below=1)
    mask_ratio: float = option(0.7, "share of a sequence that is left out in its place", least=0, below=1)
    reorder_ratio: float = option(0.2, "share of a sequence that is shuffled", least=0, below=1)
    read_out: Literal["last", "all"] = option(
        "last", "what is contrasted: the vectors of the most recent items, or of all positions, padding included"
    )


@dataclass(frozen=True)
class CoSeRecConfig(Augmentation, NextItem, Attention):
    """Hyper-parameters of CoSeRec."""

    model: ClassVar[str] = "coserec"

    insert_rate: float = option(0.4, "share of the items that a similar one is put before", least=0, below=1)
    substitute_rate: float = option(0.1, "share of the items that a similar one replaces", least=0, below=1)
    short_length: int = option(4, "sequences of at most so many items are short", least=0)
    short_operations: Literal["insert, substitute, mask", "all"] = option(
        "insert, substitute, mask", "what is done to short sequences"
    )
    similarity_warm_up_epochs: int = option(
        160, "epochs before the model's own item vectors count as a similarity too", least=0
    )

    @property
    def row(self) -> str | None:
        return "CoSeRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class CoSeRec(NextItemModel):
    """Contrastive self-supervised sequential recommendation with robust augmentation.

    total = loss of the next item + lambda InfoNCE(a, b): a and b are the user's training items after an operation each:
    crop, mask, reorder, insert or substitute. Short sequences are not cropped and not reordered.

    Reference:
        - Liu et al., 2021, arXiv 2108.06479.
    """

    config_class = CoSeRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {"examples": "users", "loss": "binary", "read_out": "all", "epochs": 300},
            "beauty": {
                "short_length": 12, "similarity_warm_up_epochs": 220, "short_operations": "all", "insert_rate": 0.5,
                "substitute_rate": 0.05,
            },
            "yelp": {"similarity_warm_up_epochs": 300, "insert_rate": 0.5},
        },
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
    }  # fmt: skip
    config: CoSeRecConfig

    def __init__(self, config: CoSeRecConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        self.similar_items = SimilarItems(
            num_items, config.similarity_warm_up_epochs, config.seed, dtype=self.variable_dtype, name="similar_items"
        )

    @classmethod
    def make_encoder(cls, config: CoSeRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    @property
    def states(self) -> list[State]:
        return [self.similar_items]

    @property
    def padded(self) -> bool:
        return self.config.read_out == "all"

    @property
    def everywhere(self) -> bool:
        return super().everywhere or self.padded

    def views(self) -> dict[str, View]:
        config, similar = self.config, self.similar_items.most_similar
        insert, substitute = Insert(config.insert_rate, similar), Substitute(config.substitute_rate, similar)
        crop, mask, reorder = Crop(config.crop_ratio), Mask(config.mask_ratio, 0), Reorder(config.reorder_ratio)
        operations: list[Operation] = [crop, mask, reorder, insert, substitute]
        short: list[Operation] = operations if config.short_operations == "all" else [insert, substitute, mask]
        views = (Augmented(operations, short, config.short_length, uncut=True) for _ in range(2))
        return dict(zip(("view1", "view2"), views, strict=True))

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        read = step.flat if self.padded else step.last
        contrast = contrastive_loss(read("view1"), read("view2"), None, InfoNCE(self.config.temperature))
        return super().loss_terms(step) | {"contrast": (self.config.contrast_weight, contrast)}
