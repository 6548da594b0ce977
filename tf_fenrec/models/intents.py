"""Intents: clusters of user representations (ICLRec, ICSRec)."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

ITERATIONS = 20


def cluster_centroids(features: np.ndarray, num_clusters: int, start: np.ndarray | None, seed: int) -> np.ndarray:
    """k-means centroids, float32 [K, D].

    Args:
        features: float32 [E, D].
        num_clusters: K.
        start: [K, D], the previous centroids to go on from; None for k-means++.
        seed: of k-means++.
    """
    kmeans = KMeans(
        num_clusters,
        init="k-means++" if start is None else start,
        n_init=1,
        max_iter=ITERATIONS,
        random_state=seed,
    )
    # One OpenMP thread: several add up their sums in the order they finish, and a resumed run would differ.
    with threadpool_limits(limits=1, user_api="openmp"):
        kmeans.fit(features)
    return kmeans.cluster_centers_.astype(np.float32)
