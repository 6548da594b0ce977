"""Intents: clusters of representations (ICLRec, ICSRec)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.errors import InputError
from tf_fenrec.states.clustering import cluster_centroids
from tf_fenrec.states.state import State

if TYPE_CHECKING:
    from tf_fenrec.data.batches import TrainingBatches
    from tf_fenrec.systems.base import SequenceModel


@keras.saving.register_keras_serializable("tf_fenrec")
class Intents(State):
    """k-means centroids of the examples' representations, made anew from the previous ones before every epoch.

    Where there are fewer examples than clusters, the spare clusters repeat the first and are never the nearest.

    Args:
        num_clusters: int. K.
        dim: int. D.
        seed: int. Of k-means++.

    Reference:
        - ICLRec (Chen et al., WWW 2022), ICSRec (Qin et al., WSDM 2024).
    """

    def __init__(self, num_clusters: int, dim: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_clusters = num_clusters
        self.dim = dim
        self.seed = seed
        self.centroids = self.add_weight(
            name="centroids", shape=(num_clusters, dim), initializer="zeros", trainable=False
        )
        # int64: TensorFlow keeps int32 variables in the host's memory, where a step compiled for a GPU can't use them.
        self.clustered = self.add_weight(
            name="clustered", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        self.built = True

    def begin_epoch(self, epoch: int, model: SequenceModel, batches: TrainingBatches) -> None:
        features = model.represent(batches)
        if not np.isfinite(features).all():
            raise InputError(
                f"training diverged before epoch {epoch + 1}: the model's vectors hold NaN or infinity, so they can't "
                "be clustered. Try a lower learning rate"
            )
        clusters = self._used(len(features))
        start = np.asarray(self.centroids)[:clusters] if int(self.clustered) else None
        found = cluster_centroids(features, clusters, start, self.seed)
        self.centroids.assign(np.concatenate([found, np.repeat(found[:1], self.num_clusters - clusters, axis=0)]))
        self.clustered.assign(1)

    def _used(self, examples: int) -> int:
        return min(self.num_clusters, examples)

    def notes(self, batches: TrainingBatches) -> list[str]:
        used = self._used(len(batches.rule))
        if used == self.num_clusters:
            return []
        return [f"num_clusters={self.num_clusters} is more than the {used} training examples: {used} clusters are used"]

    def nearest(self, hidden: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The unit-normalised centroid [B, D] and the number int32 [B] of the cluster nearest to each row of `hidden`.

        Nearest by squared Euclidean distance to the raw centroids; both are constants.
        """
        centroids = tf.cast(tf.convert_to_tensor(self.centroids), hidden.dtype)
        distance = tf.reduce_sum(centroids**2, axis=1) - 2 * tf.matmul(
            tf.stop_gradient(hidden), centroids, transpose_b=True
        )
        cluster = tf.argmin(distance, axis=1, output_type=tf.int32)
        return tf.gather(tf.math.l2_normalize(centroids, axis=1), cluster), cluster

    def load_own_variables(self, store: Any) -> None:
        if store.keys():  # files of version 0.1 hold them among the model's own
            super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_clusters": self.num_clusters, "dim": self.dim, "seed": self.seed}
