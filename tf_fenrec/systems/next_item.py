"""What systems share that predict the next item: who trains on what, and by which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from tf_fenrec.config import SoftLabelled, Softmax, option
from tf_fenrec.data.rules import Prefixes, SoftLabels, Users, Windows
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import Step


@dataclass(frozen=True)
class NextItem(Softmax):
    """Of the prediction of the next item."""

    examples: Literal["prefixes", "recent", "users", "windows"] = option(
        "prefixes",
        "prefixes: every prefix with its next item; recent: prefixes of the last L training items alone, the first of "
        "them predicted from nothing; users: a row a user, the next item predicted everywhere; windows: rows of L "
        "items until all are labels",
    )
    loss: Literal["softmax", "binary", "bpr"] = option(
        "softmax", "cross-entropy over the catalogue, or binary cross-entropy or BPR with sampled negatives"
    )
    num_negatives: int = option(1, "n, sampled negatives a label; not with the softmax", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss != "softmax" and (self.num_sampled or isinstance(self, SoftLabelled)):
            what = "soft labels" if isinstance(self, SoftLabelled) else "`num_sampled`"
            raise InputError(f"`loss` must be softmax with {what}. Received: loss={self.loss!r}")
        if self.examples == "windows" and isinstance(self, SoftLabelled):
            raise InputError("`examples` can't be windows with soft labels. Received: examples='windows'")
        if self.reads_last_alone and self.reads_everywhere:
            raise InputError(
                f"`examples` must be prefixes or recent: the encoder of {self.model} is read at the last item alone. "
                f"Received: examples={self.examples!r}"
            )

    reads_last_alone: ClassVar[bool] = False
    """Whether the system's encoder knows no other token."""

    @property
    def reads_everywhere(self) -> bool:
        """Whether examples have a label at every token."""
        return self.examples in ("users", "windows")


class NextItemModel(SequenceModel):
    """Base of the systems that predict the next item, from every prefix or at every item of a user's row."""

    config: NextItem

    @property
    def everywhere(self) -> bool:
        return self.config.reads_everywhere

    @property
    def num_negatives(self) -> int:
        return 0 if self.config.loss == "softmax" else self.config.num_negatives

    def rule(self, dataset: SequenceDataset) -> Rule:
        examples, max_length = self.config.examples, self.config.max_length
        if examples == "users":
            return Users(dataset, max_length, self.soft_labels)
        if examples == "windows":
            return Windows(dataset, max_length)
        recent = examples == "recent"
        return Prefixes(dataset, max_length, self.soft_labels, recent=recent, empty=recent)

    @property
    def soft_labels(self) -> SoftLabels | None:
        """The soft labels of systems that have them."""
        config = self.config
        return SoftLabels(config.gamma, config.label_rule) if isinstance(config, SoftLabelled) else None

    def recommendation(self, step: Step) -> tf.Tensor:
        """The loss of the labels."""
        if self.config.loss == "binary":
            return step.binary_cross_entropy()
        return step.pairwise_ranking() if self.config.loss == "bpr" else step.cross_entropy()

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        return {"recommendation": (1.0, self.recommendation(step))}
