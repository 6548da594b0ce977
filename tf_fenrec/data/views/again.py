"""The example's own input once more."""

from __future__ import annotations

import numpy as np

from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.rules.rule import Rule


class Again:
    """The example's own input again: the two passes differ by dropout (model-level augmentation, DuoRec)."""

    def __call__(self, rule: Rule, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        return rule.examples(rows, rng)._replace(labels=None)
