"""SASRec: the causal transformer that FENRec and most of its baselines are built on."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.layers.arguments import check_at_least, check_heads, check_rate
from tf_fenrec.layers.attention import SelfAttentionBlock, attention_mask, last_tokens
from tf_fenrec.layers.embedding import ItemEmbedding
from tf_fenrec.randomness import split_seed


@keras.saving.register_keras_serializable("tf_fenrec")
class SASRecEncoder(Encoder):
    """Item and position embedding, then N causal transformer blocks with the layer norm after each sub-layer.

    The body that the S3-Rec and RecBole families call SASRec: h = Dropout(LayerNorm(e_item + p_position)), then N times
    h = LayerNorm(h + Dropout(Attention(h))) and h = LayerNorm(h + Dropout(W2 gelu(W1 h))).

    Args:
        num_items: int. V. Item ids run from 1 to V.
        dim: int. D, the width of every vector. Defaults to 64.
        max_length: int. L, the most items of a sequence that count. Defaults to 50.
        num_blocks: int. N, transformer blocks. Defaults to 2.
        num_heads: int. H, attention heads; D must be a multiple. Defaults to 2.
        hidden_dim: int. Width of the feed-forward networks. Defaults to None, 4 D.
        dropout: float. Rate of every dropout. Defaults to 0.5.
        seed: int. Seed of the initialisation. Defaults to 0.
        **kwargs: of `keras.layers.Layer`, as `name` and `dtype`.

    Call arguments:
        inputs: a batch of sequences (dict, see `tf_fenrec.data.packing`), or int [S, T] right-aligned item ids with 0
            before the first, of which the last L count. `vectors` [R, T, D] in it stand for the items' own.
        training: bool. Whether dropout is on. Defaults to None, off.
        seed: int32 [2] tensor that dropout is a function of. Defaults to None: a new one each call.
        everywhere: bool. False returns the vector of each sequence's most recent item [S, D], True those of all tokens
            [R, T, D]. Defaults to False.

    Raises:
        InputError: for an argument out of its range.

    Example:
        >>> encoder = SASRecEncoder(num_items=100)
        >>> encoder(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 64])

    Reference:
        Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018 (arXiv 1808.09781), as re-implemented in
        S3-Rec (arXiv 2008.07873).
    """

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
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, num_blocks=num_blocks, hidden_dim=hidden_dim)
        check_heads(dim, num_heads)
        check_rate(dropout=dropout)
        self.dim = dim
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
                **self._block_settings(100 * seed + 10 * (number + 1)),
            )
            for number in range(num_blocks)
        ]
        for block in self.blocks:
            block.build((None, None, dim))
        self.built = True

    def _block_settings(self, seed: int) -> dict[str, Any]:
        """Other arguments of the blocks, for subclasses."""
        return {}

    @property
    def item_embeddings(self) -> keras.Variable:
        """[V + 2, D], the item table, looked up and scored with (Eq. 3)."""
        return self.embedding.item_table

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        everywhere: bool = False,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        # Shorter rows than L still end at the last row of the position table.
        positions = batch["positions"] + self.max_length - tf.shape(batch["items"])[1]
        seeds = split_seed(seed, self.num_blocks + 1)
        x = self.embedding(
            batch["items"], positions, training=training, seed=seeds[0], vectors=batch.get("vectors")
        )  # [R, T, D]
        mask = attention_mask(batch["segments"], self.compute_dtype, batch["items"], self.causal)
        for block, block_seed in zip(self.blocks[:-1], seeds[1:-1], strict=True):
            x = block(x, mask, training=training, seed=block_seed)
        last = None if everywhere else last_tokens(batch, self.compute_dtype)
        return self.blocks[-1](x, mask, last=last, training=training, seed=seeds[-1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
            "seed": self.seed,
        }
