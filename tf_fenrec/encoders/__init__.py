"""Encoders: from sequences of items to vectors whose inner products with item vectors are scores. One file each."""

from tf_fenrec.encoders.encoder import Encoder

__all__ = ["Encoder"]
