"""SwiftRec: our own recipe. One row a user, all items predicted at once, distances, cosines, soft labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, SoftLabelled, option
from tf_fenrec.encoders import RelativeEncoder
from tf_fenrec.errors import InputError
from tf_fenrec.systems.next_item import NextItem, NextItemModel


@dataclass(frozen=True)
class SwiftRecConfig(SoftLabelled, NextItem, Attention):
    """Hyper-parameters of SwiftRec."""

    model: ClassVar[str] = "swiftrec"

    dim: int = option(128, "D, width of the item vectors", least=1)
    batch_size: int = option(96, "B, users a step", least=2)
    learning_rate: float = option(2e-3, "of Adam", least=0)
    examples: Literal["users", "prefixes", "recent"] = option(
        "users", "a row a user that predicts the next item everywhere, or examples as the other systems have them"
    )
    lags: str = option("", "lags of finite differences beside attention, in items, as 1,2,4; empty for none")
    attention_dropout: float = option(0.2, "dropout rate of the attention weights", least=0, below=1)
    num_samples: int = option(5, "dropouts of the output, whose unit vectors are averaged", least=1)
    temperature: float = option(0.1, "what the trainable temperature of the cosines starts at", least=1e-3)
    average: float = option(
        0.998, "what is kept of the averaged weights, which are served, in a step", least=0, below=1
    )
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
    What is evaluated and served is an exponential average of the weights over the steps.

    Reference:
        - docs/recipe.md says what each part owes to whom, and what it brings.
    """

    config_class = SwiftRecConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "fair": {
            "": {},
            "sports": {"gamma": 0.3},
            "yelp": {"lags": "1,2,4", "num_samples": 1},
            "demo": {"dropout": 0.2, "attention_dropout": 0.2, "learning_rate": 3e-3, "epochs": 10},
        },
    }
    config: SwiftRecConfig

    def __init__(self, config: SwiftRecConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        settings = keras.saving.serialize_keras_object(self.encoder)
        settings["config"]["name"] = "student"
        self.student = keras.saving.deserialize_keras_object(settings)
        self.encoder.trainable = False

    @property
    def trained_encoder(self) -> keras.layers.Layer:
        return self.student

    def after_step(self) -> None:
        # The first steps count more: the weights that training starts from are soon forgotten.
        step = tf.cast(tf.convert_to_tensor(self.step), self.variable_dtype)
        kept = tf.minimum(self.config.average, (1 + step) / (10 + step))
        for average, weight in zip(self.encoder.variables, self.student.variables, strict=True):
            if weight.trainable:
                average.assign(average + (1 - kept) * (weight - average))

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
