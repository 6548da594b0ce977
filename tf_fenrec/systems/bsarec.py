"""BSARec: attention blended with a filter over frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from tf_fenrec.config import Attention, option
from tf_fenrec.encoders import BSARecEncoder
from tf_fenrec.systems.next_item import NextItem, NextItemModel


@dataclass(frozen=True)
class BSARecConfig(NextItem, Attention):
    """Hyper-parameters of BSARec."""

    model: ClassVar[str] = "bsarec"
    reads_last_alone: ClassVar[bool] = True

    alpha: float = option(0.7, "share of the frequency filter beside attention", least=0, below=1)
    cutoff: int = option(5, "c; the c // 2 + 1 lowest frequencies are low", least=0)

    @property
    def row(self) -> str | None:
        return "BSARec"


@keras.saving.register_keras_serializable("tf_fenrec")
class BSARec(NextItemModel):
    """An attentive inductive bias for sequential recommendation beyond self-attention.

    loss = cross-entropy of the next item; the encoder is SASRec's with a frequency filter beside each attention.

    Reference:
        - Shin et al., AAAI 2024, arXiv 2312.10325.
    """

    config_class = BSARecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {"examples": "recent", "epochs": 200, "patience": 10, "num_heads": 1},
            "beauty": {"alpha": 0.7, "cutoff": 5, "num_heads": 1, "learning_rate": 5e-4},
            "sports": {"alpha": 0.3, "cutoff": 5, "num_heads": 4},
            "toys": {"alpha": 0.7, "cutoff": 3, "num_heads": 1},
            "yelp": {"alpha": 0.7, "cutoff": 3, "num_heads": 4},
        },
        "fair": {
            "": {"num_heads": 1},
            "sports": {"alpha": 0.3, "num_heads": 4},
            "toys": {"cutoff": 3},
            "yelp": {"cutoff": 3, "num_heads": 4},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }
    config: BSARecConfig

    @classmethod
    def make_encoder(cls, config: BSARecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return BSARecEncoder(
            num_items,
            config.dim,
            config.max_length,
            config.num_blocks,
            config.num_heads,
            config.alpha,
            config.cutoff,
            dropout=config.dropout,
            seed=config.seed,
            dtype=config.precision,
            name="encoder",
        )
