"""Models beside each other, and counts, against the same sum written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.small_data import random_dataset
from tf_fenrec.data.batches import EvaluationBatches
from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.export.catalogue import catalogue_rows
from tf_fenrec.export.recommender import Recommender
from tf_fenrec.export.saved_model import _served
from tf_fenrec.systems import build_model, load_model, preset
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.blend import Blend, BlendConfig, choose_blend
from tf_fenrec.systems.cooccurrence import Cooccurrence

DATASET = random_dataset(60, 20)
VALIDATION = EvaluationBatches(DATASET, "valid")


def trained(name: str, **changes: object) -> SequenceModel:
    tiny = {"dim": 8, "max_length": 6, "batch_size": 32, "jit": False}
    model = build_model(preset("fair", name, **(tiny | changes)), DATASET)
    model.compile()
    model.fit(DATASET, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def members() -> dict[str, SequenceModel]:
    """One with an item bias and padded rows of its own, one with a mask after the history, one plain."""
    return {
        "lru": trained("lrurec"),
        "bert": trained("bert4rec", num_blocks=1),
        "sas": trained("sasrec", num_blocks=1, max_length=4),
    }


@pytest.fixture(scope="module")
def counts() -> Cooccurrence:
    model = build_model(preset("given", "cooccurrence", max_length=5), DATASET)
    model.fit(DATASET)
    return model


@pytest.fixture(scope="module")
def blend(members: dict[str, SequenceModel], counts: Cooccurrence) -> Blend:
    return choose_blend(members, counts, VALIDATION, log=lambda line: None)


def test_scores_are_the_weighted_sum(members: dict[str, SequenceModel], counts: Cooccurrence, blend: Blend) -> None:
    weights = [0.7, 2.0, 0.5]
    blend.encoder.set_shares(weights, 0.6, 0.03)
    items = np.array([[0, 0, 0, 0, 3, 7], [1, 2, 3, 4, 5, 6]], np.int32)
    expected = sum(weight * model(items).numpy() for weight, model in zip(weights, members.values(), strict=True))
    count = counts(items).numpy()
    expected += 0.6 * np.log1p(count / count.max(axis=1, keepdims=True) / 0.03)
    np.testing.assert_allclose(blend(items), expected, rtol=1e-4, atol=1e-5)


def test_it_is_at_least_as_good_on_validation_as_its_start(
    members: dict[str, SequenceModel], counts: Cooccurrence, blend: Blend
) -> None:
    again = choose_blend(members, counts, VALIDATION, log=lambda line: None)
    assert again.config == blend.config
    found = again.evaluate(VALIDATION, verbose=0, return_dict=True)
    again.encoder.set_shares([1.0] * 3, 0.0, 0.1)
    start = again.evaluate(VALIDATION, verbose=0, return_dict=True)
    assert found["ndcg@20"] >= start["ndcg@20"]


def test_it_is_saved_and_served_like_any_model(
    members: dict[str, SequenceModel], counts: Cooccurrence, tmp_path: Path
) -> None:
    blend = choose_blend(members, counts, VALIDATION, log=lambda line: None)
    blend.save(tmp_path / "blend.keras")
    loaded = load_model(tmp_path / "blend.keras")
    histories = [[1, 2], [3, 4, 5, 6, 7, 8, 9], [7]]
    ids, scores = blend.recommend(histories, k=8)
    for one, other in zip(loaded.recommend(histories, k=8), (ids, scores), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    served, search, _ = _served(blend.encoder, catalogue_rows(blend.encoder), "exact")
    recommender = Recommender(served, search, Vocabulary.of(DATASET), tmp_path)
    history = np.array([[0] * (7 - len(row)) + row for row in histories], np.int64)
    nothing = np.zeros((3, 1), np.int64)
    answer = recommender.recommend(
        *map(tf.constant, (history, np.array([8] * 3, np.int32), np.array([True] * 3), nothing, nothing))
    )
    np.testing.assert_array_equal(answer["ids"], ids)
    np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_blended_is_refused(members: dict[str, SequenceModel], counts: Cooccurrence) -> None:
    with pytest.raises(InputError, match="at least one run"):
        choose_blend({}, counts, VALIDATION)
    with pytest.raises(InputError, match=r"models with vectors\. Received: counts, a Cooccurrence"):
        choose_blend({"counts": counts}, None, VALIDATION)
    with pytest.raises(InputError, match="made of finished runs"):
        build_model(BlendConfig(), DATASET)
