"""SwiftRec: our own recipe. One row a user, all items predicted at once, distances, cosines, soft labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras

from tf_fenrec.config import Attention, SoftLabelled, option
from tf_fenrec.encoders import RelativeEncoder
from tf_fenrec.errors import InputError
from tf_fenrec.systems.next_item import NextItem, NextItemModel


@dataclass(frozen=True)
class SwiftRecConfig(SoftLabelled, NextItem, Attention):
    """Hyper-parameters of SwiftRec."""

    model: ClassVar[str] = "swiftrec"

    batch_size: int = option(48, "B, users a step", least=2)
    examples: Literal["users", "prefixes", "recent"] = option(
        "users", "a row a user that predicts the next item everywhere, or examples as the other systems have them"
    )
    lags: str = option("1,3,5", "lags of the finite differences beside attention, in items; empty for none")
    attention_dropout: float = option(0.5, "dropout rate of the attention weights", least=0, below=1)
    num_samples: int = option(5, "dropouts of the output, whose unit vectors are averaged", least=1)
    temperature: float = option(0.1, "what the trainable temperature of the cosines starts at", least=1e-3)
    epochs: int = option(60, "at most", least=1)
    patience: int = option(10, "epochs without a better validation metric before training stops", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(lag.strip().isdecimal() and int(lag) for lag in self.lags.split(",") if self.lags):
            raise InputError(f"`lags` must be whole numbers from 1, with commas. Received: lags={self.lags!r}")


@keras.saving.register_keras_serializable("tf_fenrec")
class SwiftRec(NextItemModel):
    """All prefixes of a user in one pass: with distances instead of positions they are the same function.

    loss = soft-label cross-entropy of the next items over the catalogue; scores are cosines / T, see `RelativeEncoder`.

    Reference:
        - docs/recipe.md says what each part owes to whom, and what it brings.
    """

    config_class = SwiftRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "fair": {
            "": {},
            "sports": {"lags": "1,2", "gamma": 0.3},
            "toys": {"lags": "1,2"},
            "yelp": {"lags": "1,2,4", "num_samples": 1},
            "demo": {"dropout": 0.2, "attention_dropout": 0.2, "learning_rate": 3e-3, "epochs": 10},
        },
    }
    config: SwiftRecConfig

    @classmethod
    def make_encoder(cls, config: SwiftRecConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return RelativeEncoder(
            num_items,
            config.dim,
            config.max_length,
            config.num_blocks,
            config.num_heads,
            tuple(int(lag) for lag in config.lags.split(",") if config.lags),
            config.dropout,
            config.attention_dropout,
            config.num_samples,
            config.temperature,
            config.seed,
            dtype=config.precision,
            name="encoder",
        )
