"""Text files as blocks of whole lines, plain or gzip, with errors that name file and line."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from tf_fenrec.errors import InputError

LINE_LIMIT = 16 << 20
_BLOCK = 8 << 20
_SHOWN = 60


def shown(received: object) -> str:
    """`received` as a message shows it: its repr, cut so that binary junk or a long line does not flood."""
    if isinstance(received, bytes):
        received = received[: 2 * _SHOWN].decode("utf-8", "backslashreplace")
    text = repr(received[: 2 * _SHOWN] if isinstance(received, str) else received)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def line_error(path: Path, line: int, rule: str, received: object) -> InputError:
    """The error for a mistake on one line: `FILE:LINE: rule. Received: what`."""
    return InputError(f"{path}:{line}: {rule}. Received: {shown(received)}")


def blocks(path: Path, *, quoted: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yields a file's whole lines, some MiB at a time, each block with the number of its first line (from 1).

    Memory stays bounded whatever the file holds. A name ending in `.gz` is decompressed. Every block ends
    with a newline (added to the last when the file lacks it); CR LF becomes LF. With `quoted`, a newline
    between double quotes ends no line, as in CSV.

    Raises:
        InputError: for a line over `LINE_LIMIT` bytes, and for gzip data that is damaged or cut short.
    """
    number, rest = 1, b""
    limit = f"a line should be at most {LINE_LIMIT >> 20} MiB{', with its quotes closed' * quoted}"
    for data in _read(path):
        if isinstance(data, Exception):
            number += rest.count(b"\n")
            raise line_error(path, number, "the gzip data should be whole", str(data)) from data
        data = rest + data
        end = _last_end(data, quoted)
        rest = data[end:]
        if end:
            yield number, data[:end].replace(b"\r\n", b"\n")
            number += data.count(b"\n", 0, end)
        if len(rest) > LINE_LIMIT:
            raise line_error(path, number, limit, rest)
    if rest:
        if quoted and rest.count(b'"') % 2:
            raise line_error(path, number, "a quote that is opened should be closed", rest)
        yield number, rest.replace(b"\r\n", b"\n") + b"\n" * (not rest.endswith(b"\n"))


def _read(path: Path) -> Iterator[bytes | Exception]:
    """Yields the bytes of a file in large pieces; a gzip fault comes last, after all that precedes it."""
    fault: Exception | None = None
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with cast(io.BufferedReader, opener(path, "rb")) as file:
        ended = False
        while not ended:
            parts: list[bytes] = []
            size = 0
            while size < _BLOCK and not ended:
                try:
                    part = file.read1(_BLOCK)
                except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                    part, fault = b"", error
                ended = not part
                parts.append(part)
                size += len(part)
            if size:
                yield b"".join(parts)
    if fault is not None:
        yield fault


def record_ends(data: bytes, quoted: bool) -> np.ndarray:
    """Returns the positions after the newlines of `data` that end a record."""
    codes = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(codes == ord("\n"))
    if quoted:
        quotes_before = np.searchsorted(np.flatnonzero(codes == ord('"')), newlines)
        newlines = newlines[quotes_before % 2 == 0]
    return newlines + 1


def _last_end(data: bytes, quoted: bool) -> int:
    """The last of `record_ends`, or 0."""
    if quoted and b'"' in data:
        return int(record_ends(data, quoted)[-1:].sum())
    return data.rfind(b"\n") + 1
