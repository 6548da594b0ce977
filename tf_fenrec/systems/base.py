"""What every system is: a Keras model without a loss of its own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.config import Config
from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches, sequence_signature
from tf_fenrec.data.packing import Layout, Sequences, pack_histories
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views.view import View
from tf_fenrec.encoders.calls import check_encoder, encode, item_vectors, layout_of, user_vectors
from tf_fenrec.errors import InputError
from tf_fenrec.parallel import parallel_map
from tf_fenrec.randomness import split_seed
from tf_fenrec.ranking import mean_metrics, rank_batches
from tf_fenrec.states.state import State
from tf_fenrec.systems.means import LossMeans
from tf_fenrec.systems.step import EXAMPLES, Step

CHUNK_EXAMPLES = 2048  # encoded together for the clustering

_making = threading.Lock()


class SequenceModel(keras.Model):
    """Base of all systems: everything Keras, and no loss.

    A system says what its encoder is (`make_encoder`), who trains on what (`rule`), what examples are contrasted with
    (`views`), what the loss is (`loss_terms`), what changes from epoch to epoch (`phase`, `states`), and whether its
    losses read every token (`everywhere`). The base makes batches, encodes, adds up, logs, ranks and recommends.

    Args:
        config: the system's configuration, see its `config_class`.
        num_items: int. V.
        encoder: layer with the call contract of `tf_fenrec.encoders.Encoder`. Defaults to the system's own.
        sizes: dict of int. What the system's own encoder must know of the dataset besides V, see `sizes_of`.

    Call arguments:
        inputs: a batch of sequences (dict, see `tf_fenrec.data.packing`), or int [S, L] right-aligned items.
        training: bool. Whether dropout is on.

    Returns:
        [S, V + 2], the score of every row of the item table (Eq. 3, before the softmax).
    """

    config_class: ClassVar[type[Config]] = Config
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {}
    """Changes to the defaults by preset ("paper", "fair"), and in each by dataset; those of "" hold for all."""

    jit_compile: Any  # a property of keras.Model

    def __init__(
        self,
        config: Config,
        num_items: int,
        encoder: keras.layers.Layer | None = None,
        sizes: dict[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(config, self.config_class):
            raise InputError(
                f"`config` must be a {self.config_class.__name__}. Received: config of type {type(config).__name__}"
            )
        own = encoder is None
        if encoder is None:
            encoder = self.make_encoder(config, num_items, **(sizes or {}))
        check_encoder(encoder)
        if encoder.num_items != num_items:
            raise InputError(f"`encoder` must have {num_items} items. Received: {encoder.num_items}")
        # The encoder may compute in half precision; scores, states and losses are in the type of its variables.
        super().__init__(**{"dtype": encoder.variable_dtype} | kwargs)
        self.config = config
        self.num_items = num_items
        self.encoder = encoder
        self.sizes = dict(sizes or {})
        self._own_encoder = own
        self.current_phase = self.phase(0)
        self._functions: dict[str, Callable[..., tf.Tensor]] = {}
        self._validation: EvaluationBatches | None = None
        # int64: TensorFlow keeps int32 variables in the host's memory, where a step compiled for a GPU can't use them.
        self.step = self.add_weight(name="step", shape=(), dtype="int64", initializer="zeros", trainable=False)
        self.epoch = self.add_weight(name="epoch", shape=(), dtype="int64", initializer="zeros", trainable=False)
        self.loss_means = LossMeans(name="losses")
        self.built = True

    @classmethod
    def from_preset(cls, name: str, dataset: SequenceDataset, **changes: Any) -> Self:
        """The system's model for a dataset, by preset; not compiled.

        Args:
            name: "paper" or "fair", or the name of a dataset, whose paper preset is meant.
            dataset: what it is to be trained on; settings of its name are taken.
            **changes: hyper-parameters to change.

        Raises:
            InputError: for an unknown name or hyper-parameter.
        """
        from tf_fenrec.systems import build_model, name_of, preset

        model = build_model(preset(name, name_of(cls), dataset.name, **changes), dataset)
        assert isinstance(model, cls)
        return model

    # ---- what a system says

    @classmethod
    def sizes_of(cls, config: Any, dataset: SequenceDataset) -> dict[str, int]:
        """What `make_encoder` needs to know of a dataset besides V, by argument."""
        return {}

    @classmethod
    def make_encoder(cls, config: Any, num_items: int, **sizes: int) -> keras.layers.Layer:
        """The encoder of a configuration over V = `num_items` items."""
        raise TypeError(f"{cls.__name__} must define `make_encoder`, or be given an `encoder`")

    def rule(self, dataset: SequenceDataset) -> Rule:
        """Who trains on what."""
        raise TypeError(f"{type(self).__name__} must define `rule`")

    def views(self) -> dict[str, View]:
        """What the examples are contrasted with, by name."""
        return {}

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        """Weight and value of each term of the loss, by name."""
        raise TypeError(f"{type(self).__name__} must define `loss_terms`")

    def phase(self, epoch: int) -> Hashable:
        """What of `loss_terms` depends on the epoch (from 0); the step is traced anew when it changes."""
        return None

    @property
    def states(self) -> list[State]:
        """What lives from epoch to epoch."""
        return []

    @property
    def everywhere(self) -> bool:
        """Whether the losses read every token, or the most recent item of each sequence alone."""
        return False

    @property
    def trained_encoder(self) -> Any:
        """The encoder that is trained; what is evaluated, saved and served is `encoder`."""
        return self.encoder

    def after_step(self) -> None:
        """Called at the end of every training step, in its graph."""

    @property
    def trained_weights(self) -> list[keras.Variable]:
        """The trainable weights that the losses of the current phase reach."""
        return self.trainable_weights

    @property
    def padded(self) -> bool:
        """Whether the losses read the padding too, so that each sequence needs a row of its own."""
        return False

    @property
    def num_negatives(self) -> int:
        """Negatives that the losses need with each label."""
        return 0

    # ---- batches

    @property
    def layout(self) -> Layout:
        """How the encoder takes sequences."""
        layout = layout_of(self.encoder)
        return layout._replace(packed=layout.packed and not self.padded)

    def training_batches(self, dataset: SequenceDataset) -> TrainingBatches:
        """The batches this system trains on."""
        config: Any = self.config
        return TrainingBatches(
            self.rule(dataset),
            config.batch_size,
            self.views(),
            config.seed,
            getattr(config, "num_sampled", 0),
            self.num_negatives,
        )

    def check_batches(self, batches: TrainingBatches) -> None:
        """Raises InputError when the model can't be trained on these batches."""
        self.check_catalogue(batches.dataset)
        if list(batches.views) != list(self.views()):
            raise InputError(
                f"the batches must have the views {', '.join(self.views()) or 'none'}. "
                f"Received: {', '.join(batches.views) or 'none'}"
            )
        if batches.num_negatives < self.num_negatives:
            raise InputError(
                f"the batches must have `num_negatives` {self.num_negatives}. Received: {batches.num_negatives}"
            )
        if batches.rule.max_length > self.encoder.max_length:
            raise InputError(
                f"`max_length` of the batches should be at most the encoder's, {self.encoder.max_length}. "
                f"Received: {batches.rule.max_length}"
            )

    def check_catalogue(self, dataset: SequenceDataset) -> None:
        """Raises InputError when the dataset's items aren't the encoder's."""
        # A compiled step would take the nearest row of a table instead of failing.
        if dataset.num_items != self.num_items:
            raise InputError(
                f"the batches should be of the encoder's {self.num_items} items. Received: {dataset.num_items}"
            )

    def notes(self, batches: TrainingBatches) -> list[str]:
        """What is done otherwise than configured with these batches, for the user to read."""
        return [note for state in self.states for note in state.notes(batches)]

    # ---- scores

    def call(self, inputs: dict[str, tf.Tensor] | tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.scores(encode(self.encoder, inputs, training=bool(training)))

    def scores(self, hidden: tf.Tensor) -> tf.Tensor:
        """[S, V + 2] scores of what the encoder returned [S, D]; in full precision, as ranking breaks ties by them."""
        table = tf.cast(item_vectors(self.encoder), self.compute_dtype)
        return tf.matmul(tf.cast(user_vectors(self.encoder, hidden), table.dtype), table, transpose_b=True)

    def score(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """[S, V + 2] scores of a batch of sequences in inference mode."""
        return self.scores(self.encode(inputs))

    def encode(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """[S, D], a batch of sequences encoded in inference mode, compiled like the training step."""
        return self._compiled("encode", lambda inputs: encode(self.encoder, inputs))(inputs)

    def _compiled(self, name: str, function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        """A function of a batch of sequences, compiled like the training step."""
        with _making:  # a function that each of a few threads made would be compiled by each
            if name not in self._functions:  # kept: compiling it anew every epoch would take longer than running it
                self._functions[name] = tf.function(
                    function,
                    input_signature=[sequence_signature(users=self.layout.users)],
                    jit_compile=bool(self.jit_compile),
                )
        return self._functions[name]

    def representation(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """[S, D], what stands for a sequence where sequences are clustered, in inference mode."""
        return encode(self.encoder, inputs)

    def represent(self, batches: TrainingBatches) -> np.ndarray:
        """float32 [E, D], the vectors of all training examples in inference mode, in order."""
        features: np.ndarray = np.empty((len(batches.rule), 0), np.float32)
        encoding, layout = self._compiled("represent", self.representation), self.layout
        chunks = batches.input_batches(layout, CHUNK_EXAMPLES)

        def encode_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return rows, np.asarray(encoding(batches.inputs(rows, layout, chunks.packed_size)))

        for rows, vectors in parallel_map(encode_rows, chunks.numbers):
            if not features.shape[1]:
                features = np.empty((len(batches.rule), vectors.shape[1]), np.float32)
            features[rows] = vectors
        return features

    # ---- steps

    def compute_losses(
        self, inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor], seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """All loss terms of a training batch by name; `loss` is the weighted total.

        Args:
            inputs: the batch of sequences of B examples, then B of each view.
            targets: see `TrainingBatches`.
            seed: int32 [2].
        """
        dropout_seed, noise_seed = split_seed(seed, 2)
        encoder = self.trained_encoder
        hidden = encode(encoder, inputs, training=True, seed=dropout_seed, everywhere=self.everywhere)
        step = Step(encoder, (EXAMPLES, *self.views()), hidden, inputs, targets, noise_seed)
        terms = self.loss_terms(step)
        total = sum(weight * tf.cast(term, self.variable_dtype) for weight, term in terms.values())
        for extra in self.losses:  # regularisers and add_loss
            total += tf.cast(extra, total.dtype)
        return {"loss": total} | {f"{name}_loss": term for name, (_, term) in terms.items()}

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        seed = tf.stack([self.config.seed, tf.cast(self.step, tf.int32)])
        with tf.GradientTape() as tape:
            losses = self.compute_losses(inputs, targets, seed)
            scaled = self.optimizer.scale_loss(losses["loss"])
        weights = self.trained_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        self.step.assign_add(1)
        self.after_step()
        self.loss_means.update_state(losses, tf.shape(targets["ids"])[0])
        return self.loss_means.result()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_means]

    def make_predict_function(self, force: bool = False) -> Any:
        # Chunks of users differ in shape: compiling each would take longer than running it.
        compiled_with = self.jit_compile
        self.jit_compile = False
        try:
            return super().make_predict_function(force)
        finally:
            self.jit_compile = compiled_with

    # ---- Keras entry points

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam as configured, with PyTorch's epsilon, with which the published settings were tuned."""
        config: Any = self.config
        settings: dict[str, Any] = {"learning_rate": config.learning_rate, "epsilon": 1e-8}
        if config.clip_norm:
            settings["global_clipnorm"] = config.clip_norm
        if not config.weight_decay:
            return keras.optimizers.Adam(**settings)
        optimizer = keras.optimizers.AdamW(weight_decay=config.weight_decay, **settings)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer

    def compile(self, optimizer: Any = None, **kwargs: Any) -> None:
        """As `keras.Model.compile`, without `loss` and `metrics`: the model has its own.

        Args:
            optimizer: a Keras optimizer, or its name. Defaults to the configuration's.
            **kwargs: the other arguments of `keras.Model.compile`; `jit_compile` defaults to the configuration's.

        Raises:
            InputError: when a loss or metrics are given, or under a strategy of several replicas.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise InputError(
                    f"`{name}` can't be set: {type(self).__name__} computes its own losses and ranking metrics. "
                    f"Received: {name}={kwargs[name]!r}"
                )
        if self.distribute_strategy.num_replicas_in_sync > 1:
            raise InputError(
                "`tf.distribute` strategies of several replicas aren't supported: a packed batch can't be cut. "
                f"Received: {type(self.distribute_strategy).__name__} of "
                f"{self.distribute_strategy.num_replicas_in_sync} replicas"
            )
        self._functions = {}  # compiled as the model was before
        optimizer = self.make_optimizer() if optimizer is None else keras.optimizers.get(optimizer)
        kwargs = {"jit_compile": self.config.jit and not kwargs.get("run_eagerly")} | kwargs
        super().compile(self._scaled(optimizer) if kwargs.get("auto_scale_loss", True) else optimizer, **kwargs)

    def _scaled(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        # In half precision gradients need a loss scale; Keras adds one by the type of the model, not of the encoder.
        scaling = keras.optimizers.LossScaleOptimizer
        if self.encoder.compute_dtype != "float16" or isinstance(optimizer, scaling):
            return optimizer
        scaled = scaling(optimizer, name="loss_scale_optimizer")
        scaled.build(self.trainable_variables)
        return scaled

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: TrainingBatches | SequenceDataset, y: None = None, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`, over `TrainingBatches` or the dataset they are made of.

        Epochs are counted on: a second `fit` goes on with the order of examples, the warm-up and the states where the
        first ended, unless `initial_epoch` says otherwise.

        Args:
            x: TrainingBatches, or a SequenceDataset.
            validation_data: EvaluationBatches.
            **kwargs: the other arguments of `keras.Model.fit`, except those that have no meaning here.

        Raises:
            InputError: naming an argument that can't be honoured.
        """
        if isinstance(x, SequenceDataset):
            x = self.training_batches(x)
        if not isinstance(x, TrainingBatches):
            raise InputError(
                f"`x` must be a TrainingBatches or a SequenceDataset. Received: x of type {type(x).__name__}"
            )
        refused = ("batch_size", "class_weight", "sample_weight", "validation_split", "steps_per_epoch", "shuffle")
        self._refuse({"y": y} | kwargs, ("y", *refused))
        self.check_batches(x)
        for note in self.notes(x):
            warnings.warn(note, stacklevel=2)
        self._validation = kwargs.get("validation_data")
        if self._validation is not None:
            self._check_evaluation("validation_data", self._validation)
            # Keras takes the number of steps from it and hands it to `evaluate`, which knows better.
            kwargs["validation_data"] = tf.data.Dataset.range(len(self._validation))
        if not self.optimizer.built:  # with all weights, though a phase may train some of them
            self.optimizer.build(self.trainable_variables)
        begins = 0 if kwargs.get("initial_epoch") is not None else int(self.epoch)
        callbacks = [_EpochStart(x, begins), *_as_list(kwargs.pop("callbacks", None))]
        kwargs["initial_epoch"] = kwargs.get("initial_epoch") or 0
        return super().fit(x.as_dataset(self.layout, self.everywhere), callbacks=callbacks, shuffle=False, **kwargs)

    def evaluate(
        self,
        x: EvaluationBatches | None = None,
        y: None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As `keras.Model.evaluate` over `EvaluationBatches`: HR and NDCG at 5, 10 and 20, and MRR.

        Args:
            x: EvaluationBatches.
            verbose: "auto", 0, 1 or 2. Defaults to "auto".
            steps: int. Only the first batches. Defaults to all.
            callbacks: Keras callbacks.
            return_dict: bool. A dict by metric instead of a list in this order. Defaults to False.

        Raises:
            InputError: naming an argument that can't be honoured.
        """
        if kwargs.pop("_use_cached_eval_dataset", False):  # from `fit`, which can't pass on what it got
            x = self._validation
        self._refuse({"y": y} | kwargs, ("y", "sample_weight", "batch_size"))
        batches = self._check_evaluation("x", x)
        steps = len(batches) if steps is None else min(steps, len(batches))
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps, model=self
            )
        callbacks.on_test_begin()
        ranks = []
        for number, of_batch in enumerate(rank_batches(self.score, batches, self.layout, steps)):
            callbacks.on_test_batch_begin(number)
            ranks.append(of_batch)
            callbacks.on_test_batch_end(number)
        logs = mean_metrics(batches.in_order(ranks, self.layout))
        callbacks.on_test_end(logs)
        return logs if return_dict else list(logs.values())

    def predict(self, x: EvaluationBatches | Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`, also over `EvaluationBatches`: the scores [U, V + 2], nothing excluded."""
        if not isinstance(x, EvaluationBatches):
            return super().predict(x, **kwargs)
        self.check_catalogue(x.dataset)
        batches = (tf.nest.map_structure(tf.constant, inputs) for inputs, _ in x.batches(self.layout))
        return x.in_order([np.asarray(self.score(inputs)) for inputs in batches], self.layout)

    def _check_evaluation(self, name: str, batches: Any) -> EvaluationBatches:
        if not isinstance(batches, EvaluationBatches):
            raise InputError(
                f"`{name}` must be an EvaluationBatches. Received: {name} of type {type(batches).__name__}"
            )
        self.check_catalogue(batches.dataset)
        return batches

    @staticmethod
    def _refuse(given: dict[str, Any], names: Sequence[str]) -> None:
        for name in names:
            if given.get(name) is not None:
                raise InputError(
                    f"`{name}` can't be honoured: batches bring targets, weights, size and order themselves. "
                    f"Received: {name} of type {type(given[name]).__name__}"
                )

    def begin_epoch(self, epoch: int, batches: TrainingBatches) -> None:
        """What an epoch (from 0) starts with: its phase, and its states brought up to date.

        An epoch that goes on in its middle (`batches.first_step`) keeps the states it had.
        """
        if (phase := self.phase(epoch)) != self.current_phase:
            self.current_phase = phase
            self.make_train_function(force=True)
        if not batches.first_step:
            for state in self.states:
                state.begin_epoch(epoch, self, batches)

    # ---- answers

    def recommend(
        self, histories: Sequence[Sequence[int]], k: int = 10, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for each history.

        Args:
            histories: item ids (1 to V) of S users, oldest first; the last L count.
            k: how many.
            exclude_seen: leave out the items of the history.

        Returns:
            int32 [S, k] item ids and float32 [S, k] scores, best first. The padding and mask rows never occur; an item
            left out has score -inf and comes last.

        Raises:
            InputError: for no history, an empty one, an unknown id or k outside 1..V.
        """
        if not isinstance(k, int | np.integer) or not 1 <= k <= self.num_items:
            raise InputError(f"`k` must be between 1 and the {self.num_items} items. Received: k={k}")
        checked = [self._history(number, history) for number, history in enumerate(_as_sequence(histories))]
        if not checked:
            raise InputError("`histories` must hold at least one history. Received: none")
        recent = [history[-self.layout.width :] for history in checked]
        lengths = np.array([len(history) for history in recent])
        inputs = pack_histories(Sequences(np.concatenate(recent), lengths), self.layout, self.num_items)
        scores = np.array(self(tf.nest.map_structure(tf.constant, inputs), training=False))[:, 1:-1]  # the items
        if exclude_seen:
            for row, history in zip(scores, checked, strict=True):
                row[history - 1] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return best.astype(np.int32) + 1, np.take_along_axis(scores, best, axis=1)

    def _history(self, number: int, history: Any) -> np.ndarray:
        """int32 [n], a history of known items."""
        items = np.asarray(history)
        if items.ndim != 1 or not len(items):
            raise InputError(f"a history must be a list of item ids, not empty. Received: history {number} {history!r}")
        if items.dtype.kind not in "iu" or not (items.min() >= 1 and items.max() <= self.num_items):
            raise InputError(
                f"item ids are whole numbers from 1 to {self.num_items}. Received: history {number} {history!r}"
            )
        return items.astype(np.int32)

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "config": self.config.to_dict(),
            "num_items": self.num_items,
            "sizes": self.sizes,
            "encoder": None if self._own_encoder else keras.saving.serialize_keras_object(self.encoder),
            # By number, as layers of two encoders may share a path.
            "frozen": [number for number, layer in enumerate(self._parts()) if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SequenceModel:
        config = dict(config)
        frozen = set(config.pop("frozen", ()))
        encoder = config.pop("encoder", None)
        if encoder is not None:
            encoder = keras.saving.deserialize_keras_object(encoder, custom_objects)
        hyper_parameters = cls.config_class.from_dict(config.pop("config"))
        model = cls(hyper_parameters, config.pop("num_items"), encoder=encoder, **config)
        for number, layer in enumerate(model._parts()):
            if number in frozen:
                layer.trainable = False
        return model

    def _parts(self) -> list[keras.layers.Layer]:
        return list(self._flatten_layers(include_self=False))


class _EpochStart(keras.callbacks.Callback):
    """Tells the batches and the model which epoch begins."""

    def __init__(self, batches: TrainingBatches, begins: int) -> None:
        super().__init__()
        self.batches = batches
        self.begins = begins

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.epoch = self.begins + epoch
        self.model.begin_epoch(self.begins + epoch, self.batches)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        for state in self.model.states:
            if type(state).begin_step is not State.begin_step:  # reading the step waits for the one before
                state.begin_step(int(self.model.step), self.model, self.batches)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.epoch.assign(self.begins + epoch + 1)


def _as_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def _as_sequence(histories: Any) -> list[Any]:
    if isinstance(histories, str | bytes) or not hasattr(histories, "__iter__"):
        raise InputError(f"`histories` must be a list of histories. Received: {histories!r}")
    return list(histories)
