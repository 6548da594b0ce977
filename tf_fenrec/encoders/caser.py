"""Caser: convolutions over the item vectors of the last few items, and a vector of the user."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.encoders.encoder import Encoder
from tf_fenrec.errors import InputError
from tf_fenrec.layers.arguments import check_at_least, check_rate
from tf_fenrec.layers.dropout import StatelessDropout
from tf_fenrec.layers.embedding import initializer
from tf_fenrec.randomness import split_seed


@keras.saving.register_keras_serializable("tf_fenrec")
class CaserEncoder(Encoder):
    """The last L item vectors as an image [L, D]: vertical and horizontal filters, a dense layer, then another of
    [that | the user's vector], each with ReLU.

    Vertical filters are weighted sums over time; horizontal ones, of every height 1..L, see whole vectors, and the
    greatest value over time counts.

    Args:
        num_items: int. V.
        num_users: int. U; their vectors are numbered from 1, and unknown users have the vector zero.
        dim: int. D. Defaults to 64.
        max_length: int. L. Defaults to 10: there are L sizes of horizontal filters.
        num_horizontal: int. Horizontal filters of each height. Defaults to 8.
        num_vertical: int. Vertical filters. Defaults to 4.
        dropout: float. Defaults to 0.5.
        regularizer_weight: float. Weight of the sum of the L2 norms (not squared) of all tables and kernels, which the
            published loss adds. Defaults to 0.
        seed: int. Of the initialisation. Defaults to 0.

    Call arguments:
        inputs: a batch of sequences with `users` int32 [S], or int [S, T] items of unknown users.

    Example:
        >>> CaserEncoder(num_items=100, num_users=7)(np.array([[0, 0, 3, 7]])).shape
        TensorShape([1, 64])

    Reference:
        - Tang and Wang, WSDM 2018, arXiv 1809.07426, as re-implemented in RecBole and BSARec.
    """

    packed = False
    causal = False
    takes_users = True

    def __init__(
        self,
        num_items: int,
        num_users: int,
        dim: int = 64,
        max_length: int = 10,
        num_horizontal: int = 8,
        num_vertical: int = 4,
        dropout: float = 0.5,
        regularizer_weight: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_items, max_length, **kwargs)
        check_at_least(1, dim=dim, num_horizontal=num_horizontal, num_vertical=num_vertical)
        check_at_least(0, num_users=num_users)
        if regularizer_weight < 0:
            raise InputError(f"`regularizer_weight` must be at least 0. Received: {regularizer_weight}")
        check_rate(dropout=dropout)
        self.num_users = num_users
        self.dim = dim
        self.num_horizontal = num_horizontal
        self.num_vertical = num_vertical
        self.dropout = dropout
        self.regularizer_weight = regularizer_weight
        self.seed = seed

        def weight(name: str, shape: tuple[int, ...], number: int) -> keras.Variable:
            return self.add_weight(name=name, shape=shape, initializer=initializer(1000 * seed + number))

        def bias(name: str, units: int) -> keras.Variable:
            return self.add_weight(name=name, shape=(units,), initializer="zeros")

        def dense(name: str, inputs: int, number: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(
                dim,
                activation="relu",
                kernel_initializer=initializer(1000 * seed + number),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, inputs))
            return layer

        self.item_table = weight("items", (num_items + 2, dim), 0)
        self.user_table = weight("users", (num_users + 1, dim), 1)
        self.vertical = weight("vertical", (max_length, num_vertical), 2)
        self.vertical_bias = bias("vertical_bias", num_vertical)
        heights = range(1, max_length + 1)
        self.horizontal = [weight(f"horizontal_{h}", (h, dim, num_horizontal), 10 + h) for h in heights]
        self.horizontal_bias = [bias(f"horizontal_bias_{h}", num_horizontal) for h in heights]
        self.drop = StatelessDropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.sequence_dense = dense("sequence", num_vertical * dim + num_horizontal * max_length, 3)
        self.output_dense = dense("output", 2 * dim, 4)
        self.built = True

    def call(
        self,
        inputs: dict[str, tf.Tensor] | tf.Tensor,
        training: bool | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        batch = self.batch_of(inputs)
        seeds = split_seed(seed, 1)
        vertical, horizontal = self.features(batch["items"])
        if training and self.regularizer_weight:
            self.add_loss(self.regularizer_weight * self._norms())
        features = self.drop(tf.concat([vertical, horizontal], axis=1), training=training, seed=seeds[0])
        users = tf.where(batch["users"] > self.num_users, 0, batch["users"])
        user = tf.cast(tf.gather(self.user_table, users), self.compute_dtype)
        known = tf.cast(users > 0, self.compute_dtype)[:, None]
        return self.output_dense(tf.concat([self.sequence_dense(features), known * user], axis=1))

    def features(self, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the vertical filters see [S, n_v D], and the horizontal ones [S, L n_h], of items int32 [S, L]."""
        x = tf.cast(tf.gather(self.item_table, items), self.compute_dtype)  # [S, L, D]

        def cast(variable: keras.Variable) -> tf.Tensor:
            return tf.cast(tf.convert_to_tensor(variable), x.dtype)

        vertical = tf.einsum("sld,ln->snd", x, cast(self.vertical)) + cast(self.vertical_bias)[:, None]
        vertical = tf.reshape(vertical, [-1, self.num_vertical * self.dim])
        found = []
        for kernel, bias in zip(self.horizontal, self.horizontal_bias, strict=True):
            height = kernel.shape[0]
            windows = tf.concat([x[:, lag : self.max_length - height + 1 + lag] for lag in range(height)], axis=2)
            flat = tf.reshape(cast(kernel), [height * self.dim, self.num_horizontal])
            found.append(tf.reduce_max(tf.nn.relu(tf.matmul(windows, flat) + cast(bias)), axis=1))
        return vertical, tf.concat(found, axis=1)

    def _norms(self) -> tf.Tensor:
        kernels = [self.item_table, self.user_table, self.vertical, *self.horizontal]
        kernels += [self.sequence_dense.kernel, self.output_dense.kernel]
        return tf.add_n([tf.norm(tf.cast(tf.convert_to_tensor(kernel), self.variable_dtype)) for kernel in kernels])

    def batch_of(self, inputs: dict[str, tf.Tensor] | tf.Tensor) -> dict[str, tf.Tensor]:
        if not isinstance(inputs, dict):  # the filters are of L items
            items = tf.cast(inputs, tf.int32)[:, -self.max_length :]
            inputs = tf.pad(items, [[0, 0], [self.max_length - tf.shape(items)[1], 0]])
        batch = super().batch_of(inputs)
        return batch if "users" in batch else batch | {"users": tf.zeros(tf.shape(batch["last"]), tf.int32)}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_users": self.num_users,
            "dim": self.dim,
            "num_horizontal": self.num_horizontal,
            "num_vertical": self.num_vertical,
            "dropout": self.dropout,
            "regularizer_weight": self.regularizer_weight,
            "seed": self.seed,
        }
