"""The analyses on runs that train in seconds, against slow computations of the same."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.hand_made import result, write
from tests.materialised import hard_negatives
from tests.small_data import dataset_of, random_dataset
from tests.training import tiny_run
from tf_fenrec.analysis.measures import (
    NOVELTIES,
    bootstrap_interval,
    item_uniformity,
    sweep_points,
    target_novelty,
    user_groups,
    user_values,
)
from tf_fenrec.analysis.results import read_results
from tf_fenrec.analysis.similarity import FILE, SimilarityLog, read_similarity, similarities, summary
from tf_fenrec.cli.analyse import main
from tf_fenrec.data import SequenceDataset, load
from tf_fenrec.evaluation import evaluate
from tf_fenrec.systems import build_model, load_model
from tf_fenrec.training import trainer
from tf_fenrec.training.run import Run

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "again": {"seed": 1},
    "soft": {"gamma": 0.0},
    "hard": {"hard_negatives": False},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of FENRec (two seeds) and without each idea on one small dataset.

    The first is trained, with similarities measured; of the others only what the analyses read is there: the
    configuration, a model (as it was initialised) and the result.
    """
    folder = tmp_path_factory.mktemp("analyses")
    shop = tiny_run.dataset()
    lines = [f"{user} {' '.join(map(str, shop.sequence(user)))}" for user in range(shop.num_users)]
    (folder / "tiny.txt").write_text("\n".join(lines))
    data = load(folder / "tiny.txt")
    for name, changes in VARIANTS.items():
        config = dataclasses.replace(tiny_run.CONFIG, **changes)
        run = Run(folder / name)
        if name == "full":
            log = SimilarityLog(config, data, run)
            trainer.train(config, data, run, log=lambda line: None, callbacks=[log])
            continue
        run.create(config, data)
        model = build_model(dataclasses.replace(config, seed=10 * list(VARIANTS).index(name)), data.num_items)
        model.save(run.best_file)
        write(run.directory, "result", {"test": {"paper": evaluate(model, data, "test")}})
    return folder


def analyse(folder: Path, kind: str, *arguments: str) -> dict[str, Any]:
    """Runs the tool, checks its picture, and returns its numbers."""
    out = folder / f"out-{kind}"
    assert main([kind, *arguments, "--out", str(out)]) == 0
    (numbers,) = out.glob("*.json")
    picture = numbers.with_suffix(".png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    return json.loads(numbers.read_text())


@functools.cache
def slow_ranks(folder: Path, name: str) -> list[int]:
    """The rank of every user's test target, by scores of one padded sequence at a time (`paper` protocol)."""
    model, data = load_model(folder / name / "best.keras"), load(folder / "tiny.txt")
    ranks = []
    for user in range(data.num_users):
        *history, target = data.sequence(user).tolist()
        recent = history[-10:]
        scores = model(np.array([[0] * (10 - len(recent)) + recent], np.int32)).numpy()[0]
        scores[history] = 0
        ranks.append(1 + sum(s > scores[target] or (s == scores[target] and i < target) for i, s in enumerate(scores)))
    return ranks


def ndcg(rank: int) -> float:
    return 1 / math.log2(rank + 1) if rank <= 20 else 0.0


# ---- Fig. 2


def test_similarities_are_inner_products_with_materialised_negatives() -> None:
    rng = np.random.default_rng(0)
    view1, view2 = tf.constant(rng.normal(size=(2, 5, 4)), tf.float32)
    ids = np.array([3, 1, 3, 2, 7])  # rows 0 and 2 are no negatives of each other
    found = similarities(view1, view2, ids, 0.3)
    z = np.concatenate([view1, view2])
    hard = hard_negatives(tf.constant(z), tf.constant(z), 0.3).numpy()
    both = np.concatenate([ids, ids])
    pairs = [(a, n) for a in range(10) for n in range(10) if both[a] != both[n]]
    np.testing.assert_allclose(sorted(found["original"]), sorted(z[a] @ z[n] for a, n in pairs), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        sorted(found["enduring"]), sorted(z[a] @ hard[a, n] for a, n in pairs), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(found["positive"], [z[a] @ z[(a + 5) % 10] for a in range(10)], rtol=1e-5)


def test_the_summary_counts_everything_once() -> None:
    values = {"original": np.array([0.0, 1.0, 2.0]), "enduring": np.array([3.0, 4.0]), "positive": np.array([9.0])}
    numbers = summary(values)
    assert numbers["edges"][0] == 0
    assert numbers["edges"][-1] == 9
    assert [sum(numbers[kind]["counts"]) for kind in values] == [3, 2, 1]
    assert numbers["original"]["mean"] == 1
    assert numbers["enduring"]["percentiles"][2] == 3.5  # the median


def test_similarity_of_a_run(folder: Path) -> None:
    numbers = analyse(folder, "similarity", "--run", str(folder / "full"), "--epochs", "1", "3", "25")
    curves = numbers["curves"]
    assert curves["epoch"] == [1, 2, 3]
    # Mixing the anchor in makes a negative more like it, in the mean over a batch.
    assert np.all(np.subtract(curves["enduring"]["mean"], curves["original"]["mean"]) > 0)
    assert np.all(np.diff([curves["positive"]["percentiles"][key] for key in ("5", "50", "95")], axis=0) >= 0)
    assert [line["epoch"] for line in numbers["histograms"]] == [1, 3]
    for line in numbers["histograms"]:
        rows = 2 * tiny_run.CONFIG.batch_size
        assert sum(line["positive"]["counts"]) == rows
        assert sum(line["original"]["counts"]) == sum(line["enduring"]["counts"]) <= rows * (rows - 2)


def test_measuring_leaves_the_model_alone_and_repeats_after_a_break(folder: Path, tmp_path: Path) -> None:
    data, config = load(folder / "tiny.txt"), tiny_run.CONFIG
    log = SimilarityLog(config, data, Run(tmp_path))
    model = build_model(config, data.num_items)
    log.set_model(model)
    before = [np.array(weight) for weight in model.weights]
    for epoch in range(3):
        log.on_epoch_end(epoch)
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    lines = read_similarity(tmp_path / FILE)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all({**line, "epoch": 1} == lines[0] for line in lines)  # the same batch and the same dropout
    log.on_epoch_end(1)  # the second epoch again, after a break
    assert read_similarity(tmp_path / FILE) == lines[:2]


def test_a_batch_of_one_target_measures_nothing(tmp_path: Path) -> None:
    data = dataset_of([[1, 2, 3, 4], [3, 2, 1, 4]])  # two examples, and 2 is the target of both
    config = dataclasses.replace(tiny_run.CONFIG, batch_size=2, fine_weight=0.0)
    log = SimilarityLog(config, data, Run(tmp_path))
    log.set_model(build_model(config, data.num_items))
    log.on_epoch_end(0)
    assert read_similarity(tmp_path / FILE) == []


def test_an_unmeasured_run_is_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["similarity", "--run", str(folder / "soft"), "--out", str(folder)]) == 2
    assert f"has no {FILE}" in capsys.readouterr().err


# ---- Fig. 4


def test_length_lines(folder: Path) -> None:
    runs = [str(folder / name) for name in ("full", "again", "soft")]
    numbers = analyse(folder, "lengths", "--run", *runs)
    lengths = load(folder / "tiny.txt").lengths
    edges = {"n <= 5": (0, 5), "5 < n <= 10": (5, 10), "10 < n <= 20": (10, 20), "20 < n <= 30": (20, 30)}
    values = {name: [ndcg(rank) for rank in slow_ranks(folder, name)] for name in ("full", "again", "soft")}
    assert numbers["groups"] == [name for name, (a, b) in edges.items() if any(a < n <= b for n in lengths)]
    for number, group in enumerate(numbers["groups"]):
        low, high = edges[group]
        inside = [low < n <= high for n in lengths]
        assert numbers["users"][number] == sum(inside)
        mean = {name: np.mean([v for v, i in zip(values[name], inside, strict=True) if i]) for name in values}
        assert numbers["ndcg@20"]["FENRec"][number] == pytest.approx((mean["full"] + mean["again"]) / 2, abs=1e-6)
        assert numbers["ndcg@20"]["without soft labels"][number] == pytest.approx(mean["soft"], abs=1e-6)
        assert numbers["runs"]["again"][number] == pytest.approx(mean["again"], abs=1e-6)


# ---- Fig. 5


def test_item_uniformity_is_that_of_all_pairs() -> None:
    vectors = np.random.default_rng(0).normal(size=(1500, 3))  # more than one block
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    first, second = np.triu_indices(len(unit), 1)
    squared = ((unit[first] - unit[second]) ** 2).sum(axis=1)
    assert item_uniformity(vectors) == pytest.approx(np.log(np.exp(-2 * squared).mean()), rel=1e-9)
    assert item_uniformity(np.array([[2.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)  # opposite: log e^(-2 * 4)
    assert item_uniformity(np.array([[2.0, 1.0], [4.0, 2.0]])) == pytest.approx(0)  # the same direction


def test_uniformity_of_runs(folder: Path) -> None:
    numbers = analyse(folder, "uniformity", "--run", *(str(folder / name) for name in VARIANTS))
    assert [point["label"] for point in numbers["points"]] == [
        "FENRec", "FENRec", "without soft labels", "without enduring negatives",
    ]  # fmt: skip
    point = numbers["points"][2]
    assert point["ndcg@20"] == json.loads((folder / "soft" / "result.json").read_text())["test"]["paper"]["ndcg@20"]
    table = np.asarray(load_model(folder / "soft" / "best.keras").encoder.item_embeddings)
    assert point["uniformity"] == pytest.approx(item_uniformity(table[1:-1].astype(np.float64)), rel=1e-6)


# ---- Fig. 6


def test_sweep(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write(results, "preset", result("toys", 0.08, 0.15))
    write(results, "low", result("toys", 0.07, 0.14, gamma=0.1))
    write(results, "low-again", result("toys", 0.09, 0.14, gamma=0.1, seed=1))
    write(results, "short", result("toys", 0.01, gamma=0.3, epochs=12))
    write(results, "other", result("yelp", 0.01, gamma=0.3))
    numbers = analyse(tmp_path, "sweep", "--parameter", "gamma", "--dataset", "toys", "--results", str(results))
    low, preset = numbers["points"]
    assert (low["value"], low["seeds"], low["hr@20"]) == (0.1, [0, 1], 0.14)
    assert low["ndcg@20"] == pytest.approx(0.08)
    assert low["ndcg@20 deviation"] == pytest.approx(0.02 / math.sqrt(2))
    assert (preset["value"], preset["ndcg@20"], preset["ndcg@20 deviation"]) == (0.2, 0.08, 0)
    assert not sweep_points(list(read_results(results).values()), "toys", "batch_size")[1:]


# ---- who gains


def test_gains(folder: Path) -> None:
    runs = [str(folder / name) for name in VARIANTS]
    numbers = analyse(folder, "gains", "--run", *runs)
    ranks = {name: np.array(slow_ranks(folder, name)) for name in VARIANTS}
    data = load(folder / "tiny.txt")
    for idea, name in (("soft labels", "soft"), ("enduring negatives", "hard")):
        users = np.arange(data.num_users)
        gain = [(ndcg(ranks["full"][u]) + ndcg(ranks["again"][u])) / 2 - ndcg(ranks[name][u]) for u in users]
        halvings = [math.log2(ranks[name][u]) - math.log2(ranks["full"][u] * ranks["again"][u]) / 2 for u in users]
        with_idea = (ranks["full"] + ranks["again"]) / 2
        everybody = numbers["all users"][idea]
        assert everybody["higher"] == sum(with_idea < ranks[name])
        assert everybody["same"] == sum(with_idea == ranks[name])
        assert everybody["lower"] == sum(with_idea > ranks[name])
        groups = [(everybody, users)]
        for grouping, of_grouping in numbers["ideas"][idea].items():
            assert sum(group["users"] for group in of_grouping) == data.num_users
            groups += [(group, user_groups(data)[grouping][group["group"]]) for group in of_grouping]
        for group, users in groups:
            for values, measure in ((gain, "ndcg@20"), (halvings, "log2 rank")):
                mean, low, high = group[measure]
                assert mean == pytest.approx(np.mean(np.array(values)[users]), abs=1e-9)
                assert low <= mean + 1e-12
                assert high >= mean - 1e-12


def test_gains_need_runs_that_differ_by_the_idea_alone(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["gains", "--run", str(folder / "full"), str(folder / "again"), "--out", str(folder)]) == 2
    assert "gains need a run of FENRec and one of without soft labels" in capsys.readouterr().err


def test_the_interval_is_that_of_the_mean() -> None:
    # 95% of a normal mean: +-1.96 standard errors.
    values = np.random.default_rng(1).normal(5, 2, (400, 1))
    low, high = bootstrap_interval(values)
    error = values.std() / math.sqrt(400)
    assert low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert bootstrap_interval(np.array([[3.0]])) == (3, 3)


def test_user_values() -> None:
    values = user_values(np.array([[1, 20, 21], [3, 20, 21]]))
    np.testing.assert_allclose(values[:, 0], [(1 + 0.5) / 2, 1 / math.log2(21), 0])
    np.testing.assert_allclose(values[:, 1], [-math.log2(3) / 2, -math.log2(20), -math.log2(21)])


def slow_novelty(data: SequenceDataset, user: int) -> str:
    sequences = [data.sequence(number).tolist() for number in range(data.num_users)]
    *history, target = sequences[user]
    parts = [sequence[:-2] for sequence in sequences]

    def comes_after(places: int) -> bool:
        return any((history[-1], target) in zip(part, part[places:], strict=False) for part in parts)

    if target in history:
        return "repeated"
    if comes_after(1):
        return "next"
    if comes_after(2) or comes_after(3):
        return "soon"
    return "together" if any(target in part and set(part) & set(history) for part in parts) else "apart"


@pytest.mark.parametrize("seed", range(4))
def test_target_novelty(seed: int) -> None:
    data = random_dataset(users=60, num_items=60, longest=9, seed=seed)
    found = [NOVELTIES[number] for number in target_novelty(data)]
    assert found == [slow_novelty(data, user) for user in range(data.num_users)]
    assert len(set(found)) >= 4


def test_every_user_is_in_one_group_of_each_grouping() -> None:
    data = dataset_of([[1, 2, 3], [3, 1, 2, 1], [2] * 12, [4, 4, 5]], 6)
    groups = user_groups(data)
    for users in groups.values():
        assert sorted(np.concatenate(list(users.values()))) == [0, 1, 2, 3]
    # Training parts: 1 | 3 1 | 2 x 10 | 4. Targets 3, 1, 2 and 5 stand there 1, 2, 10 and 0 times.
    assert {name: users.tolist() for name, users in groups["target popularity"].items()} == {
        "n <= 5": [0, 1, 3], "5 < n <= 10": [2],
    }  # fmt: skip
    assert groups["sequence length"]["n <= 5"].tolist() == [0, 1, 3]


def test_an_unfinished_run_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Run(tmp_path / "run").create(tiny_run.CONFIG, load(folder / "tiny.txt"))
    assert main(["lengths", "--run", str(tmp_path / "run"), "--out", str(tmp_path)]) == 2
    assert "the run is not finished" in capsys.readouterr().err


def test_two_runs_of_one_name_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [str(folder / "full"), str(folder / "soft" / ".." / "full")]
    assert main(["lengths", "--run", *runs, "--out", str(tmp_path)]) == 2
    assert "should name directories of different names. Received: 2 called full" in capsys.readouterr().err


def test_protocols_have_files_of_their_own(folder: Path, tmp_path: Path) -> None:
    for protocol in ("paper", "strict"):
        given = ["lengths", "--run", str(folder / "full"), "--protocol", protocol, "--out", str(tmp_path)]
        assert main(given) == 0
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert len(list(tmp_path.glob("*-strict.png"))) == 1
