"""The item graph and what is hidden of it, against the reference program's vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.golden_vectors import golden
from tests.small_data import dataset_of
from tf_fenrec.data.item_graph import (
    Edges,
    hidden_edges,
    item_graph,
    normalised,
    reward,
    subgraph_similarity,
)

MASKING = golden("baselines/maerec_masking")
ADJACENCY = np.array(MASKING["adjacency_with_self_loops"])
EDGES = Edges(*np.nonzero(ADJACENCY))


def dense(edges: Edges, values: Any, size: int) -> np.ndarray:
    matrix = np.zeros((size, size))
    matrix[edges.rows, edges.columns] = values
    return matrix


@pytest.mark.parametrize("graph", golden("baselines/maerec_forward")["graphs"], ids=lambda graph: graph["distance"])
def test_the_graph_equals_the_golden_one(graph: dict[str, Any]) -> None:
    content = golden("baselines/maerec_forward")
    expected = np.array(graph["normalised_with_self_loops"])
    sequences = [[*sequence, 1, 1] for sequence in content["train_sequences"]]  # two more are held out
    edges = item_graph(dataset_of(sequences, len(expected) - 2), graph["distance"])
    np.testing.assert_allclose(dense(edges, normalised(edges, len(expected)), len(expected)), expected, rtol=1e-9)


@pytest.mark.parametrize("case", MASKING["sampler"], ids=lambda case: case["mask_depth"])
def test_similarity_of_items_and_their_surroundings(case: dict[str, Any]) -> None:
    found = subgraph_similarity(EDGES, np.array(MASKING["item_emb"]), case["mask_depth"])
    np.testing.assert_allclose(found, case["cosine_scores"], rtol=1e-9, atol=1e-9)
    noisy = found - np.log(-np.log(np.array(case["uniforms"])))
    assert np.argsort(-noisy)[:3].tolist() == case["seeds"]


def test_one_step_hides_all_edges_of_the_seeds() -> None:
    case = MASKING["masker"][0]
    hidden = hidden_edges(EDGES, np.array(case["seeds"]), 1, 0.5, np.random.default_rng(0))
    pairs = sorted(map(list, zip(EDGES.rows[hidden].tolist(), EDGES.columns[hidden].tolist(), strict=True)))
    assert pairs == sorted(case["masked_edges"])
    left = dense(EDGES, normalised(EDGES, 11, ~hidden), 11)
    np.testing.assert_allclose(left, case["remaining_adjacency_normalised"], rtol=1e-9, atol=1e-12)


def test_walks_go_on_from_the_items_they_reach() -> None:
    """A chain 1 - 2 - 3 - 4 - 5: with all reached items kept, two steps from 1 hide 1 - 2 and 2 - 3."""
    edges = item_graph(dataset_of([[1, 2, 3, 4, 5, 9, 9]], 9), 1)
    hidden = hidden_edges(edges, np.array([1]), 2, 1.0, np.random.default_rng(0))
    pairs = {frozenset(pair) for pair in zip(edges.rows[hidden].tolist(), edges.columns[hidden].tolist(), strict=True)}
    assert pairs == {frozenset(pair) for pair in ({1}, {2}, {1, 2}, {2, 3})}


@pytest.mark.parametrize("case", MASKING["reward"])
def test_reward(case: dict[str, Any]) -> None:
    assert reward(np.array(case["loss_history"]), case["eps"]) == case["reward"]
