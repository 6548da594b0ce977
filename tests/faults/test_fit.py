"""What went wrong without a word around Keras' own loop, each with the case that showed it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.systems import tiny_systems
from tests.systems.tiny_systems import DATASET, NUM_ITEMS, WIDTH
from tf_fenrec.data.batches import EvaluationBatches, TrainingBatches
from tf_fenrec.data.rules import Prefixes
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.systems import load_model
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.sasrec import SASRec, SASRecConfig


def sasrec(**changes: Any) -> SASRec:
    settings = {"dim": 8, "max_length": WIDTH, "num_blocks": 1, "num_heads": 1, "batch_size": 64, "jit": False}
    model = SASRec(SASRecConfig.from_dict(settings | changes), NUM_ITEMS)
    model.compile()
    return model


VALIDATION = EvaluationBatches(DATASET, "valid", batch_size=8)


def test_validation_steps_count_the_weights_of_their_own_epoch() -> None:
    """A1: ranks were computed ahead, with old weights, and threads stayed behind."""
    before = set(threading.enumerate())
    model = sasrec()
    history = model.fit(DATASET, epochs=2, validation_data=VALIDATION, validation_steps=2, verbose=0).history
    found = model.evaluate(VALIDATION, steps=2, verbose=0, return_dict=True)
    assert history["val_mrr"][-1] == found["mrr"]
    assert history["val_mrr"][-1] != model.evaluate(VALIDATION, verbose=0, return_dict=True)["mrr"]
    assert not [thread for thread in set(threading.enumerate()) - before if "ThreadPool" in thread.name]


def test_regularisers_and_add_loss_count() -> None:
    """A3: an L2 of 1e6 changed nothing."""

    class Regularised(tiny_systems.GRUEncoder):
        def __init__(self, *arguments: Any, **kwargs: Any) -> None:
            super().__init__(*arguments, **kwargs)
            self.table.embeddings.regularizer = keras.regularizers.L2(10.0)

        def call(self, inputs: Any, training: bool | None = None, seed: Any = None) -> tf.Tensor:
            self.add_loss(tf.constant(3.0))
            return super().call(inputs, training, seed)

    losses = []
    for kind in (tiny_systems.GRUEncoder, Regularised):
        keras.utils.set_random_seed(1)
        model = SASRec(SASRecConfig(max_length=WIDTH, jit=False), NUM_ITEMS, kind(NUM_ITEMS, WIDTH))
        batches = model.training_batches(DATASET)
        batch = tf.nest.map_structure(tf.constant, batches.step_batch(0, 0, model.layout))
        losses.append(model.compute_losses(*batch, tf.constant([1, 2])))
        table = np.asarray(model.encoder.item_embeddings)
    assert float(losses[1]["recommendation_loss"]) == pytest.approx(float(losses[0]["recommendation_loss"]))
    extra = float(losses[1]["loss"] - losses[0]["loss"])
    assert extra == pytest.approx(3.0 + 10.0 * float((table**2).sum()), rel=1e-5)


def test_fit_again_and_again_is_fit_once() -> None:
    """A4: each call began with the same order, and the warm-up anew."""
    once, often = tiny_systems.model(jit=False), tiny_systems.model(jit=False)
    for model in (once, often):
        model.compile()
    once.fit(DATASET, epochs=3, verbose=0)
    for _ in range(3):
        often.fit(DATASET, epochs=1, verbose=0)
    for one, other in zip(once.weights, often.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-6, err_msg=one.path)


def test_what_was_frozen_stays_frozen(tmp_path: Path) -> None:
    """A11: it was trained again after a load."""
    model = sasrec()
    model.encoder.embedding.trainable = False
    model.fit(DATASET, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    before = np.array(loaded.encoder.item_embeddings)
    loaded.fit(DATASET, epochs=1, verbose=0)
    np.testing.assert_array_equal(before, np.asarray(loaded.encoder.item_embeddings))
    assert len(loaded.trainable_weights) == len(model.trainable_weights)


def test_a_csv_log_has_all_columns(tmp_path: Path) -> None:
    """A11: with `validation_freq` above 1 every ranking metric was lost."""
    logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    history = (
        sasrec()
        .fit(DATASET, epochs=4, validation_data=VALIDATION, validation_freq=2, callbacks=[logger], verbose=0)
        .history
    )
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["val_ndcg@20"] for row in rows][0::2] == ["NA", "NA"]
    assert [float(row["val_ndcg@20"]) for row in rows[1::2]] == pytest.approx(history["val_ndcg@20"])
    assert [float(row["loss"]) for row in rows] == pytest.approx(history["loss"])


def test_compile_takes_the_configured_optimizer() -> None:
    """A11: `compile()` and the command line had other epsilons."""
    optimizer = sasrec(learning_rate=0.02).optimizer
    assert (float(optimizer.learning_rate), optimizer.epsilon) == (pytest.approx(0.02), 1e-8)
    decayed = sasrec(weight_decay=0.1, clip_norm=2.0).optimizer
    assert (decayed.weight_decay, decayed.global_clipnorm) == (0.1, 2.0)
    assert not decayed._use_weight_decay(sasrec().encoder.embedding.norm.gamma)


@pytest.mark.parametrize("name", ["validation_split", "steps_per_epoch", "class_weight", "batch_size"])
def test_what_has_no_meaning_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` can't be honoured"):
        sasrec().fit(DATASET, **{name: 1})


def test_an_epoch_of_long_and_short_histories_has_one_shape() -> None:
    """B16: 400 users with about 46 items each made XLA compile one shape of rows after the other."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(rng.lognormal(np.log(46) - 0.5, 1.0, 400).astype(int), 4)
    offsets = np.cumsum([0, *lengths])
    data = SequenceDataset("spread", rng.integers(1, 3501, offsets[-1]).astype(np.int32), offsets, 3500)
    for rule, everywhere in ((Prefixes(data, 50), False), (tiny_users(data), True)):
        batches = TrainingBatches(rule, 64 if everywhere else 256)
        layout = sasrec().layout._replace(width=50)
        shapes = set()
        for step in range(len(batches)):
            made = batches.step_batch(0, step, layout, everywhere)
            shapes.add(str([array.shape for array in tf.nest.flatten(made)]))
        assert len(shapes) <= 2, shapes


def tiny_users(data: SequenceDataset) -> Any:
    from tf_fenrec.data.rules import Users

    return Users(data, 50)


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    return subprocess.run([sys.executable, "-c", program], env=quiet, capture_output=True, text=True)


@pytest.mark.parametrize(
    "imports",
    ["import tf_fenrec, keras", "import keras, tf_fenrec", "import tf_fenrec; tf_fenrec.SASRec; import keras"],
)
def test_keras_loads_a_model_wherever_tf_fenrec_was_imported(tmp_path: Path, imports: str) -> None:
    """C18: "Could not locate class"."""
    model = tiny_systems.model(jit=False)
    model.save(tmp_path / "model.keras")
    path = str(tmp_path / "model.keras")
    done = run(f"{imports}; print(type(keras.models.load_model({path!r})).__name__)")
    assert done.stdout.strip() == "FENRec", done.stderr
    assert issubclass(type(model), SequenceModel)


def test_another_backend_is_refused_by_name() -> None:
    """C20: "'str' object has no attribute '_error_repr'"."""
    done = run("import tf_fenrec; tf_fenrec.FENRec", KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: tf_fenrec needs Keras on TensorFlow: unset KERAS_BACKEND, or set it to tensorflow. "
        "Received: KERAS_BACKEND=jax"
    )


def test_importing_the_package_imports_no_tensorflow() -> None:
    done = run("import sys, tf_fenrec; dir(tf_fenrec); print('tensorflow' in sys.modules, 'keras' in sys.modules)")
    assert done.stdout.split() == ["False", "False"], done.stderr
