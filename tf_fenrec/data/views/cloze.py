"""The example's own window with other items hidden."""

from __future__ import annotations

import numpy as np

from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.rules.cloze import Cloze
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.errors import InputError


class ClozeAgain:
    """The example's window, hidden by another draw and with labels of its own (CBiT): the rule hides the first copy."""

    def __call__(self, rule: Rule, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        if not isinstance(rule, Cloze):
            raise InputError(f"a cloze view needs the rule Cloze. Received: {type(rule).__name__}")
        return rule.examples(rows, rng)
