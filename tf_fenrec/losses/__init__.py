"""The paper's equations, one function or class each."""

from tf_fenrec.losses.binary import bayesian_personalised_ranking, binary_cross_entropy
from tf_fenrec.losses.contrastive import EnduringContrastive, InfoNCE
from tf_fenrec.losses.divergence import symmetric_divergence
from tf_fenrec.losses.noise import ascend_noise, noise_negatives
from tf_fenrec.losses.retrieval import contrastive_loss, enduring_contrastive_loss
from tf_fenrec.losses.soft_label import (
    blocked_logsumexp,
    sampled_soft_label_cross_entropy,
    soft_label_cross_entropy,
)

__all__ = [
    "EnduringContrastive",
    "InfoNCE",
    "ascend_noise",
    "bayesian_personalised_ranking",
    "binary_cross_entropy",
    "blocked_logsumexp",
    "contrastive_loss",
    "enduring_contrastive_loss",
    "noise_negatives",
    "sampled_soft_label_cross_entropy",
    "soft_label_cross_entropy",
    "symmetric_divergence",
]
