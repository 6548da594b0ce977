"""Full ranking of every user's held-out item, in memory bounded by a chunk of users."""

from __future__ import annotations

import tensorflow as tf

from tf_fenrec.data.batches import EvaluationBatches, Protocol
from tf_fenrec.data.held_out import Split
from tf_fenrec.data.packing import Layout
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.evaluation.baselines import Scorer, markov_scores, popularity_scores
from tf_fenrec.ranking import Ranking, rank_all
from tf_fenrec.systems import build_model, preset
from tf_fenrec.systems.base import SequenceModel

PADDED = Layout(50, packed=False)


def evaluate(
    model: SequenceModel, dataset: SequenceDataset, split: Split, protocol: Protocol = "paper"
) -> dict[str, float]:
    """HR and NDCG at 5, 10 and 20, MRR, and catalogue coverage at 20, over all users.

    Args:
        model: a trained model over the dataset's items.
        split: "valid" or "test".
        protocol: see `EvaluationBatches`.
    """
    return rank_users(model, dataset, split, protocol).metrics()


def rank_users(model: SequenceModel, dataset: SequenceDataset, split: Split, protocol: Protocol = "paper") -> Ranking:
    """Ranks all users' held-out items with a model; the arguments are those of `evaluate`."""
    batches = EvaluationBatches(dataset, split, protocol)
    model.check_catalogue(batches.dataset)
    return rank_all(model.score, batches, model.layout)


def baseline_metrics(
    dataset: SequenceDataset, split: Split, protocol: Protocol = "paper"
) -> dict[str, dict[str, float]]:
    """The metrics of popularity, of the last item's most frequent successors, and of counted co-occurrence.

    The numbers of the last are those of its preset "given", for datasets it doesn't know its defaults.
    """
    batches = EvaluationBatches(dataset, split, protocol)
    scorers = {"popularity": popularity_scores(dataset), "last item": markov_scores(dataset)}

    def ranking(score: Scorer) -> Ranking:
        return rank_all(lambda inputs: tf.constant(score(inputs["items"].numpy())), batches, PADDED)

    counting = build_model(preset("given", "cooccurrence", dataset.name), dataset)
    counting.fit(dataset)
    rows = {name: ranking(score).metrics() for name, score in scorers.items()}
    return rows | {"co-occurrence": rank_all(counting.score, batches, counting.layout).metrics()}
