"""SASRec: self-attention, and the next item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from tf_fenrec.config import Attention
from tf_fenrec.encoders import SASRecEncoder
from tf_fenrec.systems.next_item import NextItem, NextItemModel


def transformer(config: Attention, num_items: int, name: str = "encoder") -> SASRecEncoder:
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
        name=name,
    )


@dataclass(frozen=True)
class SASRecConfig(NextItem, Attention):
    """Hyper-parameters of SASRec."""

    model: ClassVar[str] = "sasrec"

    @property
    def row(self) -> str | None:
        return "SASRec with cross-entropy" if self.loss == "softmax" else "SASRec"


@keras.saving.register_keras_serializable("tf_fenrec")
class SASRec(NextItemModel):
    """Self-attentive sequential recommendation.

    As published, each item of a user's row is predicted from those before it, by binary cross-entropy with one sampled
    negative; with `loss="softmax"` by the cross-entropy over the catalogue, which does far better.

    Reference:
        - Kang and McAuley, ICDM 2018, arXiv 1808.09781; the encoder as the S3-Rec family has it.
    """

    config_class = SASRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "fair": {"": {}, "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10}},
        "paper": {"": {"examples": "users", "loss": "binary"}},
    }
    config: SASRecConfig

    @classmethod
    def make_encoder(cls, config: SASRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)
