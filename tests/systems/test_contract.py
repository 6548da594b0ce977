"""What every system must do, checked alike, in tiny configurations."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small_data import random_dataset
from tf_fenrec.config import Config, Trained
from tf_fenrec.data.batches import EvaluationBatches
from tf_fenrec.data.packing import Sequences, pack_histories
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.encoders.calls import encode, frozen
from tf_fenrec.export.catalogue import catalogue_rows
from tf_fenrec.export.recommender import Recommender
from tf_fenrec.export.saved_model import _served
from tf_fenrec.systems import SYSTEMS, build_model, load_model, preset, system
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.training.run import Run
from tf_fenrec.training.trainer import train

NUM_ITEMS, WIDTH = 20, 6
DATASET = random_dataset(30, NUM_ITEMS)
TINY = {
    "dim": 8, "max_length": WIDTH, "num_blocks": 1, "num_heads": 2, "num_clusters": 4, "warm_up_epochs": 1,
    "noise_portion": 1, "batch_size": 32, "similarity_warm_up_epochs": 1, "dropout": 0.1, "epochs": 2, "patience": 2,
    "learning_rate": 1e-2, "complementary_epochs": 1, "context_weight": 0.1, "hidden_dim": 8, "num_copies": 2,
    "mask_probability": 0.5, "num_edge_negatives": 4,
    "num_seeds": 3, "num_positives": 8, "jit": False,
}  # fmt: skip
CASES = [(name, kind) for name in SYSTEMS for kind in system(name).presets]
TRAINED = [(name, kind) for name, kind in CASES if issubclass(system(name).config_class, Trained)]
every_trained_preset = pytest.mark.parametrize(("name", "kind"), TRAINED)
every_trained_system = pytest.mark.parametrize(
    ("name", "kind"), [case for case in TRAINED if case[1] == next(iter(system(case[0]).presets))]
)
every_preset = pytest.mark.parametrize(("name", "kind"), CASES)
every_system = pytest.mark.parametrize(
    ("name", "kind"), [case for case in CASES if case[1] == next(iter(system(case[0]).presets))]
)


def configuration(name: str, kind: str, **changes: Any) -> Config:
    known = system(name).config_class.names()
    return preset(kind, name, **({key: value for key, value in TINY.items() if key in known} | changes))


def model_of(name: str, kind: str, **changes: Any) -> SequenceModel:
    return build_model(configuration(name, kind, **changes), DATASET)


@functools.cache
def trained(name: str, kind: str) -> tuple[SequenceModel, dict[str, list[float]]]:
    model = model_of(name, kind)
    model.compile()
    validation = EvaluationBatches(DATASET, "valid")
    return model, model.fit(DATASET, epochs=4, verbose=0, validation_data=validation).history


@every_trained_preset
def test_it_learns(name: str, kind: str) -> None:
    _, history = trained(name, kind)
    assert np.isfinite(history["loss"]).all()
    last = [key for key in history if key.endswith("recommendation_loss") and not key.startswith("val")]
    assert min(history[last[0]][1:]) < history[last[0]][0]


@every_preset
def test_files(name: str, kind: str, tmp_path: Path) -> None:
    model, _ = trained(name, kind)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.config == model.config
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), err_msg=one.path)
    histories = [[1, 2], [3, 4, 5, 6, 7, 8, 9]]
    for one, other in zip(loaded.recommend(histories), model.recommend(histories), strict=True):
        np.testing.assert_array_equal(one, other)


@every_trained_preset
def test_a_configuration_survives_json_and_all_of_it_is_read(name: str, kind: str) -> None:
    config = configuration(name, kind)
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict())), complete=True) == config
    read: set[str] = set()

    class Recording(type(config)):  # type: ignore[misc]
        def __getattribute__(self, attribute: str) -> Any:
            read.add(attribute)
            return super().__getattribute__(attribute)

    recorded = Recording(**config.to_dict())
    read.clear()
    sizes = system(name).sizes_of(recorded, DATASET)
    model = system(name)(recorded, NUM_ITEMS, sizes=sizes)
    model.compile()
    batches = model.training_batches(DATASET)
    for epoch in (0, 1):
        batches.epoch = epoch
        model.begin_epoch(epoch, batches)
        inputs, targets = batches.step_batch(epoch, 0, model.layout, model.everywhere)
        model.compute_losses(*tf.nest.map_structure(tf.constant, (inputs, targets)), tf.constant([1, 2]))
        model.after_step()
    by_the_trainer = {"epochs", "patience", "selection"}
    only_with = {"num_negatives", "num_sampled", "dropout_weight"}
    assert {one.name for one in dataclasses.fields(config)} - read - by_the_trainer - only_with == set()


@every_trained_system
def test_compiled_steps_equal_plain_ones(name: str, kind: str) -> None:
    model = model_of(name, kind, dropout=0.0)
    batches = model.training_batches(DATASET)
    model.begin_epoch(0, batches)
    batch = tf.nest.map_structure(tf.constant, batches.step_batch(0, 0, model.layout, model.everywhere))
    seed = tf.constant([3, 4])

    def losses(inputs: Any, targets: Any) -> dict[str, tf.Tensor]:
        return model.compute_losses(inputs, targets, seed)

    state = [np.asarray(weight) for weight in model.weights]
    plain = losses(*batch)
    for weight, value in zip(model.weights, state, strict=True):
        weight.assign(value)
    compiled = tf.function(losses, jit_compile=True)(*batch)
    for term, value in plain.items():
        np.testing.assert_allclose(compiled[term], value, rtol=2e-4, atol=1e-5, err_msg=term)


@every_trained_preset
def test_held_out_items_are_in_no_batch(name: str, kind: str) -> None:
    held_out = ~DATASET.in_training()
    items = DATASET.items.copy()
    items[held_out] = items[held_out] % NUM_ITEMS + 1
    other = SequenceDataset("other", items, DATASET.offsets, NUM_ITEMS)
    found = []
    for dataset in (DATASET, other):
        model = build_model(configuration(name, kind), dataset)
        batches = model.training_batches(dataset)
        model.begin_epoch(0, batches)
        made = [batches.step_batch(0, step, model.layout, model.everywhere) for step in range(len(batches))]
        found.append(([np.asarray(weight) for weight in model.non_trainable_weights], made))
    for one, another in zip(*map(tf.nest.flatten, found), strict=True):
        np.testing.assert_array_equal(one, another)


@every_system
def test_packed_rows_score_as_padded_ones(name: str, kind: str) -> None:
    model, _ = trained(name, kind)
    lengths = np.array([1, 3, WIDTH, 2])
    histories = Sequences(np.arange(1, lengths.sum() + 1, dtype=np.int32), lengths)
    layout = model.layout
    padded = pack_histories(histories, layout._replace(packed=False), NUM_ITEMS)
    expected = model(padded).numpy()
    np.testing.assert_allclose(model(pack_histories(histories, layout, NUM_ITEMS)), expected, rtol=2e-4, atol=2e-5)
    rows = np.zeros((len(lengths), WIDTH), np.int32)
    ends = np.cumsum(lengths)
    for row, end, length in zip(rows, ends, lengths, strict=True):
        row[WIDTH - length :] = histories.items[end - length : end]
    np.testing.assert_allclose(model(rows), expected, rtol=2e-4, atol=2e-5)


@every_trained_system
def test_later_items_change_nothing_earlier(name: str, kind: str) -> None:
    model, _ = trained(name, kind)
    if not getattr(model.encoder, "causal", False):
        pytest.skip("its encoder sees both sides")
    items = np.array([[0, 3, 1, 4, 1, 5]], np.int32)
    later = items.copy()
    later[0, 4:] = [9, 2]
    before, after = (encode(model.encoder, tf.constant(x), everywhere=True).numpy() for x in (items, later))
    np.testing.assert_allclose(after[:, 1:4], before[:, 1:4], rtol=1e-4, atol=1e-5)
    assert np.abs(after[:, 4:] - before[:, 4:]).max() > 1e-3


@every_system
@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_evaluate_equals_a_slow_ranking(name: str, kind: str, protocol: str) -> None:
    model, _ = trained(name, kind)
    batches = EvaluationBatches(DATASET, "test", protocol)
    scores = model.predict(batches)
    ranks = []
    for user in range(DATASET.num_users):
        *history, target = DATASET.sequence(user).tolist()
        own = scores[user].astype(np.float64)
        if protocol == "strict":
            own[[item for item in {0, NUM_ITEMS + 1, *history} if item != target]] = -np.inf
        else:
            own[history] = 0
        ranks.append(1 + sum(s > own[target] or (s == own[target] and i < target) for i, s in enumerate(own)))
    found = model.evaluate(batches, verbose=0, return_dict=True)
    assert found["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), rel=1e-5)
    assert found["hr@5"] == pytest.approx(np.mean(np.array(ranks) <= 5), rel=1e-5)


@every_preset
def test_what_is_exported_recommends_the_same(name: str, kind: str, tmp_path: Path) -> None:
    model, _ = trained(name, kind)
    encoder = frozen(model.encoder)
    served, search, _ = _served(encoder, catalogue_rows(encoder), "exact")
    vocabulary = Vocabulary(NUM_ITEMS, None, None, tuple(range(1, NUM_ITEMS + 1)))
    recommender = Recommender(served, search, vocabulary, tmp_path)
    histories = [[1, 2], [3, 4, 5, 6, 7, 8, 9], [7]]
    ids, scores = model.recommend(histories, k=8)
    width = max(map(len, histories))
    history = np.array([[0] * (width - len(row)) + row for row in histories], np.int64)
    nothing = np.zeros((3, 1), np.int64)
    answer = recommender.recommend(
        *map(tf.constant, (history, np.array([8] * 3, np.int32), np.array([True] * 3), nothing, nothing))
    )
    np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(answer["ids"], ids)


@every_trained_system
def test_half_precision_stays_finite(name: str, kind: str) -> None:
    model = model_of(name, kind, precision="mixed_bfloat16")
    model.compile()
    history = model.fit(DATASET, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(model.predict(EvaluationBatches(DATASET, "valid"))).all()


class Killed(BaseException):
    """Stands for a kill."""


class Killer(keras.callbacks.Callback):
    """Kills in the second epoch, after its first step if it has a second."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not isinstance(self.model.config, Trained):  # it has no steps
            raise Killed

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.steps == self.params["steps"] + min(2, self.params["steps"]):
            raise Killed


@every_system
def test_a_killed_run_ends_as_one_that_was_not(name: str, kind: str, tmp_path: Path) -> None:
    config = configuration(name, kind)
    results = []
    for broken in (False, True):
        run = Run(tmp_path / f"run-{broken}")
        if broken:
            with pytest.raises(Killed):
                train(config, DATASET, run, False, lambda _: None, 0.0, [Killer()], kind)
        results.append(train(config, DATASET, run, broken, lambda _: None, 0.0, (), kind))
    assert results[0]["valid"] == results[1]["valid"]
    assert results[0]["test"] == results[1]["test"]
    whole, resumed = (
        max((tmp_path / f"run-{broken}").glob("checkpoints/checkpoint-*.npz")) for broken in (False, True)
    )
    with np.load(whole) as one, np.load(resumed) as other:
        for array in set(one.files) - {"progress"}:
            np.testing.assert_array_equal(one[array], other[array], err_msg=array)
