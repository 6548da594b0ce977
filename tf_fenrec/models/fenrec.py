"""FENRec as a Keras model."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches, even_chunks, sequence_signature
from tf_fenrec.data.packing import Sequences, pack
from tf_fenrec.errors import InputError
from tf_fenrec.losses import (
    EnduringContrastive,
    InfoNCE,
    contrastive_loss,
    noise_negatives,
    sampled_soft_label_cross_entropy,
    soft_label_cross_entropy,
)
from tf_fenrec.metrics import rank_values, ranking_metrics, target_ranks
from tf_fenrec.models.intents import cluster_centroids
from tf_fenrec.parallel import few_at_once
from tf_fenrec.randomness import split_seed

CHUNK_EXAMPLES = 2048  # encoded together for the clustering

_making = threading.Lock()


@keras.saving.register_keras_serializable("tf_fenrec")
class FENRec(keras.Model):
    """Contrastive sequential recommendation with soft labels and enduring hard negatives (arXiv 2412.11589).

    total = L'_rec + lambda_0 coarse + beta_0 (fine_1 + fine_2): the soft-label cross-entropy of the examples, the
    contrast of their two views, and the contrast of each view with the centroid of its intent cluster. Cluster
    centroids are recomputed at the start of every epoch of `fit`. In the first `warm_up_epochs` epochs the contrast is
    plain InfoNCE, afterwards `contrastive` with noise negatives.

    Both weights 0 is SASRec with cross-entropy; `contrastive=InfoNCE()` is ICSRec with soft labels (the ablation
    without enduring negatives); batches with gamma = 0 have one-hot labels, those with `num_sampled` train a sampled
    softmax.

    Args:
        encoder: a layer with the call contract of `SASRecEncoder`.
        contrastive: the loss after the warm-up.
        coarse_weight: lambda_0.
        fine_weight: beta_0.
        num_clusters: K.
        warm_up_epochs: epochs of plain InfoNCE.
        noise_portion: noise negatives per example, for `EnduringContrastive`.
        seed: of dropout, noise and clustering.

    Call arguments:
        inputs: a sequence batch (see `tf_fenrec.data.packing`), or int [S, L] right-aligned items.

    Returns:
        [S, V + 2], the score h . e_v of every row of the item table (Eq. 3, before the softmax).
    """

    jit_compile: Any  # a property of keras.Model
    test_function: Any

    def __init__(
        self,
        encoder: keras.layers.Layer,
        contrastive: InfoNCE | EnduringContrastive = EnduringContrastive(),  # noqa: B008 - immutable
        coarse_weight: float = 0.3,
        fine_weight: float = 0.1,
        num_clusters: int = 256,
        warm_up_epochs: int = 20,
        noise_portion: int = 2,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # The encoder may compute in half precision; scores, centroids and losses are in the type of its variables.
        super().__init__(**{"dtype": encoder.variable_dtype} | kwargs)
        self.encoder = encoder
        self.contrastive = contrastive
        self.coarse_weight = coarse_weight
        self.fine_weight = fine_weight
        self.num_clusters = num_clusters
        self.warm_up_epochs = warm_up_epochs
        self.noise_portion = noise_portion
        self.seed = seed
        self.warming_up = warm_up_epochs > 0
        self._encode_function: Callable[..., tf.Tensor] | None = None
        dim = encoder.item_embeddings.shape[1]
        # int64: TensorFlow keeps int32 variables in the host's memory, where a step compiled for a GPU can't use them.
        self.step = self.add_weight(name="step", shape=(), dtype="int64", initializer="zeros", trainable=False)
        if fine_weight:
            self.centroids = self.add_weight(
                name="centroids", shape=(num_clusters, dim), initializer="zeros", trainable=False
            )
            self.clustered = self.add_weight(
                name="clustered", shape=(), dtype="int64", initializer="zeros", trainable=False
            )
        self.loss_means = {name: keras.metrics.Mean(name=name) for name in self._loss_names()}
        self.ranking_means = ranking_metrics()
        self.built = True

    def _loss_names(self) -> list[str]:
        weights = {"coarse_loss": self.coarse_weight, "fine_loss": self.fine_weight}
        return ["loss", "recommendation_loss", *(name for name, weight in weights.items() if weight)]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self.loss_means.values(), *self.ranking_means.values()]

    def call(self, inputs: dict[str, tf.Tensor] | tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.scores(self.encoder(inputs, training=training))

    def scores(self, representations: tf.Tensor) -> tf.Tensor:
        """[S, V + 2] float32 scores of representations [S, D]; in full precision, as ranking breaks ties by them."""
        table = tf.convert_to_tensor(self.encoder.item_embeddings)
        return tf.matmul(tf.cast(representations, table.dtype), table, transpose_b=True)

    # ---- losses

    def compute_losses(
        self, inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor], seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """All loss terms of a training batch by name; `loss` is the weighted total.

        Args:
            inputs: the sequence batch of B examples, then their B first and B second views.
            targets: see `TrainingBatches`.
            seed: int32 [2].
        """
        dropout_seed, noise_seed = split_seed(seed, 2)
        batch = tf.shape(targets["item"])[0]
        h = self.encoder(inputs, training=True, seed=dropout_seed)  # [3B, D]: three dropout passes in one
        table = tf.cast(tf.convert_to_tensor(self.encoder.item_embeddings), h.dtype)
        labels = (h[:batch], table, targets["label_ids"], targets["label_weights"])
        if "sampled_ids" in targets:
            recommendation = sampled_soft_label_cross_entropy(
                *labels, targets["sampled_ids"], targets["expected_counts"]
            )
        else:
            recommendation = soft_label_cross_entropy(*labels)
        losses = {"recommendation_loss": recommendation}
        total = losses["recommendation_loss"]
        if self.contrasts:
            # Sums of exponentials of squares of vectors: not for half precision.
            views = tf.cast(h[batch:], self.encoder.variable_dtype)
            for name, weight, term in self._contrastive_terms(
                views[:batch], views[batch:], targets["item"], noise_seed
            ):
                losses[name] = term
                total += weight * term
        return {"loss": total} | losses

    @property
    def contrasts(self) -> bool:
        """Whether any contrastive term is trained."""
        return self.coarse_weight > 0 or self.fine_weight > 0

    def _contrastive_terms(
        self, view1: tf.Tensor, view2: tf.Tensor, items: tf.Tensor, seed: tf.Tensor
    ) -> list[tuple[str, float, tf.Tensor]]:
        """Name, weight and value of each contrastive term."""
        loss = InfoNCE(self.contrastive.temperature) if self.warming_up else self.contrastive
        noise = None
        if isinstance(loss, EnduringContrastive) and self.noise_portion:
            noise = noise_negatives(view1, view2, items, self.noise_portion, seed)
        terms = []
        if self.coarse_weight:
            coarse = contrastive_loss(view1, view2, items, loss, noise)
            terms.append(("coarse_loss", self.coarse_weight, coarse))
        if self.fine_weight:
            fine = sum(contrastive_loss(view, *self.nearest_intent(view), loss, noise) for view in (view1, view2))
            terms.append(("fine_loss", self.fine_weight, fine))
        return terms

    def nearest_intent(self, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The unit-normalised centroid [B, D] and the number [B] of the cluster nearest to each row of h [B, D].

        Nearest by squared Euclidean distance to the raw centroids; both are constants.
        """
        centroids = tf.cast(tf.convert_to_tensor(self.centroids), h.dtype)
        distance = tf.reduce_sum(centroids**2, axis=1) - 2 * tf.matmul(tf.stop_gradient(h), centroids, transpose_b=True)
        cluster = tf.argmin(distance, axis=1, output_type=tf.int32)
        return tf.gather(tf.math.l2_normalize(centroids, axis=1), cluster), cluster

    # ---- Keras steps

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        seed = tf.stack([self.seed, tf.cast(self.step, tf.int32)])
        with tf.GradientTape() as tape:
            losses = self.compute_losses(inputs, targets, seed)
            scaled = self.optimizer.scale_loss(losses["loss"])
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        self.step.assign_add(1)
        for name, mean in self.loss_means.items():
            mean.update_state(losses[name], sample_weight=tf.shape(targets["item"])[0])
        return {name: mean.result() for name, mean in self.loss_means.items()}

    def make_test_function(self, force: bool = False) -> Any:
        """Keras' test function: means of the ranking metrics, with the ranks of a few batches computed ahead."""
        if self.test_function is not None and not force:
            return self.test_function
        source: Iterator[Any] | None = None
        ranks: Iterator[tf.Tensor] = iter(())
        update = tf.function(self._update_ranking_means, input_signature=[tf.TensorSpec([None], tf.int32)])

        def test_function(batches: Iterator[Any]) -> dict[str, tf.Tensor]:
            nonlocal source, ranks
            if batches is not source:
                source, ranks = batches, few_at_once(self._rank, batches)
            logs = update(next(ranks))
            for _, more in zip(range(self.steps_per_execution - 1), ranks, strict=False):
                logs = update(more)
            return logs

        self.test_function = test_function
        return test_function

    def _rank(self, data: Any) -> tf.Tensor:
        """int32 [U], the ranks of a batch's held-out items."""
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        scores = self.scores(self.encode(inputs))
        return target_ranks(scores, targets["item"], targets["excluded"], targets["excluded_score"])

    def _update_ranking_means(self, ranks: tf.Tensor) -> dict[str, tf.Tensor]:
        for name, values in rank_values(ranks).items():
            self.ranking_means[name].update_state(values)
        return {name: mean.result() for name, mean in self.ranking_means.items()}

    def make_predict_function(self, force: bool = False) -> Any:
        # Chunks of users differ in shape: compiling each would take longer than running it.
        compiled_with = self.jit_compile
        self.jit_compile = False
        try:
            return super().make_predict_function(force)
        finally:
            self.jit_compile = compiled_with

    # ---- Keras entry points

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """As `keras.Model.compile`, without `loss` and `metrics`: the model has its own.

        Raises:
            InputError: when a loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise InputError(
                    f"`{name}` can't be set: FENRec computes its own losses and ranking metrics. "
                    f"Received: {name}={kwargs[name]!r}"
                )
        self._encode_function = None  # compiled as the model was before
        super().compile(self._scaled(optimizer) if kwargs.get("auto_scale_loss", True) else optimizer, **kwargs)

    def _scaled(self, optimizer: Any) -> keras.optimizers.Optimizer:
        # In half precision gradients need a loss scale; Keras adds one by the type of the model, not of the encoder.
        optimizer = keras.optimizers.get(optimizer)
        scaling = keras.optimizers.LossScaleOptimizer
        if self.encoder.compute_dtype != "float16" or isinstance(optimizer, scaling):
            return optimizer
        scaled = scaling(optimizer, name="loss_scale_optimizer")
        scaled.build(self.trainable_variables)
        return scaled

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: TrainingBatches, y: None = None, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit` over `TrainingBatches`.

        Args:
            x: the batches; with contrastive terms they must have two views.
            validation_data: `EvaluationBatches`.
            **kwargs: the other arguments of `keras.Model.fit`, except those that have no meaning here.

        Raises:
            InputError: naming an argument that can't be honoured.
        """
        if not isinstance(x, TrainingBatches):
            raise InputError(f"`x` must be a TrainingBatches. Received: x of type {type(x).__name__}")
        refused = ("batch_size", "class_weight", "sample_weight", "validation_split", "steps_per_epoch", "shuffle")
        self._refuse({"y": y} | kwargs, ("y", *refused))
        self.check_batches(x)
        if isinstance(kwargs.get("validation_data"), EvaluationBatches):
            self._check_fit(kwargs["validation_data"])
            kwargs["validation_data"] = kwargs["validation_data"].as_dataset()
        callbacks = [_EpochStart(x), *_as_list(kwargs.pop("callbacks", None))]
        return super().fit(x.as_dataset(), callbacks=callbacks, shuffle=False, **kwargs)

    def evaluate(self, x: EvaluationBatches | Any = None, y: None = None, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate` over `EvaluationBatches`: the ranking metrics."""
        self._refuse({"y": y} | kwargs, ("y", "sample_weight"))
        if isinstance(x, EvaluationBatches):
            self._check_fit(x)
            x = x.as_dataset()
        return super().evaluate(x, **kwargs)

    def predict(self, x: EvaluationBatches | Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`, also over `EvaluationBatches`: the scores [U, V + 2], nothing excluded."""
        if not isinstance(x, EvaluationBatches):
            return super().predict(x, **kwargs)
        self._check_fit(x)
        return x.in_order([super().predict(x.as_dataset(), **kwargs)])

    def check_batches(self, batches: TrainingBatches) -> None:
        """Raises InputError when the model can't be trained on these batches."""
        self._check_fit(batches)
        if self.contrasts and len(batches.views) != 2:
            raise InputError(f"the contrast needs batches with two views. Received: {len(batches.views)}")
        if batches.packed and not self.encoder.packed:
            raise InputError("`packed` should be False, as this encoder takes one sequence a row. Received: True")
        if self.fine_weight and len(batches.examples) < self.num_clusters:
            raise InputError(
                "`num_clusters` must be at most the number of training examples. "
                f"Received: num_clusters={self.num_clusters}, {len(batches.examples)} examples"
            )

    def _check_fit(self, batches: TrainingBatches | EvaluationBatches) -> None:
        # A compiled step would take the nearest row of a table instead of failing.
        encoder, num_items = self.encoder, batches.dataset.num_items
        if num_items != encoder.num_items:
            raise InputError(f"the batches should be of the encoder's {encoder.num_items} items. Received: {num_items}")
        if batches.max_length > encoder.max_length:
            raise InputError(
                f"`max_length` of the batches should be at most the encoder's, {encoder.max_length}. "
                f"Received: {batches.max_length}"
            )

    @staticmethod
    def _refuse(given: dict[str, Any], names: Sequence[str]) -> None:
        for name in names:
            if given.get(name) is not None:
                raise InputError(
                    f"`{name}` can't be honoured: batches bring targets, weights, size and order themselves. "
                    f"Received: {name} of type {type(given[name]).__name__}"
                )

    # ---- epochs

    def begin_epoch(self, epoch: int, batches: TrainingBatches) -> None:
        """What an epoch starts with: the contrast of its phase, and new intent centroids.

        An epoch that goes on in its middle (`batches.first_step`) keeps the centroids it had.
        """
        warming_up = epoch < self.warm_up_epochs
        if warming_up != self.warming_up:
            self.warming_up = warming_up
            if self.contrasts and isinstance(self.contrastive, EnduringContrastive):
                self.make_train_function(force=True)
        if self.fine_weight and not batches.first_step:
            features = self.represent(batches)
            start = np.asarray(self.centroids) if int(self.clustered) else None
            self.centroids.assign(cluster_centroids(features, self.num_clusters, start, self.seed))
            self.clustered.assign(1)

    def represent(self, batches: TrainingBatches) -> np.ndarray:
        """float32 [E, D], the representations of all training examples in inference mode, in order."""
        features = np.empty((len(batches.examples), self.encoder.item_embeddings.shape[1]), np.float32)
        encode = self._encoding()

        def fill(chosen: np.ndarray) -> None:
            features[chosen] = encode(batches.inputs(chosen))

        for _ in few_at_once(fill, even_chunks(len(batches.examples), CHUNK_EXAMPLES)):
            pass
        return features

    def encode(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """[S, D], the representations of a sequence batch in inference mode, compiled like the training step."""
        return self._encoding()(inputs)

    def _encoding(self) -> Callable[..., tf.Tensor]:
        with _making:  # a function that each of a few threads made would be compiled by each
            if self._encode_function is None:  # kept: compiling it anew every epoch would take longer than running it
                self._encode_function = tf.function(
                    lambda inputs: self.encoder(inputs, training=False),
                    input_signature=[sequence_signature()],
                    jit_compile=bool(self.jit_compile),
                )
        return self._encode_function

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
        if not len(histories):
            raise InputError("`histories` must hold at least one history. Received: none")
        table_rows = self.encoder.item_embeddings.shape[0]
        if not 1 <= k <= table_rows - 2:
            raise InputError(f"`k` must be between 1 and the {table_rows - 2} items. Received: k={k}")
        for number, history in enumerate(histories):
            if not len(history):
                raise InputError(f"`histories` must not be empty. Received: history {number} without items")
            if not all(1 <= item <= table_rows - 2 for item in history):
                raise InputError(f"item ids run from 1 to {table_rows - 2}. Received: history {number} {history}")
        recent = [np.asarray(history, np.int32)[-self.encoder.max_length :] for history in histories]
        lengths = np.array([len(history) for history in recent])
        inputs = pack(Sequences(np.concatenate(recent), lengths), self.encoder.max_length, self.encoder.packed)
        scores = self(inputs, training=False).numpy()[:, 1:-1]  # the items
        if exclude_seen:
            for row, history in zip(scores, histories, strict=True):
                row[np.asarray(history) - 1] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return best.astype(np.int32) + 1, np.take_along_axis(scores, best, axis=1)

    # ---- configuration

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "contrastive": {"kind": type(self.contrastive).__name__} | dataclasses.asdict(self.contrastive),
            "coarse_weight": self.coarse_weight,
            "fine_weight": self.fine_weight,
            "num_clusters": self.num_clusters,
            "warm_up_epochs": self.warm_up_epochs,
            "noise_portion": self.noise_portion,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FENRec:
        contrastive = dict(config.pop("contrastive"))
        kind = {"InfoNCE": InfoNCE, "EnduringContrastive": EnduringContrastive}[contrastive.pop("kind")]
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"), custom_objects)
        return cls(encoder, contrastive=kind(**contrastive), **config)


class _EpochStart(keras.callbacks.Callback):
    """Tells the batches and the model which epoch begins."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.epoch = epoch
        self.model.begin_epoch(epoch, self.batches)


def _as_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
