"""Intents: clusters of user representations (ICLRec, ICSRec)."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

ITERATIONS = 20
WARM_ITERATIONS = 4  # from the last epoch's centroids; docs/PERFORMANCE.md has what more would bring
SAMPLE = 16  # k-means++ looks at this many features a cluster: at all of them it takes longer than everything after


def cluster_centroids(features: np.ndarray, num_clusters: int, start: np.ndarray | None, seed: int) -> np.ndarray:
    """k-means centroids, float32 [K, D].

    Args:
        features: float32 [E, D].
        num_clusters: K.
        start: [K, D], the previous centroids to go on from; None for k-means++.
        seed: of k-means++.
    """
    iterations = WARM_ITERATIONS
    # OpenMP threads add up their sums in the order they finish. Two give the same either way; with more, a resumed run
    # would differ.
    with threadpool_limits(limits=2, user_api="openmp"):
        if start is None:
            iterations = ITERATIONS
            size = min(len(features), SAMPLE * num_clusters)
            sample = np.random.default_rng(seed).choice(len(features), size, replace=False)
            start, _ = kmeans_plusplus(features[sample], num_clusters, random_state=seed)
        with warnings.catch_warnings():
            # In the first epochs two centroids may coincide; nothing a user could do about it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            kmeans = KMeans(num_clusters, init=start, n_init=1, max_iter=iterations).fit(features)
    return kmeans.cluster_centers_.astype(np.float32)
