"""Datasets: by name, by path, and from raw logs."""

from tf_fenrec.data.catalog import BENCHMARKS, DATASETS, load
from tf_fenrec.data.reader import read_sequences
from tf_fenrec.data.sequences import SequenceDataset

__all__ = ["BENCHMARKS", "DATASETS", "SequenceDataset", "load", "read_sequences"]
