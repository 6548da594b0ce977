"""How like the anchor its negatives are while training goes on (Fig. 2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.encoders.calls import encode
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_text
from tf_fenrec.losses.contrastive import enduring_hard_scores
from tf_fenrec.systems import build_model
from tf_fenrec.systems.fenrec import FENRec, FENRecConfig
from tf_fenrec.training.run import Run

FILE = "similarity.jsonl"
KINDS = ("original", "enduring", "positive")
BINS = 60
PERCENTILES = (5, 25, 50, 75, 95)


def similarities(view1: tf.Tensor, view2: tf.Tensor, ids: tf.Tensor, mix: float) -> dict[str, np.ndarray]:
    """Inner products of every anchor with its samples in one batch, as the contrast sees them.

    Args:
        view1, view2: [B, D].
        ids: int [B]; rows with equal ids are no negatives of each other.
        mix: lambda of the enduring negatives.

    Returns:
        - `original`: h_a . n of all anchors a and their negatives n (H_i of Eq. 5).
        - `enduring`: h_a . hard(a, n) of the same pairs (Eq. 10), also while they are not trained on yet.
        - `positive`: h_a . h_a+, one an anchor.
    """
    queries = tf.concat([view1, view2], axis=0)  # [N, D]
    partners = tf.concat([view2, view1], axis=0)
    scores = tf.matmul(queries, partners, transpose_b=True)
    unit = tf.matmul(queries, tf.math.l2_normalize(partners, axis=1), transpose_b=True)
    ids = np.concatenate([ids, ids])
    negative = ids[:, None] != ids[None, :]
    return {
        "original": scores.numpy()[negative],
        "enduring": enduring_hard_scores(unit, mix).numpy()[negative],
        "positive": np.diag(scores),
    }


def summary(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean, percentiles and a histogram over common bins of each kind."""
    low = float(min(array.min() for array in values.values()))
    high = float(max(array.max() for array in values.values()))
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    kinds = {
        kind: {
            "mean": float(array.mean(dtype=np.float64)),
            "percentiles": [float(value) for value in np.percentile(array, PERCENTILES)],
            "counts": np.histogram(array.clip(edges[0], edges[-1]), edges)[0].tolist(),
        }
        for kind, array in values.items()
    }
    return {"edges": edges.tolist(), **kinds}


class SimilarityLog(keras.callbacks.Callback):
    """Measures one fixed random batch of training examples after every epoch, into `similarity.jsonl` of the run.

    For `fenrec-train --callback tf_fenrec.analysis.similarity:SimilarityLog`.

    The batch and its dropout follow from the seed and are the same in every epoch, so what changes is the model. The
    training itself is untouched: nothing random in it is drawn from a state. A resumed run goes on with its file.

    Args:
        config: the run's.
        dataset: the run's.
        run: where to write.
    """

    def __init__(self, config: FENRecConfig, dataset: SequenceDataset, run: Run) -> None:
        super().__init__()
        if not isinstance(config, FENRecConfig) or not config.contrastive:
            raise InputError("similarities need FENRec with a contrast: coarse_weight or fine_weight above 0")
        model = build_model(config, dataset.num_items)
        batches = model.training_batches(dataset)
        random = np.random.default_rng(config.seed)
        chosen = random.choice(len(batches.rule), min(config.batch_size, len(batches.rule)), replace=False)
        self.inputs, self.targets = batches.batch(chosen, random, model.layout)
        self.config = config
        self.file = run.directory / FILE

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = similarities(*self.views(self.model), self.targets["ids"], self.config.mix)
        if not len(values["original"]):  # all examples of the batch have one target
            return
        before = [line for line in read_similarity(self.file) if line["epoch"] <= epoch]
        lines = [*before, {"epoch": epoch + 1, **summary(values)}]
        write_text(self.file, "".join(json.dumps(line) + "\n" for line in lines))

    def views(self, model: FENRec) -> tuple[tf.Tensor, tf.Tensor]:
        """The representations [B, D] of the batch's two views, with dropout."""
        h = encode(model.encoder, self.inputs, training=True, seed=tf.constant([self.config.seed, 0]))
        _, view1, view2 = tf.split(tf.cast(h, tf.float32), 3)
        return view1, view2


def read_similarity(file: Path) -> list[dict[str, Any]]:
    """What was measured, epoch by epoch; nothing when there is no such file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def curves(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What was measured as columns over the epochs, without the histograms: `mean` and `percentiles` of each kind."""
    columns: dict[str, Any] = {"epoch": [line["epoch"] for line in lines]}
    for kind in KINDS:
        columns[kind] = {
            "mean": [line[kind]["mean"] for line in lines],
            "percentiles": {
                str(percent): [line[kind]["percentiles"][number] for line in lines]
                for number, percent in enumerate(PERCENTILES)
            },
        }
    return columns
