"""The demo shop: the same everywhere, readable, and ordered in a way that needs more than the last item."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from tf_fenrec.data import SequenceDataset, load
from tf_fenrec.evaluation.baselines import markov_scores, popularity_scores

DIGEST = (
    "import hashlib; from tf_fenrec.data import load; d = load('demo'); "
    "print(hashlib.sha256(d.items.tobytes() + d.offsets.tobytes() + repr(d.item_ids).encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def demo() -> SequenceDataset:
    return load("demo")


def test_processes_agree(demo: SequenceDataset) -> None:
    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout
    here = demo.items.tobytes() + demo.offsets.tobytes() + repr(demo.item_ids).encode()
    assert other.strip() == hashlib.sha256(here).hexdigest()


def test_it_is_a_small_readable_shop(demo: SequenceDataset) -> None:
    assert demo.item_ids is not None
    assert demo.item_names is not None
    assert demo.item_ids[0] == "basmati-rice"
    assert demo.item_names[0] == "Basmati rice"
    assert len(set(demo.item_ids)) == len(demo.item_names) == demo.num_items
    assert all(item_id.replace("-", "").isalpha() for item_id in demo.item_ids)
    assert set(demo.items) == set(range(1, demo.num_items + 1))
    assert 200 <= demo.num_items <= 400
    assert 2000 <= demo.num_users <= 3000
    assert demo.lengths.min() >= 5
    assert demo.lengths.max() <= 30


def test_nobody_buys_a_product_twice(demo: SequenceDataset) -> None:
    users = np.repeat(np.arange(demo.num_users), demo.lengths)
    assert len(np.unique(np.stack([users, demo.items]), axis=1).T) == len(demo.items)


def ndcg_at_20(scores: np.ndarray, targets: np.ndarray) -> float:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    ranks = np.nonzero(best == targets[:, None])[1]
    return float((1 / np.log2(ranks + 2)).sum() / len(targets))


def test_order_beyond_the_last_item_is_what_predicts(demo: SequenceDataset) -> None:
    """Counts of pairs two, three and four apart, seen in the training parts, against the two baselines."""
    rows = demo.num_items + 2
    sequences = [demo.sequence(user) for user in range(demo.num_users)]
    targets = np.array([sequence[-1] for sequence in sequences])
    lags = (2, 3, 4)
    follows = {lag: np.zeros((rows, rows)) for lag in lags}
    for sequence in sequences:
        training = sequence[:-2]
        for lag in lags:
            np.add.at(follows[lag], (training[:-lag], training[lag:]), 1)
    oracle = np.zeros((demo.num_users, rows))
    for user, sequence in enumerate(sequences):
        for lag in lags:
            if len(sequence) > lag:
                row = follows[lag][sequence[-1 - lag]]
                oracle[user] += row / max(row.sum(), 1)
    inputs = np.stack([np.pad(sequence[:-1], (30 - len(sequence), 0)) for sequence in sequences])
    seen = (np.repeat(np.arange(demo.num_users), 29), inputs.ravel())
    measured = {}
    for name, scores in (
        ("oracle", oracle),
        ("popularity", popularity_scores(demo)(inputs)),
        ("markov", markov_scores(demo)(inputs)),
    ):
        scores[seen] = -np.inf
        measured[name] = ndcg_at_20(scores, targets)
    assert measured["popularity"] < 0.2
    assert measured["markov"] < 0.2
    assert measured["oracle"] > 0.6
