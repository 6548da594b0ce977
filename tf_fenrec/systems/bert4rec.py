"""BERT4Rec: hidden items, predicted from both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Softmax, option
from tf_fenrec.data.rules import Cloze
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.encoders import BERT4RecEncoder
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class BERT4RecConfig(Softmax, Attention):
    """Hyper-parameters of BERT4Rec."""

    model: ClassVar[str] = "bert4rec"

    mask_probability: float = option(0.6, "share of a window's items that are hidden", least=0.01, below=1)
    last_probability: float = option(
        1 / 11, "share of the windows whose last item alone is hidden, as when the next one is asked for", least=0
    )
    window_step: int = option(5, "items between the starts of a user's windows", least=1)

    @property
    def row(self) -> str | None:
        return "BERT4Rec"


@keras.saving.register_keras_serializable("tf_fenrec")
class BERT4Rec(SequenceModel):
    """Sequential recommendation with bidirectional encoder representations from transformers.

    loss = cross-entropy of the items that are hidden in windows of a user's items, drawn anew at every step.

    Reference:
        - Sun et al., CIKM 2019, arXiv 1904.06690, the recipe of the authors' program.
    """

    config_class = BERT4RecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {"": {"learning_rate": 1e-4, "weight_decay": 0.01, "clip_norm": 5.0}},
        "fair": {
            "": {"dropout": 0.2},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }
    config: BERT4RecConfig

    @classmethod
    def make_encoder(cls, config: BERT4RecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return BERT4RecEncoder(
            num_items,
            config.dim,
            config.max_length,
            config.num_blocks,
            config.num_heads,
            dropout=config.dropout,
            seed=config.seed,
            dtype=config.precision,
            name="encoder",
        )

    @property
    def everywhere(self) -> bool:
        return True

    def rule(self, dataset: SequenceDataset) -> Cloze:
        config = self.config
        return Cloze(
            dataset,
            config.max_length,
            config.window_step,
            config.mask_probability,
            exact=True,
            last_probability=config.last_probability,
        )

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        return {"recommendation": (1.0, step.cross_entropy())}
