"""Views: other sequences that should be represented like an example's own input (the positives of the contrast)."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np

from tf_fenrec.data.examples import TrainingExamples
from tf_fenrec.data.packing import Sequences, take
from tf_fenrec.errors import one_of

ViewRule = Literal["last", "random"]


class View(Protocol):
    """Makes one sequence for each example; anything random comes from `rng`, which is seeded by epoch and step."""

    def __call__(self, examples: TrainingExamples, chosen: np.ndarray, rng: np.random.Generator) -> Sequences:
        """Args: all examples; int [B] numbers of the batch's examples; the step's generator. Returns B sequences."""


class DropoutView:
    """The example's own input again: the two passes differ by dropout (model-level augmentation, DuoRec)."""

    def __call__(self, examples: TrainingExamples, chosen: np.ndarray, rng: np.random.Generator) -> Sequences:
        return take(examples.dataset.items, examples.start[chosen], examples.target[chosen])


class SameTargetView:
    """The input of another training example with the same target item (ICSRec, DuoRec).

    Args:
        rule: "last", the released program: the last one in file order whose input differs, the same for the whole
            training; "random", the papers' text: a new draw at every step.
    """

    def __init__(self, rule: ViewRule = "last") -> None:
        one_of("rule", rule, get_args(ViewRule))
        self.rule = rule

    def __call__(self, examples: TrainingExamples, chosen: np.ndarray, rng: np.random.Generator) -> Sequences:
        partner = examples.last_partner[chosen] if self.rule == "last" else examples.random_partners(chosen, rng)
        return take(examples.dataset.items, examples.start[partner], examples.target[partner])
