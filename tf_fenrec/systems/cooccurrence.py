"""Counting co-occurrence: no gradient, a second, and above most of what is published."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_fenrec.config import Config, option
from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
from tf_fenrec.data.cooccurrence import Numbers, choose_numbers, count_neighbours
from tf_fenrec.data.rules import Users
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.encoders.neighbours import NeighbourEncoder
from tf_fenrec.errors import InputError
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class CooccurrenceConfig(Config):
    """Hyper-parameters of counting co-occurrence."""

    model: ClassVar[str] = "cooccurrence"

    max_length: int = option(20, "L, how many recent items count", least=1)
    choose: bool = option(True, "choose the next five on validation, by a walk from their values (about a minute)")
    decay: float = option(10.0, "a pair at distance d counts exp(-(d - 1) / decay)", least=0.01)
    backward: float = option(0.4, "what a pair in the other order counts", least=0)
    source_power: float = option(0.3, "power of the popularity of a history's item that its counts are divided by")
    target_power: float = option(0.1, "power of the popularity of the scored item")
    recency: float = option(3.0, "a history's item of age a counts exp(-a / recency)", least=0.01)
    max_distance: int = option(20, "the greatest distance that counts", least=1)
    num_neighbours: int = option(100, "neighbours of each item that are kept", least=1)

    @property
    def numbers(self) -> Numbers:
        """The five numbers."""
        return Numbers(self.decay, self.backward, self.source_power, self.target_power, self.recency)


@keras.saving.register_keras_serializable("tf_fenrec")
class Cooccurrence(SequenceModel):
    """How often items go together, at what distance and in which order. `fit` counts; there is no gradient.

    score(b) = sum over the last items a of exp(-age / recency) S[a, b], see `tf_fenrec.data.cooccurrence`.

    Example:
        >>> model = Cooccurrence(CooccurrenceConfig(choose=False), num_items=100)
        >>> model.recommend([[3, 7]], k=5)[0].shape
        (1, 5)

    Reference:
        - Item-to-item co-occurrence with decay by distance and popularity; as in SKNN and EASE's comparisons (Ludewig
          and Jannach, 2018), with the numbers chosen on validation.
    """

    config_class = CooccurrenceConfig
    # The given numbers were chosen on validation, by the walk.
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "chosen": {"": {}},
        "given": {
            "": {"choose": False},
            "beauty": {"decay": 4.0, "backward": 0.2, "recency": 1.5},
            "sports": {"recency": 5.0},
            "toys": {"target_power": 0.2},
            "yelp": {"backward": 0.8, "target_power": -0.1, "recency": 8.0},
        },
    }
    config: CooccurrenceConfig
    encoder: NeighbourEncoder

    @classmethod
    def make_encoder(cls, config: CooccurrenceConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return NeighbourEncoder(num_items, config.num_neighbours, config.max_length, name="encoder")

    def scores(self, hidden: tf.Tensor) -> tf.Tensor:
        return hidden

    def training_batches(self, dataset: SequenceDataset) -> TrainingBatches:
        """What the trainer asks for: all users at once. They are counted, not read."""
        rule = Users(dataset, self.config.max_length)
        return TrainingBatches(rule, len(rule), seed=self.config.seed)

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD()  # there is nothing for it to do

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        return {}

    def fit(self, x: TrainingBatches | SequenceDataset, y: None = None, **kwargs: Any) -> keras.callbacks.History:
        """Counts, after the five numbers were chosen where they are to be; the whole is an epoch.

        Args:
            x: SequenceDataset, or TrainingBatches of it.
            validation_data: EvaluationBatches.
            callbacks: Keras callbacks; the chosen numbers are in an epoch's logs.
            **kwargs: the other arguments of `keras.Model.fit`, which have no meaning here.
        """
        dataset = x.dataset if isinstance(x, TrainingBatches) else x
        if not isinstance(dataset, SequenceDataset):
            raise InputError(f"`x` must be a SequenceDataset or TrainingBatches. Received: {type(x).__name__}")
        self._refuse({"y": y}, ("y",))
        self.check_catalogue(dataset)
        validation: EvaluationBatches | None = kwargs.get("validation_data")
        if validation is not None:
            self._check_evaluation("validation_data", validation)
        callbacks = keras.callbacks.CallbackList(
            kwargs.get("callbacks"), add_history=True, add_progbar=False, verbose=0, epochs=1, steps=1, model=self
        )
        self.stop_training = False
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        logs = self._count(dataset)
        if validation is not None:
            found = self.evaluate(validation, verbose=0, return_dict=True)
            logs |= {f"val_{name}": value for name, value in found.items()}
        self.epoch.assign(1)
        callbacks.on_epoch_end(0, logs)
        callbacks.on_train_end(logs)
        return self.history

    def _count(self, dataset: SequenceDataset) -> dict[str, float]:
        """Chooses, counts, and returns the numbers."""
        config = self.config
        numbers = config.numbers
        if config.choose:
            numbers = choose_numbers(dataset, numbers, config.max_distance, config.num_neighbours, config.max_length)
        found = count_neighbours(dataset, numbers, config.max_distance, config.num_neighbours)
        self.encoder.set_neighbours(*found, numbers.recency)
        return {name: float(value) for name, value in asdict(numbers).items()}
