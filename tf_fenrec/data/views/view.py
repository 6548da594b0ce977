"""What a view is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.rules.rule import Rule


class View(Protocol):
    """Other sequences that should be represented like the examples' own: the positives of a contrast."""

    def __call__(self, rule: Rule, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        """One sequence for each example.

        Args:
            rule: makes the examples.
            rows: int [B], numbers of the batch's examples.
            rng: whatever is random comes from it; it is seeded by epoch and step.

        Returns:
            B sequences of at most `rule.max_length` items, with labels where the view brings its own.
        """
