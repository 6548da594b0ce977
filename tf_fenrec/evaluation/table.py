"""Metrics as a small text table."""

from __future__ import annotations

from collections.abc import Mapping


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """One line a row, one column a metric in order of appearance; a metric that a row lacks is left blank."""
    columns = list(dict.fromkeys(metric for metrics in rows.values() for metric in metrics))
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(f"{column:>12}" for column in columns)]
    for name, metrics in rows.items():
        cells = (_cell(metrics[column]) if column in metrics else "" for column in columns)
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"
