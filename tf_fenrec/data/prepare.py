"""From a raw log to a dataset directory: de-duplication, k-core, time order, numbering, and a report."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tf_fenrec.data.logs import Columns, read_log
from tf_fenrec.data.reader import ITEMS, SEQUENCES
from tf_fenrec.errors import InputError
from tf_fenrec.files import replacing_directory, write_json

USERS, REPORT = "users.txt", "report.json"

_SHORTEST = 3  # training, validation, test
_LONGEST = 1_000_000  # a longer line could pass what read_sequences takes
_QUANTILES = {"min": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}


def prepare(
    log: str | os.PathLike[str],
    out: str | os.PathLike[str],
    columns: Columns,
    *,
    core: int = 5,
    drop_duplicates: bool = False,
) -> dict[str, Any]:
    """Writes the dataset directory `out` from a raw log, whole or not at all.

    In this order: records without user, item or time are dropped; records are put in time order, file order
    breaking ties; with `drop_duplicates`, only the first record of a user with an item stays; then, until
    nothing changes, users with fewer than max(`core`, 3) records and items with fewer than `core` are
    dropped. Users and items are numbered from 1 in the order in which the log first names them.

    `out` then holds `sequences.txt` (`user item item ...`), `items.txt` and `users.txt` (line i: the raw id
    of number i) and `report.json`; `read_sequences` reads it.

    Args:
        log: a file that `read_log` reads.
        out: a directory that does not exist.
        columns: the names of the log's user, item and time columns.
        core: the k of the k-core, at least 1.
        drop_duplicates: whether a user keeps an item only once.

    Returns:
        The content of `report.json`: rows, what was dropped and why, users, items, interactions, density,
        sequence lengths, the log's SHA-256 and the arguments.

    Raises:
        InputError: for a record that breaks a rule, an argument out of range, and when nothing is left.
    """
    log, out = Path(log), Path(out)
    if out.exists():
        raise InputError(f"`out` should not exist yet. Received: {str(out)!r}")
    if core < 1:
        raise InputError(f"`core` should be at least 1. Received: {core}")
    source = read_log(log, columns)
    report: dict[str, Any] = {
        "log": log.name,
        "sha256": _sha256(log),
        "arguments": {**columns._asdict(), "core": core, "drop_duplicates": drop_duplicates},
        "rows": len(source.records) + sum(source.missing.values()),
        "dropped": {f"without_{column}": count for column, count in source.missing.items()},
    }
    records, users, items = _encode(source.records)
    del source  # the strings of every record, most of the memory
    records = records.sort("time", maintain_order=True).drop("time")
    if drop_duplicates:
        complete = len(records)
        records = records.unique(["user", "item"], keep="first", maintain_order=True)
        report["dropped"]["duplicates"] = complete - len(records)
    complete = len(records)
    records, report["core_rounds"] = _core(records, max(core, _SHORTEST), core)
    report["dropped"]["core"] = complete - len(records)
    if records.is_empty():
        raise InputError(
            f"{log}: something should be left with {max(core, _SHORTEST)} records a user and {core} an item "
            f"(see `core`). Received: {report['rows']} records, dropped {report['dropped']}"
        )
    records, user_ids = _renumber(records, "user", users)
    records, item_ids = _renumber(records, "item", items)
    lengths = np.bincount(records["user"].to_numpy())[1:]
    if lengths.max() > _LONGEST:
        raise InputError(f"{log}: a user should have at most {_LONGEST} records. Received: {lengths.max()}")
    report |= {
        "users": len(user_ids),
        "items": len(item_ids),
        "interactions": len(records),
        "density": len(records) / (len(user_ids) * len(item_ids)),
        "lengths": {name: int(np.quantile(lengths, at, method="nearest")) for name, at in _QUANTILES.items()},
    }
    with replacing_directory(out) as temporary:
        _write_lines(temporary / SEQUENCES, _lines(records))
        _write_lines(temporary / ITEMS, item_ids)
        _write_lines(temporary / USERS, user_ids)
        write_json(temporary / REPORT, report)
    return report


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encode(records: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, pl.Series]:
    """Returns the records with ids as UInt32 codes, and the ids of the users and of the items by code.

    Codes count from 0 in the order in which the log first names them.
    """
    names = []
    for column in ("user", "item"):
        known = records[column].unique(maintain_order=True).to_frame().with_row_index("code")
        coded = records.join(known, on=column, how="left", maintain_order="left")
        records = coded.drop(column).rename({"code": column})
        names.append(known[column])
    return records, names[0], names[1]


def _core(records: pl.DataFrame, per_user: int, per_item: int) -> tuple[pl.DataFrame, list[dict[str, int]]]:
    """Drops users and items with too few records until there are none; counts what each round drops."""
    rounds: list[dict[str, int]] = []
    while True:
        user, item = (records[column].to_numpy() for column in ("user", "item"))
        user_counts, item_counts = np.bincount(user), np.bincount(item)
        few = {
            "users": int(np.count_nonzero((user_counts > 0) & (user_counts < per_user))),
            "items": int(np.count_nonzero((item_counts > 0) & (item_counts < per_item))),
        }
        if not any(few.values()):
            return records, rounds
        kept = (user_counts[user] >= per_user) & (item_counts[item] >= per_item)
        rounds.append({**few, "records": int(np.count_nonzero(~kept))})
        records = records.filter(kept)


def _renumber(records: pl.DataFrame, column: str, names: pl.Series) -> tuple[pl.DataFrame, list[str]]:
    """Renumbers the codes that are left from 1, in their order; returns records and names in that order."""
    codes = records[column].to_numpy()
    left = np.zeros(len(names), bool)
    left[codes] = True
    numbers = np.cumsum(left, dtype=np.uint32)
    return records.with_columns(pl.Series(column, numbers[codes])), names.filter(left).to_list()


def _lines(records: pl.DataFrame) -> Iterable[str]:
    """The lines `user item item ...`, users in order, each user's items in the order of the records."""
    sequences = records.sort("user", maintain_order=True).group_by("user", maintain_order=True).agg("item")
    items = pl.col("item").cast(pl.List(pl.String)).list.join(" ")
    return sequences.select(pl.concat_str(pl.col("user").cast(pl.String), items, separator=" ")).to_series()


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
