"""MVS: soft items of a complementary model stand for the true ones, made harder by noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, option
from tf_fenrec.encoders.calls import encode
from tf_fenrec.errors import InputError
from tf_fenrec.losses import soft_label_cross_entropy, symmetric_divergence
from tf_fenrec.randomness import random_normal, split_seed
from tf_fenrec.systems.next_item import NextItem, NextItemModel
from tf_fenrec.systems.sasrec import transformer
from tf_fenrec.systems.step import EXAMPLES, Step

NUM_CONTEXTS = 2


@dataclass(frozen=True)
class MVSConfig(NextItem, Attention):
    """Hyper-parameters of MVS."""

    model: ClassVar[str] = "mvs"

    examples: Literal["users", "windows"] = option("users", "rows that are read everywhere: see the other systems")
    loss: Literal["softmax"] = option("softmax", "cross-entropy over the catalogue")
    complementary_epochs: int = option(30, "epochs in which the complementary model alone is trained, first", least=0)
    label_weight: float = option(0.1, "w_1, of the divergence from the complementary model's predictions", least=0)
    context_weight: float = option(0.01, "w_2, of the cross-entropy of the soft sequences", least=0)
    divergence_weight: float = option(0.1, "w_3, of the divergences between the sequence and the soft ones", least=0)
    noise_scale: float = option(0.001, "deviation of the noise in the soft items, and its largest value", least=0)
    ascent_length: float = option(0.1, "length of the noise's step towards a greater divergence", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience <= self.complementary_epochs:
            raise InputError(
                "`patience` must be more than `complementary_epochs`, in which the model itself stays as it is. "
                f"Received: patience={self.patience}, complementary_epochs={self.complementary_epochs}"
            )
        if self.num_sampled:
            raise InputError(f"`num_sampled` must be 0: distributions are compared. Received: {self.num_sampled}")

    @property
    def row(self) -> str | None:
        return "MVS"


@keras.saving.register_keras_serializable("tf_fenrec")
class MVS(NextItemModel):
    """Sequential recommendation with a smoother view of labels and contexts.

    First a complementary SASRec is trained, then the model itself:

    total = cross-entropy + w_1 D(model, complementary) + w_2 / 10 (the cross-entropy of two soft sequences)
            + w_3 / 3 (D of each soft sequence and the true one, and of both), D the symmetric divergence.

    In a soft sequence every item but the first is the mixture of item vectors that the complementary model expects
    there, with noise that was moved one step towards a greater divergence.

    The released program scores the complementary model's vectors with the other model's items in the w_1 term; here
    with its own, as in the paper.

    Reference:
        - Zhou et al., TOIS 41(4), 2023, doi 10.1145/3582495.
    """

    config_class = MVSConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {"": {"batch_size": 64, "epochs": 230, "patience": 35}},
        "fair": {
            "": {"batch_size": 64},
            "demo": {
                "dropout": 0.2, "learning_rate": 3e-3, "epochs": 12, "patience": 12, "complementary_epochs": 4,
            },
        },
    }  # fmt: skip
    config: MVSConfig

    def __init__(self, config: MVSConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        other = config.replace(seed=config.seed + 1)
        self.complementary = transformer(other, num_items, "complementary")

    @classmethod
    def make_encoder(cls, config: MVSConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return transformer(config, num_items)

    def phase(self, epoch: int) -> bool:
        """Whether the complementary model is ready."""
        return epoch >= self.config.complementary_epochs

    @property
    def trained_weights(self) -> list[keras.Variable]:
        return (self.encoder if self.current_phase else self.complementary).trainable_weights

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        config = self.config
        seeds = split_seed(step.seed, 1 + 3 * NUM_CONTEXTS)
        if not self.current_phase:
            hidden = encode(self.complementary, step.inputs, training=True, seed=seeds[0], everywhere=True)
            alone = Step(self.complementary, (EXAMPLES,), hidden, step.inputs, step.targets, step.seed)
            return {"recommendation": (1.0, alone.cross_entropy())}
        places = step.label_place_weights
        dtype = self.encoder.variable_dtype
        expected = tf.stop_gradient(self._expected(step, dtype))  # [R, T, V + 2]
        own = self._scores(step.hidden, step)
        flat = tf.reshape(expected, [-1, expected.shape[-1]])
        smooth = symmetric_divergence(own, tf.gather(flat, step.targets["label_tokens"]), places)
        shares = tf.nn.softmax(expected)
        soft = [
            self._context(step, shares, own, places, seeds[1 + 3 * number : 4 + 3 * number])
            for number in range(NUM_CONTEXTS)
        ]
        scores = [self._scores(hidden, step) for hidden in soft]
        entropy = [self._cross_entropy(hidden, step, places) for hidden in soft]
        apart = [symmetric_divergence(one, own, places) for one in scores]
        apart.append(symmetric_divergence(scores[0], scores[1], places))
        return {
            "recommendation": (1.0, step.cross_entropy()),
            "label": (config.label_weight, smooth),
            "context": (0.1 * config.context_weight, tf.add_n(entropy)),
            "divergence": (config.divergence_weight / 3, tf.add_n(apart)),
        }

    def _expected(self, step: Step, dtype: str) -> tf.Tensor:
        """[R, T, V + 2], the complementary model's scores after each token."""
        hidden = tf.cast(encode(self.complementary, step.inputs, everywhere=True), dtype)
        table = tf.cast(self.complementary.item_vectors(), dtype)
        return tf.einsum("rtd,vd->rtv", hidden, table)

    def _context(
        self, step: Step, shares: tf.Tensor, own: tf.Tensor, places: tf.Tensor | None, seeds: list[tf.Tensor | None]
    ) -> tf.Tensor:
        """[R, T, D], a soft sequence encoded, after its noise has made one step."""
        config = self.config
        noise_seed, first_seed, second_seed = seeds
        assert noise_seed is not None
        scale = config.noise_scale
        noise = scale * self.context_noise(tf.shape(shares), noise_seed, shares.dtype)
        noise = tf.clip_by_value(noise, -scale, scale)
        with tf.GradientTape() as tape:
            tape.watch(noise)
            hidden = self._encode_soft(step, shares + noise, first_seed)
            apart = symmetric_divergence(self._scores(hidden, step), own, places)
        gradient = tape.gradient(apart, noise)
        moved = noise + config.ascent_length * tf.math.divide_no_nan(gradient, tf.norm(gradient))
        moved = tf.stop_gradient(tf.clip_by_value(moved, -scale, scale))
        return self._encode_soft(step, shares + moved, second_seed)

    @staticmethod
    def context_noise(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Standard normal noise of a shape."""
        return random_normal(shape, seed, dtype)

    def _encode_soft(self, step: Step, shares: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """[R, T, D], the sequence of mixtures of item vectors, each sequence's first item as it is."""
        table = tf.cast(self.encoder.item_vectors(), shares.dtype)
        mixed = tf.einsum("rtv,vd->rtd", shares, table)  # what is expected after each token
        mixed = tf.pad(mixed[:, :-1], [[0, 0], [1, 0], [0, 0]])
        segments = step.inputs["segments"]
        before = tf.pad(segments[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        known = (before == segments) | (before == 0)  # in padded rows something is expected after the padding too
        vectors = tf.where(known[..., None], mixed, tf.gather(table, step.inputs["items"]))
        return encode(self.encoder, step.inputs | {"vectors": vectors}, training=True, seed=seed, everywhere=True)

    def _at_labels(self, hidden: tf.Tensor, step: Step) -> tf.Tensor:
        flat = tf.reshape(hidden, [-1, hidden.shape[-1]])
        return tf.cast(tf.gather(flat, step.targets["label_tokens"]), self.encoder.variable_dtype)

    def _scores(self, hidden: tf.Tensor, step: Step) -> tf.Tensor:
        """[P, V + 2], the model's scores at the labels."""
        users = self._at_labels(hidden, step)
        return tf.matmul(users, tf.cast(self.encoder.item_vectors(), users.dtype), transpose_b=True)

    def _cross_entropy(self, hidden: tf.Tensor, step: Step, places: tf.Tensor | None) -> tf.Tensor:
        users = self._at_labels(hidden, step)
        return soft_label_cross_entropy(users, tf.cast(self.encoder.item_vectors(), users.dtype), *step.labels, places)
