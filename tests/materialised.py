"""The contrastive losses written out slowly, equation by equation, with every hard negative materialised."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def unit(x: tf.Tensor) -> tf.Tensor:
    return x / tf.norm(x, axis=-1, keepdims=True)


def hard_negatives(anchors: tf.Tensor, negatives: tf.Tensor, mix: float) -> tf.Tensor:
    """Eq. 9-10: [A, M, D], constant."""
    mixed = mix * unit(anchors)[:, None, :] + (1 - mix) * unit(negatives)[None, :, :]
    return tf.stop_gradient(unit(mixed) * tf.norm(negatives, axis=1)[None, :, None])


def contrast(
    view1: tf.Tensor,
    view2: tf.Tensor,
    ids: np.ndarray,
    temperature: float = 1.0,
    enduring: dict[str, float] | None = None,
    form: str = "released",
    noise: np.ndarray | None = None,
) -> tf.Tensor:
    """Eq. 5, or with `enduring` (focal_temperature, margin, mix, hard_weight) Eq. 13-15; one row after the other."""
    z = tf.concat([view1, view2], axis=0)
    half, rows = len(ids), 2 * len(ids)
    losses = []
    hard = hard_negatives(z, z, enduring["mix"]) if enduring else None

    def weighted(x: tf.Tensor, margin: float) -> tf.Tensor:
        """Logit of the dot product x."""
        if enduring is None:
            return x / temperature
        s = tf.tanh(x / enduring["focal_temperature"])
        return x / temperature * (s + margin) if form == "released" else (x * s + margin) / temperature

    for row in range(rows):
        positive = weighted(tf.tensordot(z[row], z[(row + half) % rows], 1), 0.0)
        others = [n for n in range(rows) if ids[n % half] != ids[row % half]]
        terms = [tf.exp(positive)]
        margin = enduring["margin"] if enduring else 0.0
        terms += [tf.exp(weighted(tf.tensordot(z[row], z[n], 1), margin)) for n in others]
        if enduring:
            hard_margin = margin if form == "released" else 0.0
            terms += [
                enduring["hard_weight"] * tf.exp(weighted(tf.tensordot(z[row], hard[row, n], 1), hard_margin))
                for n in others
            ]
        if noise is not None:
            terms += [tf.exp(weighted(tf.tensordot(z[row], vector, 1), margin)) for vector in noise]
        losses.append(tf.math.log(tf.add_n(terms)) - positive)
    return tf.add_n(losses) / rows
