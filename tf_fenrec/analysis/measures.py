"""The numbers of the analyses, from finished run directories and results."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_fenrec.analysis.results import Result
from tf_fenrec.config import Config
from tf_fenrec.data import SequenceDataset
from tf_fenrec.data.batches import Protocol
from tf_fenrec.data.held_out import HeldOut
from tf_fenrec.errors import InputError
from tf_fenrec.evaluation import rank_users
from tf_fenrec.paper import ABLATIONS
from tf_fenrec.ranking import LENGTH_EDGES, by_edges
from tf_fenrec.systems import load_model
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.training.run import Run

POPULARITY_EDGES = (5, 10, 20, 50)
NOVELTIES = ("repeated", "next", "soon", "together", "apart")
SOON = 3  # a soft label reaches the target and the next two items
RESAMPLES = 2000
IDEAS = {"soft labels": "without soft labels", "enduring negatives": "without enduring negatives"}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, with the dataset it was trained on.

    Attributes:
        run: its directory.
        config: its hyper-parameters.
        dataset: the sequences.
        result: its `result.json`.
    """

    run: Run
    config: Config
    dataset: SequenceDataset
    result: dict[str, Any]

    @cached_property
    def model(self) -> SequenceModel:
        """The model with the selected weights."""
        return load_model(self.run.best_file)


def open_runs(
    directories: Sequence[Path], dataset: str | None = None, data_dir: Path | None = None
) -> list[FinishedRun]:
    """Finished runs on one dataset.

    Args:
        directories: of the runs.
        dataset: where the dataset is now, if its path has changed.
        data_dir: where benchmark files lie.

    Raises:
        InputError: for a directory without a finished run, for two of one name, by which the numbers go, and when the
            runs' datasets differ.
    """
    [(name, times)] = Counter(directory.resolve().name for directory in directories).most_common(1)
    if times > 1:
        raise InputError(f"`--run` should name directories of different names. Received: {times} called {name}")
    data = Run(directories[0]).load_dataset(dataset, data_dir)
    runs = []
    for directory in directories:
        run = Run(directory)
        run.check_dataset(data)
        if (result := run.result()) is None:
            raise InputError(
                f"{directory}: the run is not finished: go on with `fenrec-train --run {directory} --resume`"
            )
        runs.append(FinishedRun(run, run.config(), data, result))
    return runs


def labels(runs: Sequence[FinishedRun]) -> list[str]:
    """What each run is, whatever its seed: its row in the paper's tables, and the hyper-parameters in which runs of its
    system differ that the row doesn't say."""
    names = [run.config.row or str(run.config.model) for run in runs]
    others = []
    for run, name in zip(runs, names, strict=True):
        said = {"seed"} | set(ABLATIONS[name][2] if name in ABLATIONS else ())
        others.append({key: value for key, value in run.config.to_dict().items() if key not in said})
    found = []
    for run, name, own in zip(runs, names, others, strict=True):
        alike = [other for peer, other in zip(runs, others, strict=True) if peer.config.model == run.config.model]
        differ = [key for key, value in own.items() if any(key in other and other[key] != value for other in alike)]
        found.append(", ".join([name, *(f"{key} {own[key]}" for key in differ)]))
    return found


def by_label(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs that differ by the seed alone, together, in the order of their first."""
    found: dict[str, list[FinishedRun]] = {}
    for label, run in zip(labels(runs), runs, strict=True):
        found.setdefault(label, []).append(run)
    return found


# ---- Fig. 4


def length_lines(runs: Sequence[FinishedRun], protocol: Protocol = "paper") -> dict[str, Any]:
    """NDCG@20 on the test split of user groups by sequence length, each run's and the mean of each label's runs."""
    measured = {}
    for run in runs:
        ranking = rank_users(run.model, run.dataset, "test", protocol)
        measured[run.run.directory.name] = ranking.metrics_by_length(run.dataset.lengths)
    groups = next(iter(measured.values()))
    values = {name: [group["ndcg@20"] for group in rows.values()] for name, rows in measured.items()}
    lines = {
        label: np.mean([values[run.run.directory.name] for run in same], axis=0).tolist()
        for label, same in by_label(runs).items()
    }
    return {
        "groups": list(groups), "users": [row["users"] for row in groups.values()], "ndcg@20": lines, "runs": values,
    }  # fmt: skip


# ---- Fig. 5


def item_uniformity(vectors: np.ndarray) -> float:
    """log of the mean of exp(-2 |x - y|^2) over all pairs of different items, of unit length (DuoRec, Wang & Isola).

    Smaller is more uniform.

    Args:
        vectors: [V, D], of the real items.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total = 0.0
    for begin in range(0, len(unit), 1024):
        squared = 2 - 2 * unit[begin : begin + 1024] @ unit.T
        total += float(np.exp(-2 * squared.clip(0), dtype=np.float64).sum())
    pairs = len(unit) * (len(unit) - 1)
    return float(np.log((total - len(unit)) / pairs))  # an item with itself counts 1 each


def uniformity_points(runs: Sequence[FinishedRun], protocol: Protocol = "paper") -> list[dict[str, Any]]:
    """Item uniformity of each run's selected weights and its NDCG@20 on the test split."""
    return [
        {
            "run": run.run.directory.name,
            "label": label,
            "uniformity": item_uniformity(np.asarray(run.model.encoder.item_embeddings, np.float64)[1:-1]),
            "ndcg@20": run.result["test"][protocol]["ndcg@20"],
        }
        for run, label in zip(runs, labels(runs), strict=True)
    ]


# ---- Fig. 6


def sweep_points(
    results: Sequence[Result], dataset: str, parameter: str, protocol: Protocol = "paper"
) -> list[dict[str, Any]]:
    """HR@20 and NDCG@20 on the test split of the runs that differ from the preset by one hyper-parameter at most.

    Returns:
        For each of its values, in order: `value`, `seeds`, and mean and deviation (0 for one seed) of each metric.
    """
    groups: dict[float, dict[int, Result]] = {}
    for result in results:
        if result.dataset == dataset and set(result.changes) <= {parameter}:
            groups.setdefault(getattr(result.config, parameter), {})[result.config.seed] = result
    points = []
    for value, runs in sorted(groups.items()):
        point: dict[str, Any] = {"value": value, "seeds": sorted(runs)}
        for metric in ("hr@20", "ndcg@20"):
            values = [runs[seed].content["test"][protocol][metric] for seed in sorted(runs)]
            point[metric] = statistics.mean(values)
            point[f"{metric} deviation"] = statistics.stdev(values) if len(values) > 1 else 0.0
        points.append(point)
    return points


# ---- who gains from which idea


def gains(runs: Sequence[FinishedRun], protocol: Protocol = "paper", resamples: int = RESAMPLES) -> dict[str, Any]:
    """What each idea brings to which users and items: FENRec against the run without it, user by user.

    Two measures of a user's gain, means over seeds: the difference in NDCG@20, and how often the target's rank halved,
    log2(rank without / rank with). Each group has the mean over its users and the 95% interval of a paired bootstrap
    over users.

    Args:
        runs: of FENRec and of one ablation or both, one or more seeds each.
        protocol: see `EvaluationBatches`.
        resamples: of the bootstrap.

    Returns:
        `ideas`: {idea: {grouping: [{"group", "users", "ndcg@20", "log2 rank"}]}}, each measure as
        [mean, low, high]; and for each idea `all users`: the two measures over all of them, and how many users' targets
        rank higher, the same and lower (by the mean rank over seeds).
    """
    groups_of_runs = by_label(runs)
    if "FENRec" not in groups_of_runs or not set(IDEAS.values()) & set(groups_of_runs):
        raise InputError(
            f"gains need a run of FENRec and one of {' or '.join(IDEAS.values())} that differ by nothing else. "
            f"Received: {'; '.join(groups_of_runs)}"
        )
    ranks = {
        label: np.stack([rank_users(run.model, run.dataset, "test", protocol).ranks for run in same])
        for label, same in groups_of_runs.items()
    }
    groupings = user_groups(runs[0].dataset)
    found: dict[str, Any] = {"all users": {}, "ideas": {}}
    for idea, without in IDEAS.items():
        if without not in ranks:
            continue
        mean_with, mean_without = ranks["FENRec"].mean(axis=0), ranks[without].mean(axis=0)
        gain = user_values(ranks["FENRec"]) - user_values(ranks[without])
        found["all users"][idea] = _with_intervals(gain, resamples) | {
            "higher": int((mean_with < mean_without).sum()),
            "same": int((mean_with == mean_without).sum()),
            "lower": int((mean_with > mean_without).sum()),
        }
        found["ideas"][idea] = {
            grouping: [
                {"group": name, "users": len(users)} | _with_intervals(gain[users], resamples)
                for name, users in groups.items()
            ]
            for grouping, groups in groupings.items()
        }
    return found


def user_values(ranks: np.ndarray) -> np.ndarray:
    """float64 [U, 2]: NDCG@20 and -log2 rank of each user, means over the seeds of `ranks` int [S, U]."""
    discounted = np.where(ranks <= 20, 1 / np.log2(ranks + 1.0), 0.0)
    return np.stack([discounted.mean(axis=0), -np.log2(ranks).mean(axis=0)], axis=1)


def _with_intervals(gain: np.ndarray, resamples: int) -> dict[str, list[float]]:
    low, high = bootstrap_interval(gain, resamples)
    mean = gain.mean(axis=0)
    return {
        name: [float(mean[column]), float(low[column]), float(high[column])]
        for column, name in enumerate(("ndcg@20", "log2 rank"))
    }


def bootstrap_interval(values: np.ndarray, resamples: int = RESAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """The 2.5% and 97.5% percentiles [M] of the means of resampled rows of values [U, M]; always the same."""
    random = np.random.default_rng(0)
    means = np.stack([values[random.integers(len(values), size=len(values))].mean(axis=0) for _ in range(resamples)])
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return low, high


def user_groups(dataset: SequenceDataset) -> dict[str, dict[str, np.ndarray]]:
    """The users of each group, int [...], by grouping and group; groups without users are left out.

    - `sequence length`: n, with the edges of Fig. 4.
    - `target popularity`: how often the training parts v_1..v_{n-2} hold the test target.
    - `target novelty`: see `target_novelty`.
    """
    targets = dataset.items[HeldOut(dataset, "test").target]
    popularity = np.bincount(dataset.items[dataset.in_training()], minlength=dataset.num_items + 2)
    novelty = target_novelty(dataset)
    return {
        "sequence length": by_edges(dataset.lengths, LENGTH_EDGES),
        "target popularity": by_edges(popularity[targets], POPULARITY_EDGES),
        "target novelty": {
            name: users for number, name in enumerate(NOVELTIES) if len(users := np.flatnonzero(novelty == number))
        },
    }


def target_novelty(dataset: SequenceDataset) -> np.ndarray:
    """How new each user's test target is after the user's history; int [U], a number of `NOVELTIES`, the first true.

    - repeated: the history holds the target.
    - next: in some training part the target comes directly after the history's last item.
    - soon: it comes two or three places after it, as far as a soft label reaches.
    - together: some training part holds the target and an item of the history.
    - apart: none of these.
    """
    rows = dataset.num_items + 2
    held_out = HeldOut(dataset, "test")
    users = np.arange(dataset.num_users)
    targets = dataset.items[held_out.target].astype(np.int64)
    last = dataset.items[held_out.target - 1].astype(np.int64)
    owner = np.repeat(users, dataset.lengths)
    in_history = np.ones(len(owner), bool)
    in_history[held_out.target] = False
    repeated = np.isin(users * rows + targets, (owner * rows + dataset.items)[in_history])

    trained = np.flatnonzero(dataset.in_training())
    follows = [_pairs(dataset, owner, trained, distance) for distance in range(1, SOON + 1)]
    after = [np.isin(last * rows + targets, codes) for codes in follows]

    novelty = np.full(dataset.num_users, NOVELTIES.index("apart"))
    novelty[_together(dataset, targets, owner, trained, held_out)] = NOVELTIES.index("together")
    novelty[np.any(after[1:], axis=0)] = NOVELTIES.index("soon")
    novelty[after[0]] = NOVELTIES.index("next")
    novelty[repeated] = NOVELTIES.index("repeated")
    return novelty


def _pairs(dataset: SequenceDataset, owner: np.ndarray, trained: np.ndarray, distance: int) -> np.ndarray:
    """Codes of the item pairs that stand `distance` apart in someone's training part."""
    inside = np.zeros(len(dataset.items) + distance, bool)
    inside[trained] = True
    begin = trained[inside[trained + distance]]
    begin = begin[owner[begin] == owner[begin + distance]]
    items = dataset.items.astype(np.int64)
    return np.unique(items[begin] * (dataset.num_items + 2) + items[begin + distance])


def _together(
    dataset: SequenceDataset, targets: np.ndarray, owner: np.ndarray, trained: np.ndarray, held_out: HeldOut
) -> np.ndarray:
    """bool [U], whether some training part holds the user's target and an item of the user's history."""
    order = trained[np.argsort(dataset.items[trained], kind="stable")]
    begins = np.searchsorted(dataset.items[order], np.arange(dataset.num_items + 3))
    together = np.zeros(dataset.num_users, bool)
    by_target = np.argsort(targets, kind="stable")
    for users in np.split(by_target, np.flatnonzero(np.diff(targets[by_target])) + 1):
        item = targets[users[0]]
        companion = np.zeros(dataset.num_items + 2, bool)
        for holder in np.unique(owner[order[begins[item] : begins[item + 1]]]):
            companion[dataset.items[dataset.offsets[holder] : dataset.offsets[holder + 1] - 2]] = True
        for user in users:
            together[user] = companion[dataset.items[held_out.history_start[user] : held_out.target[user]]].any()
    return together
