"""The text format and the prepared directory: what is read, and what each mistake is answered with."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tf_fenrec.data import read_sequences
from tf_fenrec.data.lines import LINE_LIMIT
from tf_fenrec.errors import InputError

GOOD = b"1 1 2 3\n2 3 1 2 3\n3 5 1 1\n"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("file", ["log.txt", "log.txt.gz"])
@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD[:-1],
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b" ", b"\t "),
        b"1 01 2 3 \n2 3 1 2 3\n 3 5 1 1\n",
    ],
)
def test_sequences_are_read(tmp_path: Path, file: str, content: bytes) -> None:
    dataset = read_sequences(write(tmp_path / file, content))
    np.testing.assert_array_equal(dataset.items, [1, 2, 3, 3, 1, 2, 3, 5, 1, 1])
    np.testing.assert_array_equal(dataset.offsets, [0, 3, 7, 10])
    assert dataset.items.dtype == np.int32
    assert dataset.offsets.dtype == np.int64
    assert (dataset.num_users, dataset.num_items, dataset.item_ids) == (3, 5, None)
    assert dataset.name == str(tmp_path / file)
    assert read_sequences(tmp_path / file, "mine").name == "mine"


def test_lines_that_span_blocks_are_joined(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(3, 700_000, 12)  # 2 to 4 MB a line, blocks of 8
    expected = [random.integers(1, 1000, length) for length in lengths]
    lines = (f"{user} {' '.join(map(str, items))}\n" for user, items in enumerate(expected, start=10**12))
    dataset = read_sequences(write(tmp_path / "long.txt", "".join(lines).encode()))
    np.testing.assert_array_equal(dataset.items, np.concatenate(expected))
    np.testing.assert_array_equal(dataset.lengths, lengths)


@pytest.mark.parametrize(
    ("content", "line", "rule", "received"),
    [
        (b"", 1, "should not be empty", "''"),
        (b"\n", 1, "at least 3 items", "''"),
        (GOOD + b"\n", 4, "at least 3 items", "''"),
        (GOOD + b"4 1 2\n", 4, "at least 3 items", "'4 1 2'"),
        (GOOD + b"4 1 x 2 3\n5 1\n", 4, "whole numbers", "'x'"),
        (GOOD + b"4 1 2.0 3\n", 4, "whole numbers", "'2.0'"),
        (GOOD + b"4 1 -2 3\n", 4, "whole numbers", "'-2'"),
        (GOOD + b"4 1 2 \xd9\xa3\n", 4, "whole numbers", "'\u0663'"),
        (GOOD + b"4 0 1 2\n", 4, "from 1", "'0'"),
        (GOOD + b"4 1 2 2147483646\n", 4, "to 2147483645", "'2147483646'"),
        (GOOD + b"4 1 2 2147483645\n", 4, "2 x 5 (the distinct items) + 1000", "2147483645"),
        (GOOD + b"4 1 2 1234567890123456789\n", 4, "at most 18 digits", "'1234567890123456789'"),
        (GOOD + b"2 1 2 3\n", 4, "line 2 has it", "2"),
        (b"\x00" + GOOD, 1, "whole numbers", "'\\x001'"),
        (GOOD + b"\xff\xfe\x00" * 400, 4, "whole numbers", "..."),
        (GOOD.replace(b"\n", b"\r"), 1, "whole numbers", "'3\\r2'"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, content: bytes, line: int, rule: str, received: str) -> None:
    path = write(tmp_path / "bad.txt", content)
    with pytest.raises(InputError) as raised:
        read_sequences(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: ")
    assert rule in message
    assert message.endswith(f"Received: {received}") or (received == "..." and message.endswith(received))
    assert len(message) < len(str(path)) + 250


@pytest.mark.parametrize("filling", [b"1 ", b"x", b"\x00"])
def test_a_huge_line_is_refused_without_reading_it(tmp_path: Path, filling: bytes) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.write(GOOD)
        for _ in range(100):
            file.write(filling * ((1 << 20) // len(filling)))
    with pytest.raises(InputError, match=rf"huge.txt:4: .*{LINE_LIMIT >> 20} MiB"):
        read_sequences(path)


def test_damaged_gzip_is_named_with_its_line(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d 1 2 3 4 5 6 7\n" % user for user in range(1000)))
    for content in (whole[:-20], whole[: len(whole) // 2], whole[:5], whole[:-3] + b"xxx", b"no gzip\n"):
        path = tmp_path / "cut.txt.gz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cut\.txt\.gz:\d+: the gzip data should be whole"):
            read_sequences(path)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_sequences(tmp_path / "none.txt")


def directory(path: Path, items: str = "a\nb c\né\n\n"[:-1], names: str | None = None) -> Path:
    path.mkdir()
    (path / "sequences.txt").write_text("1 1 2 1\n2 2 2 2\n")
    (path / "items.txt").write_text(items, encoding="utf-8")
    if names is not None:
        (path / "names.txt").write_text(names)
    return path


def test_a_prepared_directory_is_read(tmp_path: Path) -> None:
    dataset = read_sequences(directory(tmp_path / "set", names="A\nBC\nE"))
    assert dataset.num_items == 3
    assert dataset.item_ids == ("a", "b c", "é")
    assert dataset.item_names == ("A", "BC", "E")
    np.testing.assert_array_equal(dataset.items, [1, 2, 1, 2, 2, 2])


@pytest.mark.parametrize(
    ("items", "names", "message"),
    [
        ("a\n", None, "sequences.txt:1: items should be at most 1, the number of lines of items.txt"),
        ("a\nb\na\n", None, "items.txt:3: an id should have one line; line 1 has it"),
        ("a\n\nb\n", None, "items.txt:2: a line should hold one text"),
        ("a\nb\tc\n", None, "items.txt:2: a line should hold one text"),
        ("", None, "items.txt:1: the file should not be empty"),
        ("a\nb\n", "A\n", "names.txt:1: there should be 2 lines, as in items.txt"),
    ],
)
def test_a_faulty_directory_is_refused(tmp_path: Path, items: str, names: str | None, message: str) -> None:
    path = directory(tmp_path / "set", items, names)
    with pytest.raises(InputError) as raised:
        read_sequences(path)
    assert str(raised.value).startswith(f"{path}/{message}")


def test_an_incomplete_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"should hold sequences\.txt"):
        read_sequences(tmp_path)
    (tmp_path / "sequences.txt").write_text("1 1 2 1\n")
    (tmp_path / "items.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match=r"items\.txt:2: the text should be UTF-8"):
        read_sequences(tmp_path)
