"""Training runs: one directory each, resumable to the identical result."""

from tf_fenrec.training.run import Run
from tf_fenrec.training.trainer import train

__all__ = ["Run", "train"]
