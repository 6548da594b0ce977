"""What an example rule is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tf_fenrec.data.packing import Sequences
from tf_fenrec.data.sequences import SequenceDataset


class Rule(Protocol):
    """Makes training examples of the training parts v_1..v_{n-2} of a dataset, and of nothing else.

    An example has a number from 0 to `len(rule)` - 1. Whatever is random comes from the generator that is passed, which
    is seeded by epoch and step.

    Attributes:
        dataset: the sequences.
        max_length: L, the longest input.
        lengths: int [E], how many items the input of each example has.
    """

    dataset: SequenceDataset
    max_length: int
    lengths: np.ndarray

    def __len__(self) -> int:
        """E, the examples of an epoch."""

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Sequences:
        """The inputs of examples `rows` int [B], with their labels."""

    def inputs(self, rows: np.ndarray) -> Sequences:
        """The inputs of `rows` alone, with nothing random in them: what is clustered."""

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """int32 [B]; examples with equal ids are no negatives of each other (target items, or users)."""

    def histories(self, rows: np.ndarray) -> Sequences:
        """The training items that the inputs of `rows` are cut from, not cut to L, for views that crop or insert."""
