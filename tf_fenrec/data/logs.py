"""Raw logs: CSV, TSV, JSON lines and Parquet as one frame of (user, item, time), in file order."""

from __future__ import annotations

import bisect
import contextlib
import difflib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
from polars.exceptions import PanicException, PolarsError

from tf_fenrec.data.lines import blocks, line_error, record_ends, shown
from tf_fenrec.errors import InputError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".json", ".jsonl", ".ndjson")
_PARQUET = ".parquet"
_SAMPLE = 1000  # lines of JSON in which every column should occur
_NAMED = 30  # columns that a message names
_SLICE = 1 << 20  # rows of Parquet that are cleaned at a time
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_JSON_RULE = "a line should be one JSON object, in UTF-8"
_PYTHON_RULE = f"{_JSON_RULE}; this is a Python dict (older Amazon files have them): rewrite the file with json.dumps"
_ID_RULE = "ids should hold no control characters, such as line breaks"
_TIME_RULE = "times should be numbers, or ISO 8601 dates such as 2014-07-01 or 2014-07-01T12:30:00, one kind in a file"


class Columns(NamedTuple):
    """The names of the three columns to read."""

    user: str
    item: str
    time: str


@dataclass(frozen=True)
class Log:
    """The complete records of a log, or of a part of it.

    Attributes:
        records: `user` and `item` (String), `time` (Int64 or Float64), in file order.
        missing: how many more records lack a user, an item or a time; each counts once, in this order.
        dated: whether times are dates; None when there was none.
    """

    records: pl.DataFrame
    missing: dict[str, int]
    dated: bool | None


class _FaultError(Exception):
    """A value breaks a rule; `row` counts from 0 in the frame that was cleaned."""

    def __init__(self, row: int, rule: str, received: str) -> None:
        super().__init__(rule)
        self.row, self.rule, self.received = row, rule, received


def read_log(path: Path, columns: Columns) -> Log:
    """Reads the three columns of a log; the suffix of `path` (before a `.gz`) tells the format.

    Ids are kept as they are written; numbers in JSON and Parquet become their decimal text, whole ones
    without a fraction. Times are numbers of any unit or ISO 8601 dates (UTC unless they name a zone). A
    record whose user, item or time is null, absent or blank is counted and left out.

    Raises:
        InputError: at the first record that breaks a rule, naming file and line (in Parquet: row).
    """
    if len(set(columns)) < 3:
        raise InputError(f"user, item and time should be three columns. Received: {', '.join(columns)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    form = path.suffix.lower()
    if form == ".gz":
        form = Path(path.stem).suffix.lower()
    if form in _SEPARATORS:
        parts = _read_delimited(path, columns, _SEPARATORS[form])
    elif form in _JSON_LINES:
        parts = _read_json_lines(path, columns)
    elif path.suffix.lower() == _PARQUET:
        parts = _read_parquet(path, columns)
    else:
        names = ", ".join((*_SEPARATORS, *_JSON_LINES))
        raise InputError(f"{path}: the name should end in {names} (each also with .gz) or {_PARQUET}")
    logs = list(parts)
    if not any(len(log.records) or any(log.missing.values()) for log in logs):
        raise line_error(path, 1, "the log should hold at least one record", "")
    return Log(
        records=pl.concat([log.records for log in logs], how="vertical_relaxed", rechunk=True),
        missing={column: sum(log.missing[column] for log in logs) for column in Columns._fields},
        dated=logs[-1].dated,
    )


def _read_delimited(path: Path, columns: Columns, separator: str) -> Iterator[Log]:
    """CSV or TSV whose first line names the columns."""
    header = next(blocks(path), (1, b""))[1].split(b"\n", 1)[0]
    names = header.removeprefix(_BYTE_ORDER_MARK) + b"\n"

    def parse(records: bytes) -> pl.DataFrame:
        # All columns: polars counts a record's fields only when it keeps them all.
        return pl.read_csv(names + records, separator=separator, infer_schema=False)

    try:
        found = parse(b"").columns
    except PolarsError as error:
        raise line_error(path, 1, "the first line should name the columns, in UTF-8", header) from error
    _check_columns(path, columns, found)
    rule = f"a record should be UTF-8 text of at most {len(found)} fields, each quoted whole or not at all"

    def records() -> Iterator[tuple[int, bytes]]:
        for number, data in blocks(path, quoted=True):
            yield (number, data) if number > 1 else (2, data[len(header) + 1 :])

    return _clean_text(path, columns, records(), parse, lambda record: rule, quoted=True)


def _read_json_lines(path: Path, columns: Columns) -> Iterator[Log]:
    """One JSON object a line; every column should occur in the first lines, other keys are ignored."""
    sample = next(blocks(path), (1, b""))[1].split(b"\n", _SAMPLE)[:_SAMPLE]
    found: dict[str, None] = {}
    for line in sample:
        with contextlib.suppress(ValueError, RecursionError):  # `parse` will word it
            value = json.loads(line)
            found |= dict.fromkeys(value) if isinstance(value, dict) else {}
    if found:
        _check_columns(path, columns, list(found))
    schema = dict.fromkeys(columns, pl.String)

    def parse(lines: bytes) -> pl.DataFrame:
        return pl.read_ndjson(lines, schema=schema)

    def describe(line: bytes) -> str:
        return _PYTHON_RULE if re.match(rb"\s*\{\s*u?'", line) else _JSON_RULE

    return _clean_text(path, columns, blocks(path), parse, describe, quoted=False)


def _clean_text(
    path: Path,
    columns: Columns,
    pieces: Iterator[tuple[int, bytes]],
    parse: Callable[[bytes], pl.DataFrame],
    describe: Callable[[bytes], str],
    quoted: bool,
) -> Iterator[Log]:
    """Parses and cleans blocks of records; bisects to the line of a fault, the parser being the judge."""
    dated: bool | None = None

    def attempt(records: bytes) -> Log | Exception:
        try:
            return _clean(parse(records), columns, dated)
        except (PolarsError, PanicException, _FaultError) as error:
            return error

    for number, data in pieces:
        log = attempt(data)
        if isinstance(log, Exception):
            ends = [0, *record_ends(data, quoted).tolist()]
            last = bisect.bisect_left(
                ends, True, lo=1, hi=len(ends) - 1, key=lambda end: isinstance(attempt(data[:end]), Exception)
            )
            error, record = attempt(data[: ends[last]]), data[ends[last - 1] : ends[last]].rstrip(b"\n")
            line = number + data.count(b"\n", 0, ends[last - 1])
            if isinstance(error, _FaultError):
                raise line_error(path, line, error.rule, error.received)
            raise line_error(path, line, describe(record), record) from log
        dated = log.dated
        yield log


def _read_parquet(path: Path, columns: Columns) -> Iterator[Log]:
    """Columns of strings and numbers, times also of dates."""
    try:
        _check_columns(path, columns, list(pl.read_parquet_schema(path)))
        table = pl.read_parquet(path, columns=list(columns))
    except (PolarsError, PanicException) as error:
        raise InputError(f"{path}: the file should be Parquet. Received: {shown(str(error))}") from error
    for column, dtype in table.schema.items():
        text = dtype in (pl.String, pl.Categorical, pl.Enum)
        if not (text or dtype.is_numeric() or (column == columns.time and dtype in (pl.Date, pl.Datetime))):
            raise InputError(f"{path}: column `{column}` should hold strings or numbers. Received: {dtype}")
    dated: bool | None = None
    for begin in range(0, len(table), _SLICE):
        try:
            log = _clean(table[begin : begin + _SLICE].select(_as_text(table.schema)), columns, dated)
        except _FaultError as fault:
            row = begin + fault.row + 1
            raise InputError(f"{path}: row {row}: {fault.rule}. Received: {shown(fault.received)}") from fault
        dated = log.dated
        yield log


def _as_text(schema: pl.Schema) -> list[pl.Expr]:
    """Expressions that turn numbers and dates into decimal text, whole numbers without a fraction."""
    texts = []
    for name, dtype in schema.items():
        value = pl.col(name)
        if dtype.is_temporal():
            value = value.to_physical()
        if dtype.is_float():
            value = value.fill_nan(None)
            whole = value.cast(pl.Int64, strict=False)
            texts.append(pl.when(whole == value).then(whole.cast(pl.String)).otherwise(value.cast(pl.String)))
        else:
            texts.append(value.cast(pl.String))
    return texts


def _check_columns(path: Path, columns: Columns, found: list[str]) -> None:
    for role, name in columns._asdict().items():
        if name not in found:
            near = ", ".join(map(shown, difflib.get_close_matches(name, found, cutoff=0.5))) or "none"
            names = ", ".join(map(shown, found[:_NAMED]))
            raise InputError(
                f"{path}:1: `{role}` should name a column: {names}. Nearest: {near}. Received: {shown(name)}"
            )


def _clean(frame: pl.DataFrame, columns: Columns, dated: bool | None) -> Log:
    """Takes String columns; drops incomplete records and turns times into numbers.

    `dated` says what the times before this frame were; None lets the first one decide.
    """
    frame = frame.select(pl.col(name).alias(role) for role, name in columns._asdict().items())
    blank = frame.select(pl.all().fill_null("").str.strip_chars() == "")
    user, item, time = blank["user"], blank["item"], blank["time"]
    first_blank = {"user": user, "item": ~user & item, "time": ~user & ~item & time}
    missing = {column: int(rows.sum()) for column, rows in first_blank.items()}
    records = frame.with_row_index("row").filter(~(user | item | time))
    for role in ("user", "item"):
        _check(records, role, ~records[role].str.contains(r"\p{Cc}"), _ID_RULE)
    text = records["time"].str.strip_chars()
    if dated is None and len(text):
        dated = not _is_number(text[0])
    times = _dates(text) if dated else _numbers(text)
    _check(records, "time", times.is_not_null(), _TIME_RULE)
    return Log(records.select("user", "item", times.alias("time")), missing, dated)


def _check(records: pl.DataFrame, role: str, valid: pl.Series, rule: str) -> None:
    if not valid.all():
        row, received = records.filter(~valid).select("row", role).row(0)
        raise _FaultError(row, rule, received)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(text: pl.Series) -> pl.Series:
    """Int64 where all are whole (64-bit stamps don't fit a float), else Float64; null if not finite."""
    whole = text.cast(pl.Int64, strict=False)
    if not whole.has_nulls():
        return whole
    number = text.cast(pl.Float64, strict=False)
    return number.set(~number.is_finite(), None)


def _dates(text: pl.Series) -> pl.Series:
    """Int64 microseconds since 1970; null where not an ISO 8601 date."""
    stamp = pl.col("time").str.replace(" ", "T", literal=True).str
    zoned = stamp.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")
    local = stamp.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us", time_zone="UTC")
    day = stamp.to_datetime("%Y-%m-%d", strict=False, time_unit="us", time_zone="UTC")
    return text.to_frame().select(pl.coalesce(local, zoned, day).to_physical()).to_series()
