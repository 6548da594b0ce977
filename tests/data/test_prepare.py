"""Preparing a log: an independent slow computation, every format, and what each mistake is answered with."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_logs import FORMATS, LOG, NAMES, Record, content

from tf_fenrec.cli.prepare import main
from tf_fenrec.data import read_sequences
from tf_fenrec.data.logs import Columns
from tf_fenrec.data.prepare import prepare
from tf_fenrec.errors import InputError


def slow(records: list[Record], core: int, drop_duplicates: bool) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """The rules one record at a time; users with their items in time order, and the item vocabulary."""
    complete = [record for record in records if None not in record and "" not in record]
    users = list(dict.fromkeys(user for user, _, _ in complete))
    items = list(dict.fromkeys(item for _, item, _ in complete))
    complete.sort(key=lambda record: record[2])
    left = [(user, item) for user, item, _ in complete]
    if drop_duplicates:
        left = list(dict.fromkeys(left))
    while True:
        per_user, per_item = Counter(user for user, _ in left), Counter(item for _, item in left)
        kept = [pair for pair in left if per_user[pair[0]] >= max(core, 3) and per_item[pair[1]] >= core]
        if len(kept) == len(left):
            break
        left = kept
    sequences = [(user, [item for other, item in left if other == user]) for user in users]
    return [pair for pair in sequences if pair[1]], [item for item in items if any(item == other for _, other in left)]


def few(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


RECORDS = st.lists(
    st.tuples(few("u", "é x", "-1", "007", "", None), few("a", "b", "c,d", "e f", None), few(1, 2, 3, -5, None)),
    max_size=60,
)


@settings(max_examples=200)
@given(records=RECORDS, core=st.integers(1, 4), drop_duplicates=st.booleans(), form=few("json", "parquet"))
def test_equals_the_slow_computation(records: list[Record], core: int, drop_duplicates: bool, form: str) -> None:
    sequences, items = slow(records, core, drop_duplicates)
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder, f"log.{form}"), Path(folder, "out")
        log.write_bytes(content(records, form))
        if not sequences:
            with pytest.raises(InputError):
                prepare(log, out, NAMES, core=core, drop_duplicates=drop_duplicates)
            assert [path.name for path in Path(folder).iterdir()] == [log.name]
            return
        report = prepare(log, out, NAMES, core=core, drop_duplicates=drop_duplicates)
        dataset = read_sequences(out)
        users = (out / "users.txt").read_text(encoding="utf-8").splitlines()
    assert dataset.item_ids is not None
    assert sorted(dataset.item_ids) == sorted(items)
    read = [(user, [dataset.item_ids[item - 1] for item in dataset.sequence(row)]) for row, user in enumerate(users)]
    assert read == sequences
    dropped = sum(report["dropped"].values())
    assert report["rows"] == len(records) == dropped + report["interactions"]
    assert report["dropped"]["core"] == sum(found["records"] for found in report["core_rounds"])
    assert report["interactions"] == len(dataset.items)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same(tmp_path: Path, form: str) -> None:
    log, out = tmp_path / f"reviews.2014.{form}", tmp_path / "out"
    log.write_bytes(content([*LOG, (None, "B1", 5), ("A1", None, 5), ("A1", "B1", None)], form))
    report = prepare(log, out, NAMES)
    dropped = {"without_user": 1, "without_item": 1, "without_time": 1, "core": 0}
    assert (report["rows"], report["dropped"]) == (75, dropped)
    sequences, items = slow(LOG, 5, False)
    assert (out / "items.txt").read_text() == "".join(f"{item}\n" for item in items)
    lines = (out / "sequences.txt").read_text().splitlines()
    number = {item: str(place) for place, item in enumerate(items, start=1)}
    assert lines == [
        " ".join([str(place), *(number[item] for item in history)])
        for place, (_, history) in enumerate(sequences, start=1)
    ]
    assert json.loads((out / "report.json").read_text()) == report


def test_script_prints_the_report(tmp_path: Path) -> None:
    log = tmp_path / "log.json.gz"
    log.write_bytes(content(LOG, "json.gz"))
    script = Path(__file__).parents[2] / "trainers" / "prepare.py"
    options = [f"--{role}={name}" for role, name in NAMES._asdict().items()]
    command = [sys.executable, str(script), str(log), *options, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "log.json.gz: 72 records" in done.stdout
    assert "= 9 users, 7 items, 72 interactions" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr == f"error: `out` should not exist yet. Received: '{tmp_path}/out'\n"


def prepared_ids(tmp_path: Path, name: str, data: bytes) -> tuple[list[str], list[str]]:
    """Prepares a file with one user; returns the items in the order of the user's sequence, and the users."""
    (tmp_path / name).write_bytes(data)
    prepare(tmp_path / name, tmp_path / "out", Columns("u", "i", "t"), core=1)
    dataset = read_sequences(tmp_path / "out")
    assert dataset.item_ids is not None
    users = (tmp_path / "out" / "users.txt").read_text(encoding="utf-8").split("\n")[:-1]
    return [dataset.item_ids[item - 1] for item in dataset.items], users


def test_json_numbers_become_text(tmp_path: Path) -> None:
    lines = (
        b'{"u": 7, "i": 12, "t": 2.5}\n{"u": 7.0, "i": 1.50, "t": 3}\n\n{"u": "7", "i": "x", "t": "1e0"}\n'
        b'{"u": 7, "i": "\xe2\x80\xa8y", "t": 4, "i2": 123456789012345678901234567890}\n'
    )
    assert prepared_ids(tmp_path, "log.json", lines) == (["x", "12", "1.5", "\u2028y"], ["7"])


def test_csv_ids_stay_as_written(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf"u",t,i\r\n007,3,1.0\r\n007,1,"a ""b"", c"\r\n007,2, x\r\n7,1,y\r\n'
    assert prepared_ids(tmp_path, "log.csv", text) == (['a "b", c', " x", "1.0"], ["007"])


def test_parquet_numbers_and_dates(tmp_path: Path) -> None:
    begin = datetime(2014, 7, 1)
    frame = pl.DataFrame(
        {
            "u": [1.0, 1.0, 1.0, float("nan")],
            "i": pl.Series(["b", "a", "c", "d"], dtype=pl.Categorical),
            "t": pl.Series([begin + timedelta(microseconds=us) for us in (2, 1, 3, 0)], dtype=pl.Datetime("ns")),
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    assert prepared_ids(tmp_path, "log.parquet", buffer.getvalue()) == (["a", "b", "c"], ["1"])


def test_64_bit_times_keep_their_order(tmp_path: Path) -> None:
    text = b"u,i,t\n1,c,1700000000000000003\n1,a,1700000000000000001\n1,b,1700000000000000002\n"
    assert prepared_ids(tmp_path, "log.csv", text)[0] == ["a", "b", "c"]


def test_dates_are_ordered_across_zones(tmp_path: Path) -> None:
    text = (
        b"u,i,t\n1,e,2014-07-02\n1,d,2014-07-01 12:00:00.5\n1,b,2014-07-01T12:00:00+02:00\n"
        b"1,c,2014-07-01T12:00:00Z\n1,a,2014-07-01\n"
    )
    assert prepared_ids(tmp_path, "log.csv", text)[0] == ["a", "b", "c", "d", "e"]


def test_file_order_breaks_ties_and_the_first_duplicate_stays(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(b"u,i,t\n1,z,5\n1,y,5\n1,z,5\n1,x,5\n1,y,4\n")
    columns = Columns("u", "i", "t")
    prepare(log, tmp_path / "all", columns, core=1)
    report = prepare(log, tmp_path / "distinct", columns, core=1, drop_duplicates=True)
    assert (tmp_path / "all" / "sequences.txt").read_text() == "1 2 1 2 1 3\n"
    assert (tmp_path / "distinct" / "sequences.txt").read_text() == "1 2 1 3\n"
    assert report["dropped"]["duplicates"] == 2


JSON_LINE = b'{"u": "a", "i": "b", "t": 1}\n'
CSV = b'x,u,i,t\n"quoted\nlines",a,b,1\n,a,b,2\n'


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("log.csv", b"", ":1: the first line should name the columns, in UTF-8. Received: ''"),
        ("log.csv", b"u,i,t\n", ":1: the log should hold at least one record. Received: ''"),
        ("log.csv", b"user,item,stamp\na,b,1\n", ":1: `user` should name a column: 'user', 'item', 'stamp'"),
        ("log.csv", CSV + b"x,a,b,noon\n", ":5: times should be numbers, or ISO 8601 dates"),
        ("log.csv", CSV + b"x,a,b,inf\n", ":5: times should be numbers"),
        ("log.csv", CSV + b"x,a,b,2014-07-01\n", ":5: times should be numbers"),
        ("log.csv", CSV + b'x,a,"b\n\n",1\nx,\xff,,\n', ":5: ids should hold no control characters"),
        ("log.csv", CSV + b"x,a\x00,b,1\n", ":5: ids should hold no control characters"),
        ("log.csv", CSV + b"x,a,\xff,1\n", ":5: a record should be UTF-8 text of at most 4 fields"),
        ("log.csv", CSV + b"x,a,b,1,2\n", ":5: a record should be UTF-8 text of at most 4 fields"),
        ("log.csv", CSV + b'x,a"b"c,"b"c,1\n' + CSV, ":5: a record should be UTF-8 text of at most 4 fields"),
        ("log.csv", CSV + b'x,"a,b,1\nx,a,b,1\n', ":5: a quote that is opened should be closed"),
        ("log.json", b"", ":1: the log should hold at least one record"),
        ("log.json", b"\n\n", ":1: the log should hold at least one record"),
        ("log.json", b'{"u": "a", "b": "b", "t": 1}\n', ":1: `item` should name a column: 'u', 'b', 't'"),
        ("log.json", JSON_LINE + b"\n[1]\n" + JSON_LINE, ":3: a line should be one JSON object"),
        ("log.json", JSON_LINE * 3 + b'{"u": "a", "i"\n', ":4: a line should be one JSON object"),
        ("log.json", JSON_LINE * 2 + JSON_LINE.replace(b'"', b"'"), "in UTF-8; this is a Python dict"),
        ("log.json", JSON_LINE + b"\x00\x01\xff\n", ":2: a line should be one JSON object"),
        ("log.json", JSON_LINE + b'{"u": "a", "i": "b\\nc", "t": 1}\n', ":2: ids should hold no control"),
        ("log.json", JSON_LINE + b'{"u": "a", "i": "b", "t": true}\n', ":2: times should be numbers"),
        ("log.json", JSON_LINE * 3, ": something should be left with 5 records a user and 5 an item"),
        ("log.json.gz", gzip.compress(JSON_LINE * 1000)[:-20], ": the gzip data should be whole"),
        ("log.csv.gz", b"x,u,i,t\n", ":1: the gzip data should be whole"),
        ("log.parquet", b"", ": the file should be Parquet"),
        ("log.parquet", b"PAR1" + bytes(100) + b"PAR1", ": the file should be Parquet"),
        ("log.xlsx", b"", ": the name should end in .csv, .tsv, .json, .jsonl, .ndjson"),
        ("log.parquet.gz", b"", ": the name should end in"),
        ("log", b"", ": the name should end in"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as raised:
        prepare(tmp_path / name, tmp_path / "out", Columns("u", "i", "t"))
    text = str(raised.value)
    assert text.startswith(str(tmp_path / name))
    assert message in text
    assert len(text) < len(str(tmp_path)) + 300
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_mistake_far_down_is_named_with_its_line(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_bytes(JSON_LINE * 700_000 + JSON_LINE.replace(b"1", b'"x"') + JSON_LINE * 10)
    with pytest.raises(InputError, match=rf"{log}:700001: times should be numbers.*Received: 'x'"):
        prepare(log, tmp_path / "out", Columns("u", "i", "t"))


def test_parquet_mistakes_are_named_with_their_row(tmp_path: Path) -> None:
    log, columns = tmp_path / "log.parquet", Columns("u", "i", "t")
    pl.DataFrame({"u": ["a", None, "b"], "i": [1, 2, 3], "t": ["1", "2", "x"]}).write_parquet(log)
    with pytest.raises(InputError, match=r"row 3: times should be numbers.*Received: 'x'"):
        prepare(log, tmp_path / "out", columns)
    pl.DataFrame({"u": [["a"]], "i": [1], "t": [1]}).write_parquet(log)
    with pytest.raises(InputError, match=r"column `u` should hold strings or numbers. Received: List\(String\)"):
        prepare(log, tmp_path / "out", columns)
    with pytest.raises(InputError, match="`time` should name a column"):
        prepare(log, tmp_path / "out", Columns("u", "i", "when"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--core", "0"], "`core` should be at least 1. Received: 0"),
        (["--item", "u"], "user, item and time should be three columns"),
    ],
)
def test_arguments_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    log = tmp_path / "log.json"
    log.write_bytes(JSON_LINE)
    given_options = ["--user", "u", "--item", "i", "--time", "t", "--out", str(tmp_path / "out"), *options]
    assert main([str(log), *given_options]) == 2
    assert message in capsys.readouterr().err
    assert main([str(tmp_path / "none.csv"), *given_options[:8]]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "log.json").write_bytes(content(LOG, "json"))
    monkeypatch.setattr("tf_fenrec.data.prepare.write_json", full)
    with pytest.raises(OSError, match="No space"):
        prepare(tmp_path / "log.json", tmp_path / "out", NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["log.json"]


def test_numbers_follow_the_first_appearance_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(b"u,i,t\nb,z,9\na,y,1\nb,x,2\na,z,2\nb,y,1\na,x,3\nc,z,1\n")
    prepare(log, tmp_path / "out", Columns("u", "i", "t"), core=2)
    assert (tmp_path / "out" / "users.txt").read_text() == "b\na\n"
    assert (tmp_path / "out" / "items.txt").read_text() == "z\ny\nx\n"
    np.testing.assert_array_equal(read_sequences(tmp_path / "out").items, [2, 3, 1, 2, 1, 3])
