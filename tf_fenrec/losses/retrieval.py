"""Contrastive scoring through a TFRS retrieval task: the one module that knows TensorFlow Recommenders.

TFRS is written for Keras 2. TensorFlow gives it that (as `tf_keras`) when TF_USE_LEGACY_KERAS is set before
`tf.keras` is first touched, while `import keras` stays Keras 3; so importing this module sets it, and TFRS is imported
at its first use, with a clear error when it is too late.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import ModuleType

import tensorflow as tf

from tf_fenrec.losses.contrastive import EnduringContrastive, InfoNCE

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


@functools.cache
def recommenders() -> ModuleType:
    """The module `tensorflow_recommenders`.

    Raises:
        ImportError: when `tf.keras` is Keras 3 already, saying what to do.
    """
    try:
        import tensorflow_recommenders
    except ImportError as error:
        raise ImportError(
            "TensorFlow Recommenders needs `tf.keras` to be Keras 2, but something touched `tf.keras` before "
            "tf_fenrec.losses could say so. Import tf_fenrec.systems first, or set the environment variable "
            f"TF_USE_LEGACY_KERAS=1 (use `import keras` for Keras 3). Received: {error}"
        ) from error
    return tensorflow_recommenders


def contrastive_loss(view1: tf.Tensor, view2: tf.Tensor, ids: tf.Tensor | None, loss: InfoNCE) -> tf.Tensor:
    """The contrast of two views of a batch, both ways: row i of each view is the positive of row i of the other.

    Queries are z = [view1; view2] (N = 2B rows); candidate j is the partner of row j, so that every row's positive
    stands at its own number and all N rows are candidates once.

    Args:
        view1, view2: [B, D].
        ids: int [B]; rows with equal ids are no negatives of each other (false-negative masking: target items, or
            clusters). None: only a row itself and its positive are exempt.
        loss: what is made of the scores.

    Returns:
        Scalar, mean over the N rows.
    """
    queries, partners, negative = _pairs(view1, view2, ids)
    return retrieval_loss(lambda scores: loss(scores, negative), queries, partners)


def enduring_contrastive_loss(
    view1: tf.Tensor,
    view2: tf.Tensor,
    ids: tf.Tensor | None,
    loss: EnduringContrastive,
    noise: tf.Tensor | None = None,
) -> tf.Tensor:
    """`contrastive_loss` with enduring hard negatives, which are constants (`tf.stop_gradient`), and noise negatives.

    Args:
        view1, view2, ids: as in `contrastive_loss`.
        loss: what is made of the scores.
        noise: [P, D], more negatives, constant.
    """
    queries, partners, negative = _pairs(view1, view2, ids)
    constant = tf.stop_gradient(partners)
    # The product is the task's own, so XLA computes it once; only its gradient is another.
    unit_scores = tf.math.divide_no_nan(tf.matmul(queries, constant, transpose_b=True), tf.norm(constant, axis=1))
    noise_scores = None if noise is None else tf.matmul(queries, tf.stop_gradient(noise), transpose_b=True)
    return retrieval_loss(lambda scores: loss(scores, negative, unit_scores, noise_scores), queries, partners)


def _pairs(view1: tf.Tensor, view2: tf.Tensor, ids: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Queries [N, D], the partner of each [N, D], and bool [N, N], whether row j's partner is a negative of row i."""
    queries = tf.concat([view1, view2], axis=0)
    rows = tf.shape(queries)[0]
    if ids is None:
        ids = tf.range(rows // 2)
    ids = tf.concat([ids, ids], axis=0)
    return queries, tf.concat([view2, view1], axis=0), ids[:, None] != ids[None, :]


def retrieval_loss(
    loss: Callable[[tf.Tensor], tf.Tensor], queries: tf.Tensor, candidates: tf.Tensor, **kwargs: tf.Tensor
) -> tf.Tensor:
    """What `loss` makes of the scores [N, C] of `queries` with `candidates` in a `tfrs.tasks.Retrieval`.

    Args:
        loss: function of the scores.
        queries: [N, D].
        candidates: [C, D].
        kwargs: other tensors that the task takes, such as `candidate_sampling_probability` [C].
    """

    def task_loss(y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
        return loss(y_pred)

    # `call` itself, as Keras 2's `__call__` would cast the queries to float32 and leave the candidates.
    return _retrieval_call()(
        recommenders().tasks.Retrieval(loss=task_loss),
        queries,
        candidates,
        compute_metrics=False,
        compute_batch_metrics=False,
        **kwargs,
    )


@functools.cache
def _retrieval_call() -> Callable[..., tf.Tensor]:
    """`Retrieval.call` converted by AutoGraph, which its code needs and Keras 3 switches off in its steps.

    A nested `tf.function` would do that too, but its gradient takes shapes from the forward function's outputs, and
    XLA, which must know shapes when it compiles, then compiles anew for the values of every batch.
    """
    return tf.autograph.to_graph(recommenders().tasks.Retrieval.call)
