"""Encoders: from sequences of items to vectors whose inner products with item vectors are scores. One file each."""

from tf_fenrec.encoders.encoder import Encoder, padded_batch
from tf_fenrec.encoders.transformer import SASRecEncoder

__all__ = ["Encoder", "SASRecEncoder", "padded_batch"]
