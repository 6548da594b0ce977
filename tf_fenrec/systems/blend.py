"""Blend: trained models beside each other, and counts beside them. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Config, option
from tf_fenrec.data.batches import EvaluationBatches
from tf_fenrec.encoders.blend import BlendEncoder
from tf_fenrec.encoders.calls import frozen
from tf_fenrec.errors import InputError
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.cooccurrence import Cooccurrence

COUNTS_STEP = 0.2
FLOORS = (0.1, 0.03, 0.01)
MEMBER_STEPS = (0.7, 1.4)


@dataclass(frozen=True)
class BlendConfig(Config):
    """What a blend was made of."""

    model: ClassVar[str] = "blend"

    members: str = option("", "the runs that were blended, with commas")
    weights: str = option("", "the weight of each, with commas")
    counts_weight: float = option(0.0, "weight of the counts", least=0)
    floor: float = option(0.1, "what an item without counts has, in parts of the greatest", least=1e-6)


@keras.saving.register_keras_serializable("tf_fenrec")
class Blend(SequenceModel):
    """score = sum_k w_k score_k + w log(1 + K / (floor max K)), K the counts' scores for the history.

    Reference:
        - docs/recipe.md.
    """

    config_class = BlendConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {}
    config: BlendConfig
    encoder: BlendEncoder

    @classmethod
    def make_encoder(cls, config: BlendConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        raise InputError("a blend is made of finished runs, by `fenrec-blend`. Received: none")

    def scores(self, hidden: tf.Tensor) -> tf.Tensor:
        return hidden


def choose_blend(
    members: dict[str, SequenceModel],
    counts: Cooccurrence | None,
    validation: EvaluationBatches,
    metric: str = "ndcg@20",
    log: Callable[[str], None] = print,
) -> Blend:
    """The blend of the best validation metric.

    First the counts' weight and floor are chosen, then the weight of each member but the first, in steps while it is
    better, and the counts' weight again.

    Args:
        members: trained models by name.
        counts: a fitted model of counts, or None.
        validation: what the choice is made on.
        metric: what is chosen by.
        log: receives a line for each choice.

    Raises:
        InputError: for members that aren't of one catalogue, or without any.
    """
    if not members:
        raise InputError("a blend needs at least one run. Received: none")
    for name, model in members.items():
        if getattr(model.encoder, "scores_items", False):
            raise InputError(f"a blend is made of models with vectors. Received: {name}, a {type(model).__name__}")
    sizes = {model.num_items for model in members.values()}
    if len(sizes) > 1:
        raise InputError(f"the runs must be of one catalogue. Received: {', '.join(map(str, sorted(sizes)))} items")
    encoder = BlendEncoder(
        sizes.pop(),
        [frozen(model.encoder) for model in members.values()],
        None if counts is None else counts.encoder,
        name="encoder",
    )
    encoder.assemble()
    model = Blend(BlendConfig(max_length=encoder.max_length), encoder.num_items, encoder)  # compiled once
    tried: dict[tuple[Any, ...], float] = {}

    def value(weights: Sequence[float], counts_weight: float, floor: float) -> float:
        key = (*weights, counts_weight, floor if counts_weight else 0.0)
        if key not in tried:
            encoder.set_shares(weights, counts_weight, floor)
            tried[key] = model.evaluate(validation, verbose=0, return_dict=True)[metric]
        return tried[key]

    weights, counts_weight, floor = [1.0] * len(members), 0.0, FLOORS[0]

    def counts_walk(counts_weight: float, floor: float) -> tuple[float, float]:
        """The counts' weight in steps while it is better, then the floor, and the weight once more."""
        for step in (COUNTS_STEP, -COUNTS_STEP):
            while value(weights, max(0.0, round(counts_weight + step, 4)), floor) > value(
                weights, counts_weight, floor
            ):
                counts_weight = max(0.0, round(counts_weight + step, 4))
        if counts_weight:
            floor = max(FLOORS, key=lambda near: value(weights, counts_weight, near))
        return counts_weight, floor

    log(f"without counts, all weights 1: validation {metric} {value(weights, 0.0, floor):.4f}")
    if counts is not None:
        counts_weight, floor = counts_walk(counts_weight, floor)
        log(f"counts {counts_weight:g}, floor {floor:g}: {value(weights, counts_weight, floor):.4f}")
    for number in range(1, len(members)):
        for step in MEMBER_STEPS:
            while True:
                near = [*weights]
                near[number] = round(near[number] * step, 4)
                if value(near, counts_weight, floor) <= value(weights, counts_weight, floor):
                    break
                weights = near
        log(f"{list(members)[number]} {weights[number]:g}: {value(weights, counts_weight, floor):.4f}")
    if counts is not None and len(members) > 1:
        counts_weight, floor = counts_walk(counts_weight, floor)
        log(f"counts {counts_weight:g}, floor {floor:g}: {value(weights, counts_weight, floor):.4f}")
    encoder.set_shares(weights, counts_weight, floor)
    config = BlendConfig(
        max_length=encoder.max_length,
        members=",".join(members),
        weights=",".join(f"{weight:g}" for weight in weights),
        counts_weight=counts_weight,
        floor=floor,
    )
    return Blend(config, encoder.num_items, encoder)
