"""The plots of the analyses: each draws the numbers that stand beside it in a JSON file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_fenrec.analysis.similarity import KINDS, PERCENTILES
from tf_fenrec.errors import InputError
from tf_fenrec.files import replacing

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
except ImportError:
    raise InputError("plots need matplotlib: pip install 'tf-fenrec[plots]'") from None

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by colour-blind eyes too
NAMES = {"original": "original negatives", "enduring": "enduring negatives", "positive": "positives"}
MEASURES = {"ndcg@20": "gain in NDCG@20", "log2 rank": "gain in rank (halvings)"}


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def similarity_figure(numbers: dict[str, Any]) -> Figure:
    """Distributions at some epochs above, means and the middle 90% over all epochs below (Fig. 2)."""
    curves, histograms = numbers["curves"], numbers["histograms"]
    figure = Figure(figsize=(3.6 * max(2, len(histograms)), 7), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
    axes = halves[0].subplots(1, len(histograms), squeeze=False, sharey=True)[0]
    for panel, line in zip(axes, histograms, strict=True):
        for color, kind in zip(COLORS, KINDS, strict=False):
            counts = line[kind]["counts"]
            width = line["edges"][1] - line["edges"][0]
            density = [count / sum(counts) / width for count in counts]
            panel.stairs(density, line["edges"], color=color, fill=True, alpha=0.35, label=NAMES[kind])
        panel.set(title=f"epoch {line['epoch']}", xlabel="inner product with the anchor")
    axes[0].set_ylabel("density")
    _legend(halves[0], axes[0], len(KINDS))
    whole = halves[1].subplots()
    for color, kind in zip(COLORS, KINDS, strict=False):
        whole.plot(curves["epoch"], curves[kind]["mean"], color=color, label=NAMES[kind])
        low, high = (curves[kind]["percentiles"][str(percent)] for percent in (PERCENTILES[0], PERCENTILES[-1]))
        whole.fill_between(curves["epoch"], low, high, color=color, alpha=0.15, linewidth=0)
    if numbers["warm_up_epochs"]:
        whole.axvline(numbers["warm_up_epochs"] + 0.5, color="grey", linestyle="--", label="end of the warm-up")
    whole.set(xlabel="epoch", ylabel="inner product with the anchor\n(mean, 5% to 95%)")
    _legend(halves[1], whole, len(KINDS) + 1)
    return figure


def length_figure(numbers: dict[str, Any]) -> Figure:
    """Users as bars, NDCG@20 as a line for each kind of run, by sequence length (Fig. 4)."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    bars = figure.subplots()
    positions = range(len(numbers["groups"]))
    bars.bar(positions, numbers["users"], color="#dddddd")
    bars.set(ylabel="users (bars)", xlabel="interactions of the user, n")
    bars.set_xticks(positions, [_short(group) for group in numbers["groups"]])
    lines = bars.twinx()
    for number, (label, values) in enumerate(numbers["ndcg@20"].items()):
        lines.plot(positions, values, marker="o", color=COLORS[number % len(COLORS)], label=label)
    lines.set(ylabel="test NDCG@20 (lines)")
    lines.set_ylim(bottom=0)
    _legend(figure, lines)
    return figure


def uniformity_figure(numbers: dict[str, Any]) -> Figure:
    """A point a run: item uniformity across, NDCG@20 up (Fig. 5)."""
    figure = Figure(figsize=(6.5, 4.8), layout="constrained")
    panel = figure.subplots()
    labels = list(dict.fromkeys(point["label"] for point in numbers["points"]))
    for number, label in enumerate(labels):
        points = [point for point in numbers["points"] if point["label"] == label]
        panel.scatter(
            [point["uniformity"] for point in points],
            [point["ndcg@20"] for point in points],
            color=COLORS[number % len(COLORS)],
            label=label,
        )
    panel.set(xlabel="item uniformity loss (smaller: more even)", ylabel="test NDCG@20")
    _legend(figure, panel)
    return figure


def sweep_figure(numbers: dict[str, Any]) -> Figure:
    """HR@20 and NDCG@20 against one hyper-parameter, with deviations over seeds (Fig. 6)."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    points = numbers["points"]
    positions = range(len(points))
    for panel, metric, color in zip(figure.subplots(1, 2), ("hr@20", "ndcg@20"), COLORS, strict=False):
        panel.errorbar(
            positions,
            [point[metric] for point in points],
            [point[f"{metric} deviation"] for point in points],
            marker="o",
            capsize=3,
            color=color,
        )
        panel.set_xticks(positions, [f"{point['value']:g}" for point in points])
        panel.set(xlabel=numbers["parameter"].replace("_", " "), ylabel=f"test {metric.upper()}")
    return figure


def gains_figure(numbers: dict[str, Any]) -> Figure:
    """A row for each measure, a column for each grouping, a colour for each idea; over all users in the legend."""
    ideas = numbers["ideas"]
    names = {}
    for idea, everybody in numbers["all users"].items():
        mean, low, high = everybody["ndcg@20"]
        names[idea] = f"from {idea}: {mean:+.4f} NDCG@20 over all users ({low:+.4f} to {high:+.4f})"
    groupings = list(next(iter(ideas.values())))
    figure = Figure(figsize=(5 * len(groupings), 7.5), layout="constrained")
    panels = figure.subplots(len(MEASURES), len(groupings), sharey="row", squeeze=False)
    for row, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for panel, grouping in zip(row, groupings, strict=True):
            _gain_panel(panel, {names[idea]: groups[grouping] for idea, groups in ideas.items()}, measure)
            panel.set_xlabel(f"{grouping} (users)")
        row[0].set_ylabel(f"{title}\n(mean, 95% interval)")
    _legend(figure, panels[0][0])
    return figure


def _legend(figure: FigureBase, axes: Axes, columns: int = 2) -> None:
    """One legend above everything, where it hides nothing."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=columns)


def _short(group: str) -> str:
    """A group's name for an axis: "5 < n <= 10" is "6-10"."""
    if found := re.fullmatch(r"(\d+) < n <= (\d+)", group):
        return f"{int(found[1]) + 1}-{found[2]}"
    return group.replace("n <= ", "up to ").replace("n > ", "over ")


def _gain_panel(panel: Axes, bars: dict[str, list[dict[str, Any]]], measure: str) -> None:
    shift = 0.8 / len(bars)
    groups: Sequence[dict[str, Any]] = []
    for number, (name, groups) in enumerate(bars.items()):
        means, lows, highs = zip(*(group[measure] for group in groups), strict=True)
        below = [mean - low for mean, low in zip(means, lows, strict=True)]
        above = [high - mean for mean, high in zip(means, highs, strict=True)]
        panel.bar(
            [position + number * shift for position in range(len(groups))],
            means,
            width=shift * 0.9,
            yerr=[[max(0.0, value) for value in below], [max(0.0, value) for value in above]],
            capsize=2,
            color=COLORS[number],
            label=name,
        )
    panel.axhline(0, color="black", linewidth=0.8)
    centre = shift * (len(bars) - 1) / 2
    ticks = [f"{_short(group['group'])}\n({group['users']:,})" for group in groups]
    panel.set_xticks([position + centre for position in range(len(groups))], ticks, fontsize=8)
