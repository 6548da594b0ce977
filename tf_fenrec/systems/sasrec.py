"""SASRec: self-attention and the cross-entropy of the next item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Softmax
from tf_fenrec.data.rules.prefixes import Prefixes
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.layers import SASRecEncoder
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import Step


def transformer(config: Attention, num_items: int) -> SASRecEncoder:
    """The causal transformer that most systems share."""
    return SASRecEncoder(
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


@dataclass(frozen=True)
class SASRecConfig(Softmax, Attention):
    """Hyper-parameters of SASRec."""

    model: ClassVar[str] = "sasrec"

    @property
    def row(self) -> str | None:
        return "SASRec with cross-entropy"


@keras.saving.register_keras_serializable("tf_fenrec")
class SASRec(SequenceModel):
    """Self-attentive sequential recommendation, trained with the full softmax.

    loss = -log softmax(h . E^T)_target.

    Reference:
        - Kang and McAuley, ICDM 2018, arXiv 1808.09781; the encoder as the S3-Rec family has it.
    """

    config_class = SASRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
    }
    config: SASRecConfig

    @classmethod
    def make_encoder(cls, config: SASRecConfig, num_items: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    def rule(self, dataset: SequenceDataset) -> Prefixes:
        return Prefixes(dataset, self.config.max_length)

    def loss_terms(self, step: Step) -> dict[str, tuple[float, tf.Tensor]]:
        return {"recommendation": (1.0, step.cross_entropy())}
