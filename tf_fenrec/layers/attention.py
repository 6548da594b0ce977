"""The post-norm transformer block over packed rows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.embedding import initializer
from tf_fenrec.randomness import split_seed

MASKED = -1e4  # added to the score of a hidden key; exp of it is exactly zero beside any visible key
# Added to that of a padding item 0 within a sequence. A token that has nothing else to see attends to these, because
# they are far above the keys of other sequences.
PADDING = MASKED / 2


def attention_mask(
    segments: tf.Tensor, dtype: str = "float32", items: tf.Tensor | None = None, causal: bool = True
) -> tf.Tensor:
    """Additive attention mask of packed rows: a token sees its own sequence, up to itself where `causal`.

    Args:
        segments: int32 [R, T], 0 where a row is not full.
        items: int32 [R, T]. With them, padding items 0 within sequences are not seen.

    Returns:
        [R, 1, T, T], 0 where query (third axis) may see key (fourth axis), `PADDING` at padding items of its own
        sequence, `MASKED` elsewhere.
    """
    tokens = tf.shape(segments)[1]
    earlier = tf.linalg.band_part(tf.ones([tokens, tokens], tf.bool), -1, 0)
    same = (segments[:, :, None] == segments[:, None, :]) & (segments[:, None, :] > 0)
    seen = 0.0 if items is None else _seen(items)
    visible = same & earlier if causal else same
    return tf.cast(tf.where(visible, seen, MASKED), dtype)[:, None]


def _seen(items: tf.Tensor) -> tf.Tensor:
    """[R, 1, T], 0 at items, `PADDING` at padding items."""
    return tf.where(items > 0, 0.0, PADDING)[:, None, :]


class LastTokens(NamedTuple):
    """Where the sequences of a batch end: all that is asked of the last block.

    Args:
        indices: int32 [S], flat index (row * T + column) of each sequence's most recent item.
        row_sequences: int32 [R, M], number of the row's 1st, 2nd, ... sequence.
        row_indices: int32 [S], flat index of each sequence in `row_sequences`.
        mask: [R, M, 1, T], 0 where the sequence may see the token, `PADDING` at its padding items, `MASKED` elsewhere.
    """

    indices: tf.Tensor
    row_sequences: tf.Tensor
    row_indices: tf.Tensor
    mask: tf.Tensor


def last_tokens(batch: dict[str, tf.Tensor], dtype: str = "float32") -> LastTokens:
    """`LastTokens` of a batch of sequences (see `tf_fenrec.data.packing`)."""
    segments, last, row_sequences = batch["segments"], batch["last"], batch["slots"]
    most, tokens = tf.shape(row_sequences)[1], tf.shape(segments)[1]
    number = tf.gather(tf.reshape(segments, [-1]), last)
    row_indices = last // tokens * most + tf.maximum(number, 1) - 1  # a row of padding alone ends in segment 0
    same = segments[:, None, :] == tf.range(1, most + 1)[:, None]  # all of a sequence is before its last item
    mask = tf.where(same, _seen(batch["items"]), MASKED)
    return LastTokens(last, row_sequences, row_indices, tf.cast(mask, dtype)[:, :, None])


def gelu(x: tf.Tensor) -> tf.Tensor:
    """Exact (erf) GELU. tf.nn.gelu rounds its constant to float32, which shows in float64."""
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable("tf_fenrec")
class SelfAttentionBlock(keras.layers.Layer):
    """Multi-head self-attention and feed-forward network, each with dropout, residual and layer norm after it.

    h = LayerNorm(x + Dropout(Attention(x))); y = LayerNorm(h + Dropout(W2 gelu(W1 h))), exact (erf) GELU.

    Args:
        num_heads: H.
        hidden_dim: width of the feed-forward network.
        dropout: rate on attention weights, attention output and feed-forward output.
        seed: of the initialisation.
        epsilon: of the layer norms.
        residual: whether the feed-forward network has one; MAERec's has none.
        mixer: layer of x, beside attention: the network then gets alpha mixer(x) + (1 - alpha) h (BSARec).
        alpha: the mixer's share.

    Call arguments:
        x: [R, T, D].
        mask: [R, 1, T, T], added to the attention scores.
        last: when given, only the most recent item of each sequence is computed, the result is [S, D], and `mask` is
            not used: the last block of an encoder needs no other.
        training, seed: see `StatelessDropout`.

    Returns:
        [R, T, D], or [S, D] with `last`.
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        dropout: float = 0.5,
        seed: int = 0,
        epsilon: float = 1e-12,
        residual: bool = True,
        mixer: keras.layers.Layer | None = None,
        alpha: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.residual = residual
        self.mixer = mixer
        self.alpha = alpha
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.seed = seed

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        dim = x_shape[-1]
        if dim is None or dim % self.num_heads:
            raise ValueError(
                f"The width must be a multiple of `num_heads`. Received: width {dim}, num_heads={self.num_heads}"
            )

        def dense(name: str, units: int, inputs: int, number: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(
                units,
                kernel_initializer=initializer(self.seed + number),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, inputs))
            return layer

        def norm(name: str) -> keras.layers.LayerNormalization:
            layer = keras.layers.LayerNormalization(epsilon=self.epsilon, dtype=self.dtype_policy, name=name)
            layer.build((None, dim))
            return layer

        self.query = dense("query", dim, dim, 0)
        self.key = dense("key", dim, dim, 1)
        self.value = dense("value", dim, dim, 2)
        self.output_projection = dense("output", dim, dim, 3)
        self.attention_norm = norm("attention_norm")
        self.expand = dense("expand", self.hidden_dim, dim, 4)
        self.contract = dense("contract", dim, self.hidden_dim, 5)
        self.feedforward_norm = norm("feedforward_norm")
        self.drop = StatelessDropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        if self.mixer is not None:
            self.mixer.build(x_shape)
        self.built = True

    def call(
        self,
        x: tf.Tensor,
        mask: tf.Tensor,
        last: LastTokens | None = None,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        seeds = split_seed(seed, 3 if self.mixer is None else 4)
        if last is None:
            context = self._attend(x, mask, training, seeds[0])  # [R, T, D]
        else:
            tokens, x = x, _take(x, last.indices)  # [S, D]
            context = self._attend_last(x, tokens, last, training, seeds[0])  # [S, D]
        update = self.drop(self.output_projection(context), training=training, seed=seeds[1])
        attended = self.attention_norm(x + update)
        if self.mixer is not None:
            mixed = self.mixer(x, training=training, seed=seeds[3])
            attended = self.alpha * mixed + (1 - self.alpha) * attended
        update = self.drop(self.contract(gelu(self.expand(attended))), training=training, seed=seeds[2])
        return self.feedforward_norm(attended + update if self.residual else update)

    def _attend(self, x: tf.Tensor, mask: tf.Tensor, training: bool | None, seed: tf.Tensor | None) -> tf.Tensor:
        rows, tokens, dim = tf.shape(x)[0], tf.shape(x)[1], x.shape[-1]
        heads = self.num_heads

        def split(y: tf.Tensor) -> tf.Tensor:
            return tf.reshape(y, [rows, tokens, heads, dim // heads])

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))  # [R, T, H, D / H]
        scores = tf.einsum("rqhd,rkhd->rhqk", q, k) / math.sqrt(dim // heads) + tf.cast(mask, q.dtype)
        weights = self.drop(tf.nn.softmax(scores), training=training, seed=seed)  # [R, H, T, T]
        return tf.reshape(tf.einsum("rhqk,rkhd->rqhd", weights, v), [rows, tokens, dim])

    def _attend_last(
        self, x: tf.Tensor, tokens: tf.Tensor, last: LastTokens, training: bool | None, seed: tf.Tensor | None
    ) -> tf.Tensor:
        """`_attend` for the most recent items x [S, D] alone, without a key or a value of any token.

        With keys K t + b and values V t + c of a token t, a query's score is q . (K t + b) = (K' q) . t + q . b, and
        the weighted sum of the values is V (sum w t) + c (sum w): K and V meet S vectors instead of R T tokens.
        """
        heads, dim = self.num_heads, x.shape[-1]
        rows, most = tf.shape(last.row_sequences)[0], tf.shape(last.row_sequences)[1]

        def by_head(weights: keras.Variable) -> tf.Tensor:
            weights = tf.cast(tf.convert_to_tensor(weights), x.dtype)
            return tf.reshape(weights, [*weights.shape[:-1], heads, dim // heads])

        def by_row(y: tf.Tensor) -> tf.Tensor:
            return tf.reshape(tf.gather(y, last.row_sequences), [rows, most * heads, y.shape[-1]])

        q = tf.reshape(self.query(x), [-1, heads, dim // heads]) / math.sqrt(dim // heads)  # [S, H, D / H]
        inner = by_row(tf.einsum("shd,ehd->she", q, by_head(self.key.kernel)))  # [R, M H, D]
        shift = by_row(tf.einsum("shd,hd->sh", q, by_head(self.key.bias))[..., None])  # [R, M H, 1]
        scores = tf.matmul(inner, tokens, transpose_b=True) + shift  # [R, M H, T]
        scores = tf.reshape(scores, [rows, most, heads, -1]) + last.mask
        weights = self.drop(tf.nn.softmax(scores), training=training, seed=seed)  # [R, M, H, T]
        mixed = tf.matmul(tf.reshape(weights, [rows, most * heads, -1]), tokens)  # [R, M H, D]
        mixed = tf.gather(tf.reshape(mixed, [-1, heads, dim]), last.row_indices)  # [S, H, D]
        total = tf.gather(tf.reshape(tf.reduce_sum(weights, axis=-1), [-1, heads]), last.row_indices)  # [S, H]
        context = tf.einsum("she,ehd->shd", mixed, by_head(self.value.kernel))
        return tf.reshape(context + total[..., None] * by_head(self.value.bias), [-1, dim])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
            "seed": self.seed,
            "epsilon": self.epsilon,
            "residual": self.residual,
            "mixer": None if self.mixer is None else keras.saving.serialize_keras_object(self.mixer),
            "alpha": self.alpha,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SelfAttentionBlock:
        if config.get("mixer") is not None:
            config = config | {"mixer": keras.saving.deserialize_keras_object(config["mixer"])}
        return cls(**config)


def _take(x: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """[S, D], the rows of x [R, T, D] at flat token indices `tokens` [S]."""
    return tf.gather(tf.reshape(x, [-1, x.shape[-1]]), tokens)
