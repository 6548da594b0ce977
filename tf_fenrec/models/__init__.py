"""Models: an encoder, its views and its losses put together."""

from tf_fenrec.models.build import build_model, evaluation_batches, load_model, training_batches
from tf_fenrec.models.fenrec import FENRec

__all__ = ["FENRec", "build_model", "evaluation_batches", "load_model", "training_batches"]
