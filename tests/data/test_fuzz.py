"""Thousands of damaged files: each gives a valid dataset or one InputError that names the file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from raw_logs import LOG, NAMES, content

from tf_fenrec.data import SequenceDataset, read_sequences
from tf_fenrec.data.prepare import prepare
from tf_fenrec.errors import InputError

JUNK = (
    b"\x00", b"\xff\xfe", b"-", b"0", b" 0 ", b"\n", b"\r\n", b"\n\n", b" ", b"\t", b"9" * 25, b"4294967296",
    b'"', b"'", b",", b"{", b"}", b"[", b"\\", b"\\u0000", b"\\ud800", b"e9", b".5", b"nan", b"null", b"x",
    b"\xc3\xa9", b"\xe2\x80\xa8", b"\x1f\x8b", b"1 " * 300,
)  # fmt: skip


def damage(random: np.random.Generator, data: bytes) -> bytes:
    """Applies one to three small accidents to a file."""
    for _ in range(random.integers(1, 4)):
        at, other = sorted(random.integers(0, len(data) + 1, 2).tolist())
        lines = data.split(b"\n")
        first, second = random.integers(0, len(lines), 2)
        match random.integers(0, 7):
            case 0:
                data = data[:at] + JUNK[random.integers(len(JUNK))] + data[at:]
            case 1:
                data = data[:at] + JUNK[random.integers(len(JUNK))] + data[at + 1 :]
            case 2:
                data = data[:at] + bytes([random.integers(256)]) + data[at + 1 :]
            case 3:
                data = data[:at]
            case 4:
                data = data[:at] + data[min(other, at + 8) :]
            case 5:
                lines[first] = lines[second]
                data = b"\n".join(lines)
            case 6:
                data = data[:at] + random.bytes(20) + data[at:]
    return data


def expected(data: bytes) -> list[list[int]] | None:
    """The rules of the text format, one line at a time; None where one is broken."""
    lines = data.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    users, sequences = set(), []
    for line in lines:
        tokens = [token for token in line.replace(b"\t", b" ").split(b" ") if token]
        if len(tokens) < 4 or not all(set(token) <= set(b"0123456789") for token in tokens):
            return None
        user, *items = map(int, tokens)
        if user in users or max(map(len, tokens)) > 18 or not all(0 < item < 2**31 - 2 for item in items):
            return None
        users.add(user)
        sequences.append(items)
    distinct = {item for items in sequences for item in items}
    return None if max(distinct) > 2 * len(distinct) + 1000 else sequences


def outcome(path: Path, attempt: Callable[[], SequenceDataset]) -> SequenceDataset | None:
    try:
        dataset = attempt()
    except InputError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "Received: " in message
        assert len(message) < len(str(path)) + 400
        assert message.isprintable()
        return None
    assert dataset.lengths.min() >= 3
    assert dataset.items.min() >= 1
    assert dataset.items.max() <= dataset.num_items
    return dataset


@pytest.mark.parametrize("seed", range(4))
def test_damaged_text_files(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    lines = (f"{user} {' '.join(map(str, random.integers(1, 30, 3 + user % 7)))}" for user in range(1, 25))
    good = "\n".join(lines).encode() + b"\n"
    path = tmp_path / "log.txt"
    valid = 0
    for _ in range(1000):
        data = damage(random, good)
        path.write_bytes(data)
        dataset = outcome(path, lambda: read_sequences(path))
        sequences = expected(data)
        assert (dataset is None) == (sequences is None), data
        if dataset is not None and sequences is not None:
            valid += 1
            np.testing.assert_array_equal(dataset.items, np.concatenate(sequences))
            np.testing.assert_array_equal(dataset.lengths, [len(items) for items in sequences])
    assert 100 < valid < 900


def test_damaged_gzip_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    good = gzip.compress(b"".join(b"%d 1 2 3 %d\n" % (user, user) for user in range(1, 99)))
    path = tmp_path / "log.txt.gz"
    for _ in range(300):
        path.write_bytes(damage(random, good))
        outcome(path, lambda: read_sequences(path))


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "json.gz", "parquet"])
def test_damaged_logs(tmp_path: Path, form: str) -> None:
    random = np.random.default_rng(0)
    good = content(LOG, form)
    path, out = tmp_path / f"log.{form}", tmp_path / "out"

    def attempt() -> SequenceDataset:
        prepare(path, out, NAMES, core=2)
        return read_sequences(out)

    valid = 0
    for _ in range(120):
        path.write_bytes(damage(random, good))
        if outcome(path, attempt) is not None:
            valid += 1
            for file in sorted(out.iterdir()):
                file.unlink()
            out.rmdir()
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert valid < 120
