"""What systems share that predict the next item: who trains on what, and by which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from tf_fenrec.config import Softmax, option
from tf_fenrec.data.rules import Prefixes, Users
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class NextItem(Softmax):
    """Of the prediction of the next item."""

    examples: Literal["prefixes", "users"] = option(
        "prefixes", "every prefix with its next item, or a row a user that predicts the next item everywhere"
    )
    loss: Literal["softmax", "binary", "bpr"] = option(
        "softmax", "cross-entropy over the catalogue, or binary cross-entropy or BPR with sampled negatives"
    )
    num_negatives: int = option(1, "n, sampled negatives a label; not with the softmax", least=1)


class NextItemModel(SequenceModel):
    """Base of the systems that predict the next item, from every prefix or at every item of a user's row."""

    config: NextItem

    @property
    def everywhere(self) -> bool:
        return self.config.examples == "users"

    @property
    def num_negatives(self) -> int:
        return 0 if self.config.loss == "softmax" else self.config.num_negatives

    def rule(self, dataset: SequenceDataset) -> Rule:
        kind = Users if self.config.examples == "users" else Prefixes
        return kind(dataset, self.config.max_length)

    def recommendation(self, step: Step) -> tf.Tensor:
        """The loss of the labels."""
        if self.config.loss == "binary":
            return step.binary_cross_entropy()
        return step.pairwise_ranking() if self.config.loss == "bpr" else step.cross_entropy()

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        return {"recommendation": (1.0, self.recommendation(step))}
