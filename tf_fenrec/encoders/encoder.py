"""What every encoder is: a layer from a batch of item sequences to user vectors, and the item vectors they meet."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_fenrec.layers.arguments import check_at_least


def padded_batch(items: tf.Tensor) -> dict[str, tf.Tensor]:
    """The batch of sequences (see `tf_fenrec.data.packing`) of plain padded rows.

    Args:
        items: int32 [S, T], right-aligned: the most recent item in the last column, 0 before the first.
    """
    rows, width = tf.shape(items)[0], tf.shape(items)[1]
    return {
        "items": items,
        "segments": tf.cast(items > 0, tf.int32),
        "positions": tf.broadcast_to(tf.range(width), [rows, width]),
        "last": tf.range(1, rows + 1) * width - 1,
        "slots": tf.range(rows)[:, None],
    }


def append_mask(items: tf.Tensor, encoder: Encoder) -> tf.Tensor:
    """int32 [S, T + 1] of padded rows [S, T]: the last L - 1 items and the mask, at which the next one is predicted."""
    items = tf.cast(items, tf.int32)
    items = items[:, tf.maximum(0, tf.shape(items)[1] - encoder.max_length + 1) :]
    return tf.pad(items, [[0, 0], [0, 1]], constant_values=encoder.num_items + 1)


class Encoder(keras.layers.Layer):
    """Base of the encoders. A score is always an inner product: user_vectors(hidden) . item_vectors()^T.

    A subclass creates its weights in `__init__` (and sets `self.built = True`), makes `item_table` one of them (or has
    `item_embeddings` of its own), and implements `call` with the arguments below. An item bias is one more column of
    `item_vectors` that meets a 1 in `user_vectors`; an output transform belongs into `user_vectors`.

    Args:
        num_items: int. V. Item ids run from 1 to V; 0 is the padding and V + 1 the mask.
        max_length: int. L, the most items of a sequence that count.

    Class attributes:
        packed: bool. Whether a row may hold several sequences (see `tf_fenrec.data.packing`). False for encoders that
            mix neighbours without regard to `segments`: they get one right-aligned sequence a row.
        causal: bool. Whether a token's vector depends on no later token, so that losses may read every token.
        mask_query: bool. Whether the vector that predicts the next item is read at a mask token V + 1 appended to the
            history (BERT4Rec). Batches bring it; padded int rows get it in `call`.
        takes_users: bool. Whether inputs hold `users` int32 [S], 0 for an unknown one (Caser).

    Call arguments:
        inputs: a batch of sequences (dict, see `tf_fenrec.data.packing`), or int [S, T] right-aligned item ids with 0
            before the first, of which the last L count.
        training: bool. Whether dropout is on. Defaults to None, off.
        seed: int32 [2] tensor that dropout is a function of. Defaults to None: a new one each call.
        everywhere: bool. False returns the vector of each sequence's most recent item [S, D], True those of all tokens
            [R, T, D]. Defaults to False.
    """

    packed = True
    causal = True
    mask_query = False
    takes_users = False

    item_table: keras.Variable

    def __init__(self, num_items: int, max_length: int = 50, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_at_least(1, num_items=num_items, max_length=max_length)
        self.num_items = num_items
        self.max_length = max_length

    @property
    def item_embeddings(self) -> keras.Variable:
        """[V + 2, D], the table that inputs are looked up in: row 0 is the padding, row V + 1 the mask."""
        return self.item_table

    @property
    def catalogue(self) -> list[keras.Variable]:
        """The weights whose first axis is the catalogue's V + 2 rows: what grows when items are added."""
        return [self.item_embeddings]

    def batch_of(self, inputs: dict[str, tf.Tensor] | tf.Tensor) -> dict[str, tf.Tensor]:
        """The batch of sequences that `call` was given, made of padded rows where these were given."""
        if isinstance(inputs, dict):
            return inputs
        return padded_batch(tf.cast(inputs, tf.int32)[:, -self.max_length :])

    def item_vectors(self) -> tf.Tensor:
        """[V + 2, D'], what user vectors are multiplied with."""
        return tf.convert_to_tensor(self.item_embeddings)

    def user_vectors(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., D'] from the encoder's output [..., D]."""
        return hidden

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_items": self.num_items, "max_length": self.max_length}
