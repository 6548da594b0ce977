"""Reads the text format `user item item ...` and the directories that prepare writes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from tf_fenrec.data.lines import blocks, line_error
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError

SEQUENCES, ITEMS, NAMES = "sequences.txt", "items.txt", "names.txt"
LARGEST_ITEM = 2**31 - 3  # V + 1, the mask, is an int32 too

_MOST_DIGITS = 18  # any number of so many digits is an int64
_SHAPE = "a line should be `user item item ...` with at least 3 items (training, validation, test)"
_NUMBERS = "users and items should be whole numbers, items from 1, separated by spaces"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_sequences(path: str | os.PathLike[str], name: str | None = None) -> SequenceDataset:
    """Reads a dataset from a text file (plain or `.gz`) or from a directory that prepare wrote.

    A file holds one user a line, `user item item ...`: a whole number that begins no other line, then the
    user's items in time order, whole numbers from 1, at least 3. V is the largest item; it may be at most
    twice the number of distinct items plus 1000, so that one stray number can't blow up the item table.

    A directory holds such a file, `sequences.txt`, and `items.txt`, whose line i is the raw id of item i; V
    is its number of lines. An optional `names.txt` holds a readable name of item i on line i.

    Args:
        path: the file or the directory.
        name: the dataset's name; by default `path` with a directory in it, so that `load` takes it for a path.

    Raises:
        InputError: at a line that breaks a rule, naming file, line, rule and what was received.
    """
    name = as_path(path) if name is None else name
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    if not path.is_dir():
        items, offsets = _read_numbers(path)
        return SequenceDataset(name, items, offsets, _dense_maximum(path, items, offsets))
    for file in (SEQUENCES, ITEMS):
        if not (path / file).is_file():
            raise InputError(f"{path}: a dataset directory should hold {file}")
    item_ids = _read_texts(path / ITEMS)
    _check_distinct_ids(path / ITEMS, item_ids)
    items, offsets = _read_numbers(path / SEQUENCES)
    if items.max() > len(item_ids):
        rule = f"items should be at most {len(item_ids)}, the number of lines of {ITEMS}"
        raise line_error(path / SEQUENCES, _line_of_largest(items, offsets), rule, int(items.max()))
    item_names = _read_texts(path / NAMES) if (path / NAMES).exists() else None
    if item_names is not None and len(item_names) != len(item_ids):
        rule = f"there should be {len(item_ids)} lines, as in {ITEMS}"
        raise line_error(path / NAMES, len(item_names), rule, len(item_names))
    return SequenceDataset(name, items, offsets, len(item_ids), item_ids, item_names)


def as_path(path: str | os.PathLike[str]) -> str:
    """`path` with a directory in it: "yelp" alone would be the benchmark, "./yelp" is the file."""
    text = os.fspath(path)
    return text if os.sep in text else os.path.join(os.curdir, text)


def _read_numbers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns items int32 [M] and offsets int64 [U + 1] of a text file; user u stands on line u + 1."""
    users, items, lengths = [], [], []
    for first, block in blocks(path):
        parsed = _parse(block)
        if parsed is None:
            raise _first_fault(path, first, block)
        users.append(parsed[0])
        items.append(parsed[1])
        lengths.append(parsed[2])
    if not users:
        raise line_error(path, 1, f"the file should not be empty; {_SHAPE}", "")
    _check_distinct_users(path, np.concatenate(users))
    offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
    return np.concatenate(items), offsets


def _parse(block: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Returns users int64 [u], items int32 [m], lengths int64 [u] of whole lines; None when one has a fault.

    The rules are those of `_fault`, which words them for one line; this is the form that reads millions a
    second.
    """
    codes = np.frombuffer(block, np.uint8)
    digit = codes - np.uint8(ord("0")) < 10
    newline = codes == ord("\n")
    if not (digit | newline | (codes == ord(" ")) | (codes == ord("\t"))).all():
        return None
    edges = np.flatnonzero(np.diff(digit, prepend=False))
    starts, ends = edges[::2], edges[1::2]  # pairs, because a block ends with a newline
    tokens = np.diff(np.searchsorted(starts, np.flatnonzero(newline)), prepend=0)
    if tokens.min() < 4 or (ends - starts).max() > _MOST_DIGITS:
        return None
    numbers = np.fromstring(block.decode("ascii"), np.int64, sep=" ")
    is_user = np.zeros(len(numbers), bool)
    is_user[np.cumsum(tokens) - tokens] = True
    items = numbers[~is_user]
    if items.min() < 1 or items.max() > LARGEST_ITEM:
        return None
    return numbers[is_user], items.astype(np.int32), tokens - 1


def _first_fault(path: Path, first: int, block: bytes) -> InputError:
    """The error for the first faulty line of a block that `_parse` refused."""
    for number, line in enumerate(block.split(b"\n"), start=first):
        fault = _fault(line)
        if fault is not None:
            return line_error(path, number, *fault)
    raise AssertionError("_parse and _fault disagree")


def _fault(line: bytes) -> tuple[str, bytes] | None:
    """Returns the rule that a line breaks and the part that breaks it, or None."""
    tokens = [token for token in re.split(rb"[ \t]+", line) if token]
    for token in tokens:
        if not token.isdigit():
            return _NUMBERS, token
        if len(token) > _MOST_DIGITS:
            return f"a number should have at most {_MOST_DIGITS} digits", token
    if len(tokens) < 4:
        return _SHAPE, line
    for token in tokens[1:]:
        if not 1 <= int(token) <= LARGEST_ITEM:
            return f"items should be from 1 (0 is the padding) to {LARGEST_ITEM}", token
    return None


def _check_distinct_users(path: Path, users: np.ndarray) -> None:
    order = np.argsort(users, kind="stable")
    again = order[1:][users[order[1:]] == users[order[:-1]]]
    if len(again):
        second = int(again.min())
        line = int(np.flatnonzero(users == users[second])[0]) + 1
        rule = f"a user should have one line; line {line} has it"
        raise line_error(path, second + 1, rule, int(users[second]))


def _check_distinct_ids(path: Path, item_ids: tuple[str, ...]) -> None:
    seen: dict[str, int] = {}
    for number, item_id in enumerate(item_ids, start=1):
        if seen.setdefault(item_id, number) != number:
            rule = f"an id should have one line; line {seen[item_id]} has it"
            raise line_error(path, number, rule, item_id)


def _dense_maximum(path: Path, items: np.ndarray, offsets: np.ndarray) -> int:
    """Returns the largest item, refusing one far above the number of distinct items."""
    largest = int(items.max())
    distinct = len(np.unique(items))
    if largest > 2 * distinct + 1000:
        rule = (
            f"the largest item should be at most 2 x {distinct} (the distinct items) + 1000; "
            "to renumber items, prepare the log with trainers/prepare.py"
        )
        raise line_error(path, _line_of_largest(items, offsets), rule, largest)
    return largest


def _line_of_largest(items: np.ndarray, offsets: np.ndarray) -> int:
    return int(np.searchsorted(offsets, items.argmax(), side="right"))


def _read_texts(path: Path) -> tuple[str, ...]:
    """Returns the lines of a UTF-8 file, none blank or holding control characters."""
    texts: list[str] = []
    for first, block in blocks(path):
        lines = block.split(b"\n")[:-1]
        for number, line in enumerate(lines, start=first):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise line_error(path, number, "the text should be UTF-8", line) from error
            if not text.strip() or _CONTROL.search(text):
                raise line_error(path, number, "a line should hold one text, no control characters", line)
            texts.append(text)
    if not texts:
        raise line_error(path, 1, "the file should not be empty", "")
    return tuple(texts)
