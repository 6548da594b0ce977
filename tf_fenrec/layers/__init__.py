"""Keras layers of the encoders.

Shape vocabulary, used in names, comments and docstrings alike: B batch, R packed rows, T tokens in a row, S sequences,
D width, H heads, V items, N = 2B contrastive rows, L maximum length, K clusters.
"""

from __future__ import annotations

from typing import Any

from tf_fenrec.layers.attention import SelfAttentionBlock
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.embedding import ItemEmbedding

__all__ = ["ItemEmbedding", "SASRecEncoder", "SelfAttentionBlock", "StatelessDropout", "padded_batch"]

SASRecEncoder: Any
padded_batch: Any


def __getattr__(name: str) -> Any:
    """`SASRecEncoder` and `padded_batch` lived here; encoders are made of layers, so they can't be imported above."""
    if name not in ("SASRecEncoder", "padded_batch"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tf_fenrec import encoders

    return getattr(encoders, name)
