"""Full ranking of every user's held-out item, in memory bounded by a chunk of users."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_fenrec.data.batches import EvaluationBatches, Protocol
from tf_fenrec.data.examples import Split
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.evaluation.baselines import Scorer, markov_scores, popularity_scores
from tf_fenrec.metrics import CUTOFFS, exclude, rank_values, target_ranks
from tf_fenrec.models import FENRec
from tf_fenrec.parallel import few_at_once

LENGTH_EDGES = (5, 10, 20, 30, 50)


@dataclass(frozen=True)
class Ranking:
    """Full ranking of U users.

    Attributes:
        ranks: int32 [U], rank of each target from 1.
        recommended: bool [V + 2], which items stand in anyone's top 20.
    """

    ranks: np.ndarray
    recommended: np.ndarray

    def metrics(self) -> dict[str, float]:
        """HR and NDCG at 5, 10 and 20, MRR, and catalogue coverage at 20, over all users."""
        return _means(self.ranks) | {f"coverage@{CUTOFFS[-1]}": float(self.recommended[1:-1].mean())}

    def metrics_by_length(self, lengths: np.ndarray) -> dict[str, dict[str, float]]:
        """The metrics of user groups by sequence length n (Fig. 4), with the number of `users` in each.

        Args:
            lengths: int [U], of the users' sequences.
        """
        groups = by_edges(lengths, LENGTH_EDGES)
        return {name: {"users": len(users)} | _means(self.ranks[users]) for name, users in groups.items()}


def evaluate(model: FENRec, dataset: SequenceDataset, split: Split, protocol: Protocol = "paper") -> dict[str, float]:
    """HR and NDCG at 5, 10 and 20, MRR, and catalogue coverage at 20, over all users.

    Args:
        model: a trained model over the dataset's items.
        split: "valid" or "test".
        protocol: see `EvaluationBatches`.
    """
    return rank_users(model, dataset, split, protocol).metrics()


def baseline_metrics(
    dataset: SequenceDataset, split: Split, protocol: Protocol = "paper"
) -> dict[str, dict[str, float]]:
    """The metrics of popularity and of the last item's most frequent successors."""
    batches = EvaluationBatches(dataset, split, protocol, packed=False)
    scorers = {"popularity": popularity_scores(dataset), "last item": markov_scores(dataset)}

    def ranking(score: Scorer) -> Ranking:
        return _rank(batches, lambda inputs: tf.constant(score(inputs["items"].numpy())))

    return {name: ranking(score).metrics() for name, score in scorers.items()}


def rank_users(model: FENRec, dataset: SequenceDataset, split: Split, protocol: Protocol = "paper") -> Ranking:
    """Ranks all users' held-out items with a model; the arguments are those of `evaluate`."""
    encoder = model.encoder
    batches = EvaluationBatches(dataset, split, protocol, encoder.max_length, encoder.packed)
    return _rank(batches, lambda inputs: model.scores(model.encode(inputs)))


def _rank(batches: EvaluationBatches, score: Callable[[dict[str, tf.Tensor]], tf.Tensor]) -> Ranking:
    recommended = np.zeros(batches.dataset.num_items + 2, bool)
    top = min(CUTOFFS[-1], len(recommended))

    def rank(number: int) -> np.ndarray:
        inputs, targets = tf.nest.map_structure(tf.constant, batches.batch(number))
        scores, excluded = score(inputs), (targets["excluded"], targets["excluded_score"])
        values, items = tf.math.top_k(exclude(scores, *excluded), top)
        recommended[items.numpy()[np.isfinite(values.numpy())]] = True
        return target_ranks(scores, targets["item"], *excluded).numpy()

    ranks = list(few_at_once(rank, range(len(batches))))
    return Ranking(batches.in_order(ranks), recommended)


def _means(ranks: np.ndarray) -> dict[str, float]:
    values = rank_values(tf.constant(ranks))
    return {name: float(np.mean(value.numpy(), dtype=np.float64)) for name, value in values.items()}


def by_edges(values: np.ndarray, edges: Sequence[int]) -> dict[str, np.ndarray]:
    """The users, int [...], of each group of values [U] between two edges, by its name; without the empty groups."""
    group = np.searchsorted(edges, values, side="left")
    names = [f"n <= {edges[0]}", *(f"{a} < n <= {b}" for a, b in itertools.pairwise(edges)), f"n > {edges[-1]}"]
    return {name: users for number, name in enumerate(names) if len(users := np.flatnonzero(group == number))}
