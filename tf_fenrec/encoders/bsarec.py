"""BSARec: a transformer whose attention is blended with a filter over frequencies."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.transformer import SASRecEncoder
from tf_fenrec.errors import InputError
from tf_fenrec.layers.arguments import check_at_least
from tf_fenrec.layers.attention import attention_mask
from tf_fenrec.layers.frequency import FrequencyLayer
from tf_fenrec.randomness import split_seed


@keras.saving.register_keras_serializable("tf_fenrec")
class BSARecEncoder(SASRecEncoder):
    """SASRec with g = alpha F(x) + (1 - alpha) A(x) in the place of attention A, F a `FrequencyLayer`.

    The filter mixes all L tokens of a row, padding too: one sequence a row, and only its last token is to be read.

    Args:
        num_items: int. V.
        dim: int. D. Defaults to 64.
        max_length: int. L. Defaults to 50.
        num_blocks: int. Defaults to 2.
        num_heads: int. Defaults to 1.
        alpha: float from 0 to 1, the filter's share. Defaults to 0.7.
        cutoff: int. c; c // 2 + 1 frequencies are low. Defaults to 5.
        dropout: float. Defaults to 0.5.
        seed: int. Of the initialisation. Defaults to 0.

    Example:
        >>> BSARecEncoder(num_items=100)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 64])

    Reference:
        - Shin et al., AAAI 2024, arXiv 2312.10325.
    """

    packed = False
    causal = False

    def __init__(
        self,
        num_items: int,
        dim: int = 64,
        max_length: int = 50,
        num_blocks: int = 2,
        num_heads: int = 1,
        alpha: float = 0.7,
        cutoff: int = 5,
        hidden_dim: int | None = None,
        dropout: float = 0.5,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_at_least(0, cutoff=cutoff)
        if not 0 <= alpha <= 1:
            raise InputError(f"`alpha` must be between 0 and 1. Received: {alpha}")
        self._filter = max_length, cutoff, dropout, kwargs.get("dtype"), alpha
        super().__init__(num_items, dim, max_length, num_blocks, num_heads, hidden_dim, dropout, seed, **kwargs)
        self.alpha = alpha
        self.cutoff = cutoff

    def _block_settings(self, seed: int) -> dict[str, Any]:
        length, cutoff, dropout, dtype, alpha = self._filter
        return {
            "mixer": FrequencyLayer(length, cutoff, dropout, seed + 6, dtype=dtype, name="filter"),
            "alpha": alpha,
        }

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        everywhere: bool = False,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        seeds = split_seed(seed, self.num_blocks + 1)
        x = self.embedding(batch["items"], batch["positions"], training=training, seed=seeds[0])
        mask = attention_mask(batch["segments"], self.compute_dtype, batch["items"])
        for block, block_seed in zip(self.blocks, seeds[1:], strict=True):
            x = block(x, mask, training=training, seed=block_seed)
        return x if everywhere else tf.gather(tf.reshape(x, [-1, self.dim]), batch["last"])

    def batch_of(self, inputs: dict[str, tf.Tensor] | tf.Tensor) -> dict[str, tf.Tensor]:
        if not isinstance(inputs, dict):  # the filter is of L tokens
            items = tf.cast(inputs, tf.int32)[:, -self.max_length :]
            inputs = tf.pad(items, [[0, 0], [self.max_length - tf.shape(items)[1], 0]])
        return super().batch_of(inputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha, "cutoff": self.cutoff}
