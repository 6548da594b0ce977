"""LRURec: linear recurrent units, and every item of a window predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras

from tf_fenrec.config import option
from tf_fenrec.encoders import LRURecEncoder
from tf_fenrec.systems.next_item import NextItem, NextItemModel


@dataclass(frozen=True)
class LRURecConfig(NextItem):
    """Hyper-parameters of LRURec."""

    model: ClassVar[str] = "lrurec"

    examples: Literal["prefixes", "recent", "users", "windows"] = option(
        "windows", "who trains on what: see the other systems"
    )
    num_blocks: int = option(2, "blocks of a linear recurrent unit and a feed-forward network", least=1)

    @property
    def row(self) -> str | None:
        return "LRURec"


@keras.saving.register_keras_serializable("tf_fenrec")
class LRURec(NextItemModel):
    """Linear recurrent units for sequential recommendation.

    loss = cross-entropy of every item of a window, the first of it predicted from nothing.

    Reference:
        - Yue et al., WSDM 2024, arXiv 2310.02367.
    """

    config_class = LRURecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {
                "dropout": 0.6, "weight_decay": 0.01, "clip_norm": 5.0, "batch_size": 128, "epochs": 500,
                "patience": 10, "selection": "hr@10",
            },
        },
        "fair": {
            "": {},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }  # fmt: skip
    config: LRURecConfig

    @classmethod
    def make_encoder(cls, config: LRURecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return LRURecEncoder(
            num_items,
            config.dim,
            config.max_length,
            config.num_blocks,
            config.dropout,
            config.seed,
            dtype=config.precision,
            name="encoder",
        )
