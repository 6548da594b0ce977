"""MAERec: a transformer over item vectors that were spread over a graph of items."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.errors import InputError
from tf_fenrec.layers.arguments import check_at_least, check_heads, check_rate
from tf_fenrec.layers.attention import SelfAttentionBlock, attention_mask
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.randomness import split_seed


@keras.saving.register_keras_serializable("tf_fenrec")
class MAERecEncoder(Encoder):
    """Item vectors E' = E + A E + A^2 E, A the normalised graph; LayerNorm(e' + position), then N blocks without a
    residual around the feed-forward network. The output is the sum of the embedding and of all blocks' outputs.

    Args:
        num_items: int. V.
        num_edges: int. Entries of A, at most; see `set_graph`.
        dim: int. D. Defaults to 32.
        max_length: int. L. Defaults to 50.
        num_blocks: int. N. Defaults to 2.
        num_heads: int. Defaults to 4.
        num_propagations: int. The highest power of A. Defaults to 2.
        dropout: float. Defaults to 0.3.
        seed: int. Of the initialisation. Defaults to 0.

    Attributes:
        rows, columns: int64 [num_edges], where the entries of A are; spare ones have the value 0.
        values: float [num_edges], the entries in inference mode.
        masked_values: float [num_edges], the entries while training, of the graph without the masked edges.

    Example:
        >>> MAERecEncoder(num_items=100, num_edges=400)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 32])

    Reference:
        - Ye, Xia and Huang, SIGIR 2023, arXiv 2305.04619.
    """

    def __init__(
        self,
        num_items: int,
        num_edges: int,
        dim: int = 32,
        max_length: int = 50,
        num_blocks: int = 2,
        num_heads: int = 4,
        num_propagations: int = 2,
        dropout: float = 0.3,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, num_edges=num_edges, num_blocks=num_blocks)
        check_at_least(0, num_propagations=num_propagations)
        check_heads(dim, num_heads)
        check_rate(dropout=dropout)
        self.num_edges = num_edges
        self.dim = dim
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.num_propagations = num_propagations
        self.dropout = dropout
        self.seed = seed

        def spread(number: int) -> keras.initializers.Initializer:
            return keras.initializers.GlorotUniform(seed=1000 * seed + number)

        # Sums over the neighbours of popular items are not for half precision.
        def entries(name: str, dtype: str | None = None) -> keras.Variable:
            return self.add_weight(
                name=name, shape=(num_edges,), dtype=dtype, initializer="zeros", trainable=False, autocast=False
            )

        self.item_table = self.add_weight(
            name="items", shape=(num_items + 2, dim), initializer=spread(0), autocast=False
        )
        self.position_table = self.add_weight(name="positions", shape=(max_length, dim), initializer=spread(1))
        self.rows, self.columns = entries("rows", "int64"), entries("columns", "int64")
        self.values, self.masked_values = entries("values"), entries("masked_values")
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")
        self.norm.build((None, None, dim))
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.blocks = [
            SelfAttentionBlock(
                num_heads,
                4 * dim,
                dropout,
                1000 * seed + 100 * (number + 1),
                epsilon=1e-5,
                residual=False,
                dtype=self.dtype_policy,
                name=f"block_{number}",
            )
            for number in range(num_blocks)
        ]
        for block in self.blocks:
            block.build((None, None, dim))
        self.built = True

    def set_graph(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Sets A, for training too.

        Args:
            rows, columns: int [E], E at most `num_edges`.
            values: float [E].
        """
        spare = self.num_edges - len(rows)
        if spare < 0:
            raise InputError(
                f"`num_edges` must be at least the graph's {len(rows)} entries (`build_model(config, dataset)` counts "
                f"them). Received: {self.num_edges}"
            )
        self.rows.assign(np.pad(rows, (0, spare)))
        self.columns.assign(np.pad(columns, (0, spare)))
        self.values.assign(np.pad(values, (0, spare)))
        self.masked_values.assign(self.values)

    def propagated(self, training: bool = False) -> list[tf.Tensor]:
        """E, A E, A^2 E, ..., [V + 2, D] each."""
        values = tf.convert_to_tensor(self.masked_values if training else self.values)
        rows, columns = tf.convert_to_tensor(self.rows), tf.convert_to_tensor(self.columns)
        found = [tf.convert_to_tensor(self.item_table)]
        for _ in range(self.num_propagations):
            messages = tf.gather(found[-1], columns) * values[:, None]
            found.append(tf.math.unsorted_segment_sum(messages, rows, self.num_items + 2))
        return found

    def item_vectors(self, training: bool = False) -> tf.Tensor:
        """[V + 2, D], E'."""
        return tf.add_n(self.propagated(training))

    def frozen(self) -> MAERecEncoder:
        """An encoder without a graph whose item table is E'."""
        copy = type(self).from_config(self.get_config() | {"num_propagations": 0, "num_edges": 1})
        graph = (self.rows, self.columns, self.values, self.masked_values)
        for old, new in zip(self.weights, copy.weights, strict=True):
            if all(old is not entries for entries in graph):
                new.assign(self.item_vectors() if old is self.item_table else old)
        return copy

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
        everywhere: bool = False,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        positions = batch["positions"] + self.max_length - tf.shape(batch["items"])[1]
        seeds = split_seed(seed, self.num_blocks + 1)
        x = tf.cast(tf.gather(self.item_vectors(bool(training)), batch["items"]), self.compute_dtype)
        x += tf.cast(tf.gather(self.position_table, positions), self.compute_dtype)
        x = self.drop(self.norm(x), training=training, seed=seeds[0])
        mask = attention_mask(batch["segments"], self.compute_dtype, batch["items"])
        total = x
        for block, block_seed in zip(self.blocks, seeds[1:], strict=True):
            x = block(x, mask, training=training, seed=block_seed)
            total += x
        return total if everywhere else tf.gather(tf.reshape(total, [-1, self.dim]), batch["last"])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_edges": self.num_edges,
            "dim": self.dim,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "num_propagations": self.num_propagations,
            "dropout": self.dropout,
            "seed": self.seed,
        }
