"""A graph of items that stand near each other in sequences, and what may be hidden of it (MAERec).

Reference:
    - MAERec (Ye, Xia and Huang, SIGIR 2023, arXiv 2305.04619).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from tf_fenrec.data.sequences import SequenceDataset


class Edges(NamedTuple):
    """The entries of a symmetric matrix with the items as rows and columns, itself included.

    Args:
        rows, columns: int64 [E].
    """

    rows: np.ndarray
    columns: np.ndarray


def item_graph(dataset: SequenceDataset, distance: int) -> Edges:
    """Items at most `distance` apart in a training part are neighbours; every row, 0 and V + 1 too, is its own."""
    inside = dataset.in_training()
    items = dataset.items[inside].astype(np.int64)
    user = np.repeat(np.arange(dataset.num_users), dataset.lengths)[inside]
    rows = dataset.num_items + 2
    codes = [np.arange(rows) * (rows + 1)]
    for apart in range(1, distance + 1):
        same = user[apart:] == user[:-apart]
        one, other = items[:-apart][same], items[apart:][same]
        codes += [one * rows + other, other * rows + one]
    return Edges(*np.divmod(np.unique(np.concatenate(codes)), rows))


def normalised(edges: Edges, size: int, kept: np.ndarray | None = None) -> np.ndarray:
    """float64 [E], the entries of D^-1/2 A D^-1/2 of the kept edges (bool [E]), 0 of the others."""
    there = np.ones(len(edges.rows)) if kept is None else kept.astype(np.float64)
    degree = np.bincount(edges.rows, there, size)
    root = np.zeros(size)
    root[degree > 0] = degree[degree > 0] ** -0.5
    return there * root[edges.rows] * root[edges.columns]


def subgraph_similarity(
    edges: Edges, vectors: np.ndarray, depth: int, kept: list[np.ndarray] | None = None
) -> np.ndarray:
    """float64 [V + 2], the cosine of each item's vector and the mean of its neighbourhood of some steps.

    Args:
        edges: the graph.
        vectors: [V + 2, D].
        depth: steps beyond the neighbours.
        kept: for each step bool [E], the edges it goes over. Defaults to all.
    """
    size = len(vectors)

    def matrix(there: np.ndarray | None) -> sparse.csr_array:
        values = np.ones(len(edges.rows)) if there is None else there.astype(np.float64)
        return sparse.csr_array((values, (edges.rows, edges.columns)), (size, size))

    adjacency = matrix(None)
    order = adjacency.sum(axis=1)[:, None]
    means, numbers = [adjacency @ vectors - vectors], [order]
    for step in range(depth):
        reached = adjacency if kept is None else matrix(kept[step])
        means.append(reached @ means[-1] - means[-1] - order * means[-1])
        numbers.append(reached @ numbers[-1] - numbers[-1] - order)
    around = sum(means) / (sum(numbers) + 1e-8)

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    return np.sum(unit(around) * unit(vectors), axis=1)


def hidden_edges(edges: Edges, seeds: np.ndarray, depth: int, keep: float, rng: np.random.Generator) -> np.ndarray:
    """bool [E], the edges that walks from the seeds touch.

    In each step all edges at the seeds are hidden; of the items at their other ends a part go on as seeds. (The
    released program goes on from sums of item numbers.)

    Args:
        edges: the graph.
        seeds: int [S], items.
        depth: steps.
        keep: after i steps keep^i of the items reached go on.
        rng: draws them.
    """
    hidden = np.zeros(len(edges.rows), bool)
    for step in range(depth):
        is_seed = np.zeros(edges.rows.max() + 1, bool)
        is_seed[seeds] = True
        touched = (is_seed[edges.rows] | is_seed[edges.columns]) & ~hidden
        hidden |= touched
        reached = np.unique(np.concatenate([edges.rows[touched], edges.columns[touched]]))
        reached = reached[~is_seed[reached]]
        seeds = reached[rng.random(len(reached)) < keep ** (step + 1)]
        if not len(seeds):
            break
    return hidden


def reward(losses: np.ndarray, otherwise: float = 0.2) -> float:
    """1 where the last loss fell by more than the losses before did on average, `otherwise` where not."""
    if len(losses) < 3:
        return 1.0
    falls = losses[:-1] - losses[1:]
    return 1.0 if falls[-1] > falls[:-1].mean() else otherwise
