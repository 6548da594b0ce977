"""Keras layers of the encoders.

Shape vocabulary, used in names, comments and docstrings alike: B batch, R packed rows, T tokens in a row, S sequences,
D width, H heads, V items, N = 2B contrastive rows, L maximum length, K clusters.
"""

from tf_fenrec.layers.attention import SelfAttentionBlock
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.embedding import ItemEmbedding
from tf_fenrec.layers.encoder import SASRecEncoder, padded_batch

__all__ = ["ItemEmbedding", "SASRecEncoder", "SelfAttentionBlock", "StatelessDropout", "padded_batch"]
