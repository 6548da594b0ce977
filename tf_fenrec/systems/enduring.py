"""FENRec's contrast: InfoNCE first, then enduring hard negatives and noise. Other systems can take it for their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_fenrec.config import Enduring
from tf_fenrec.losses import (
    EnduringContrastive,
    InfoNCE,
    contrastive_loss,
    enduring_contrastive_loss,
    noise_negatives,
)
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import Step

Contrastive = Callable[[tf.Tensor, tf.Tensor, "tf.Tensor | None"], tf.Tensor]
"""The contrast of two views [B, D] whose rows of equal ids int [B] are no negatives of each other."""


def info_nce(temperature: float) -> Contrastive:
    """InfoNCE as a contrast of two views."""
    loss = InfoNCE(temperature)
    return lambda view1, view2, ids: contrastive_loss(view1, view2, ids, loss)


class EnduringModel(SequenceModel):
    """A system whose contrast is FENRec's.

    Reference:
        - Huang et al., AAAI 2025, arXiv 2412.11589, Eq. 9-15.
    """

    config: Enduring

    def __init__(self, config: Enduring, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        self.enduring = EnduringContrastive(
            config.temperature,
            config.focal_temperature,
            config.margin,
            config.mix,
            config.hard_weight,
            config.form,
        )

    def phase(self, epoch: int) -> bool:
        """Whether the hard negatives have come in."""
        return epoch >= self.config.warm_up_epochs

    def contrast(self, step: Step, view1: tf.Tensor, view2: tf.Tensor) -> Contrastive:
        """The contrast of the phase.

        Args:
            step: the training step.
            view1, view2: [B, D], what its noise is made harder against.
        """
        if not self.current_phase:
            return info_nce(self.config.temperature)
        noise = None
        if self.config.noise_portion:
            noise = noise_negatives(view1, view2, step.ids, self.config.noise_portion, step.seed)
        return lambda one, other, ids: enduring_contrastive_loss(one, other, ids, self.enduring, noise)
