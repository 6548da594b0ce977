"""Another example with the same target."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.rules.prefixes import Prefixes
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.errors import InputError, one_of

ViewRule = Literal["last", "random"]


class SameTarget:
    """The input of another training example with the same target item (ICSRec, DuoRec).

    Args:
        rule: "last", the released program of FENRec: the last one in file order whose input differs, the same for the
            whole training; "random", the papers' text: a new draw at every step.
    """

    def __init__(self, rule: ViewRule = "last") -> None:
        one_of("rule", rule, get_args(ViewRule))
        self.rule = rule

    def __call__(self, rule: Rule, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        if not isinstance(rule, Prefixes):
            raise InputError(f"a same-target view needs the rule Prefixes. Received: {type(rule).__name__}")
        return rule.inputs(rule.last_partner[rows] if self.rule == "last" else rule.random_partners(rows, rng))
