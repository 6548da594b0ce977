"""Encoders: from item sequences to one vector each."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.layers.attention import SelfAttentionBlock, causal_mask, sequence_ends
from tf_fenrec.layers.embedding import ItemEmbedding
from tf_fenrec.randomness import split_seed


def padded_batch(items: tf.Tensor) -> dict[str, tf.Tensor]:
    """The sequence batch (see `tf_fenrec.data.packing`) of plain padded rows.

    Args:
        items: int32 [B, L], right-aligned: the most recent item in the last column, 0 before the first.
    """
    rows, width = tf.shape(items)[0], tf.shape(items)[1]
    return {
        "items": items,
        "segments": tf.cast(items > 0, tf.int32),
        "positions": tf.broadcast_to(tf.range(width), [rows, width]),
        "last": tf.range(1, rows + 1) * width - 1,
        "slots": tf.range(rows)[:, None],
    }


@keras.saving.register_keras_serializable("tf_fenrec")
class SASRecEncoder(keras.layers.Layer):
    """The SASRec backbone of FENRec and most of its baselines: embedding and N causal post-norm transformer blocks.

    Any encoder layer with this call contract works in `FENRec`: it takes a sequence batch (or padded rows), returns
    one vector a sequence, and has `item_embeddings`, `num_items`, `max_length` and `packed` (whether it takes many
    sequences a row).

    Args:
        num_items: V.
        dim: D.
        max_length: L, the most items of a sequence that count.
        num_blocks, num_heads: of the transformer.
        hidden_dim: width of its feed-forward networks; 4 D when None.
        dropout: rate everywhere.
        seed: of the initialisation.

    Call arguments:
        inputs: a sequence batch (dict, see `tf_fenrec.data.packing`), or int [B, T] right-aligned items, of which the
            last L count.
        training, seed: see `StatelessDropout`.
        all_positions: return every token's vector [R, T, D] instead.

    Returns:
        [S, D], the representation h at each sequence's most recent item.

    Example:
        >>> encoder = SASRecEncoder(num_items=100)
        >>> encoder(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 64])
    """

    packed = True

    def __init__(
        self,
        num_items: int,
        dim: int = 64,
        max_length: int = 50,
        num_blocks: int = 2,
        num_heads: int = 2,
        hidden_dim: int | None = None,
        dropout: float = 0.5,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (
            ("num_items", num_items),
            ("dim", dim),
            ("max_length", max_length),
            ("num_blocks", num_blocks),
        ):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        self.num_items = num_items
        self.dim = dim
        self.max_length = max_length
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.seed = seed
        self.embedding = ItemEmbedding(
            num_items, dim, max_length, dropout, seed=100 * seed, dtype=self.dtype_policy, name="embedding"
        )
        self.blocks = [
            SelfAttentionBlock(
                num_heads,
                hidden_dim or 4 * dim,
                dropout,
                seed=100 * seed + 10 * (number + 1),
                dtype=self.dtype_policy,
                name=f"block_{number}",
            )
            for number in range(num_blocks)
        ]
        for block in self.blocks:
            block.build((None, None, dim))
        self.built = True

    @property
    def item_embeddings(self) -> keras.Variable:
        """[V + 2, D], the item table that scores are computed with (Eq. 3)."""
        return self.embedding.item_table

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        all_positions: bool = False,
    ) -> tf.Tensor:
        batch = inputs if isinstance(inputs, dict) else padded_batch(tf.cast(inputs, tf.int32)[:, -self.max_length :])
        # Shorter rows than L still end at the last row of the position table.
        positions = batch["positions"] + self.max_length - tf.shape(batch["items"])[1]
        seeds = split_seed(seed, self.num_blocks + 1)
        x = self.embedding(batch["items"], positions, training=training, seed=seeds[0])  # [R, T, D]
        mask = causal_mask(batch["segments"], self.compute_dtype)
        for block, block_seed in zip(self.blocks[:-1], seeds[1:-1], strict=True):
            x = block(x, mask, training=training, seed=block_seed)
        ends = None
        if not all_positions:
            ends = sequence_ends(batch["segments"], batch["last"], batch["slots"], self.compute_dtype)
        return self.blocks[-1](x, mask, ends=ends, training=training, seed=seeds[-1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_items": self.num_items,
            "dim": self.dim,
            "max_length": self.max_length,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
            "seed": self.seed,
        }
