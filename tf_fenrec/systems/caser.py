"""Caser: convolutions over the last few items, and the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from tf_fenrec.config import option
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.encoders import CaserEncoder
from tf_fenrec.systems.next_item import NextItem, NextItemModel


@dataclass(frozen=True)
class CaserConfig(NextItem):
    """Hyper-parameters of Caser."""

    model: ClassVar[str] = "caser"
    reads_last_alone: ClassVar[bool] = True

    num_horizontal: int = option(8, "horizontal filters of each height", least=1)
    num_vertical: int = option(4, "vertical filters", least=1)
    regularizer_weight: float = option(0.0, "weight of the sum of the norms of all tables and kernels", least=0)

    @property
    def row(self) -> str | None:
        return "Caser"


@keras.saving.register_keras_serializable("tf_fenrec")
class Caser(NextItemModel):
    """Convolutional sequence embedding recommendation.

    As the re-implementations that papers compare with: binary cross-entropy with one sampled negative, and the norms
    of the weights. Users who were not trained on, all users of an exported model among them, count as unknown.

    Reference:
        - Tang and Wang, WSDM 2018, arXiv 1809.07426, as in the programs of BSARec and RecBole.
    """

    config_class = CaserConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {
                "examples": "recent", "loss": "binary", "regularizer_weight": 1e-4, "epochs": 200, "patience": 10,
            },
        },
        "fair": {
            "": {"max_length": 10},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }  # fmt: skip
    config: CaserConfig

    @classmethod
    def sizes_of(cls, config: CaserConfig, dataset: SequenceDataset) -> dict[str, int]:
        return {"num_users": dataset.num_users}

    @classmethod
    def make_encoder(cls, config: CaserConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return CaserEncoder(
            num_items,
            sizes.get("num_users", 0),
            config.dim,
            config.max_length,
            config.num_horizontal,
            config.num_vertical,
            config.dropout,
            config.regularizer_weight,
            config.seed,
            dtype=config.precision,
            name="encoder",
        )
