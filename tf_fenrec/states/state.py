"""What a state is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from tf_fenrec.data.batches import TrainingBatches
    from tf_fenrec.systems.base import SequenceModel


class State(keras.layers.Layer):
    """Something a system keeps up to date while it trains: cluster centroids, a graph, a frozen teacher.

    Its weights are the model's, so they are saved, checkpointed and resumed with it.
    """

    def begin_epoch(self, epoch: int, model: SequenceModel, batches: TrainingBatches) -> None:
        """Called before an epoch's first step; not when an epoch goes on in its middle."""

    def begin_step(self, step: int, model: SequenceModel, batches: TrainingBatches) -> None:
        """Called before every step (from 0, over all epochs)."""

    def notes(self, batches: TrainingBatches) -> list[str]:
        """What it must do otherwise than configured with these batches, for the user to read."""
        return []
