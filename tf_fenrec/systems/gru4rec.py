"""GRU4Rec: a recurrent network, and the next item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from tf_fenrec.config import option
from tf_fenrec.encoders import GRU4RecEncoder
from tf_fenrec.systems.next_item import NextItem, NextItemModel


@dataclass(frozen=True)
class GRU4RecConfig(NextItem):
    """Hyper-parameters of GRU4Rec."""

    model: ClassVar[str] = "gru4rec"

    num_layers: int = option(1, "GRU layers", least=1)
    hidden_dim: int = option(128, "width of the GRU layers", least=1)
    through_padding: bool = option(False, "the network runs through the padding before the first item")

    @property
    def row(self) -> str | None:
        return "GRU4Rec"


@keras.saving.register_keras_serializable("tf_fenrec")
class GRU4Rec(NextItemModel):
    """Session-based recommendations with recurrent neural networks.

    As the re-implementations that papers compare with: BPR with one sampled negative at the last item. With the
    cross-entropy over the catalogue it does far better.

    Reference:
        - Hidasi et al., ICLR 2016, arXiv 1511.06939, as in the programs of BSARec and RecBole.
    """

    config_class = GRU4RecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {
                "examples": "recent", "loss": "bpr", "num_layers": 2, "hidden_dim": 64, "through_padding": True,
                "epochs": 200, "patience": 10,
            },
        },
        "fair": {
            "": {"dropout": 0.3},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }  # fmt: skip
    config: GRU4RecConfig

    @classmethod
    def make_encoder(cls, config: GRU4RecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return GRU4RecEncoder(
            num_items,
            config.dim,
            config.max_length,
            config.hidden_dim,
            config.num_layers,
            config.dropout,
            config.through_padding,
            config.seed,
            dtype=config.precision,
            name="encoder",
        )
