"""The most similar item of each (CoSeRec)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tf_fenrec.data.similarity import Neighbours, hybrid_neighbours, offline_neighbours, online_neighbours
from tf_fenrec.encoders.calls import item_vectors
from tf_fenrec.states.state import State

if TYPE_CHECKING:
    from tf_fenrec.data.batches import TrainingBatches
    from tf_fenrec.systems.base import SequenceModel


@keras.saving.register_keras_serializable("tf_fenrec")
class SimilarItems(State):
    """Which item is most similar to each: by the users they share, later also by the model's own item vectors.

    Args:
        num_items: int. V.
        warm_up_epochs: int. Epochs before the model's vectors count; then the higher normalised similarity wins.
        seed: int. Of the random neighbours that items without any get.

    Reference:
        - CoSeRec (Liu et al., 2021, arXiv 2108.06479).
    """

    def __init__(self, num_items: int, warm_up_epochs: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_items = num_items
        self.warm_up_epochs = warm_up_epochs
        self.seed = seed
        self.items = self.add_weight(
            name="items",
            shape=(num_items + 2,),
            dtype="int64",
            initializer=lambda shape, dtype: keras.ops.arange(shape[0], dtype=dtype),
            trainable=False,
        )
        self._offline: Neighbours | None = None
        self._items: np.ndarray | None = None
        self.built = True

    def begin_epoch(self, epoch: int, model: SequenceModel, batches: TrainingBatches) -> None:
        if self._offline is None:
            self._offline = offline_neighbours(batches.dataset, self.seed)
        found = self._offline
        if epoch >= self.warm_up_epochs:
            found = hybrid_neighbours(found, online_neighbours(np.asarray(item_vectors(model.encoder))))
        self.items.assign(found.items)
        self._items = None

    def most_similar(self) -> np.ndarray:
        """int32 [V + 2]; before the first epoch each item itself."""
        if self._items is None:
            self._items = np.asarray(self.items).astype(np.int32)
        return self._items

    def get_config(self) -> dict[str, Any]:
        values = {"num_items": self.num_items, "warm_up_epochs": self.warm_up_epochs, "seed": self.seed}
        return super().get_config() | values
