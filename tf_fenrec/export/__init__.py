"""Export: a model as a directory that TensorFlow Serving loads."""

from tf_fenrec.export.saved_model import export_model

__all__ = ["export_model"]
