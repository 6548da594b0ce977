"""Datasets by name: where they are looked for, and the checked download."""

from __future__ import annotations

import difflib
import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tf_fenrec.data.demo import demo_dataset
from tf_fenrec.data.lines import shown
from tf_fenrec.data.reader import read_sequences
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError
from tf_fenrec.files import replacing

BASE_URL = "https://raw.githubusercontent.com/salesforce/ICLRec/master/data"
DATA_DIR_VARIABLE = "FENREC_DATA_DIR"

_CHUNK = 1 << 16
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Benchmark:
    """A published file: its name in the public folder and the SHA-256 of its bytes."""

    file: str
    sha256: str


BENCHMARKS = {
    "beauty": Benchmark("Beauty.txt", "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8"),
    "sports": Benchmark("Sports_and_Outdoors.txt", "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2"),
    "toys": Benchmark("Toys_and_Games.txt", "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f"),
    "yelp": Benchmark("Yelp.txt", "724b219106b81dd2349027da997334ddb6da9fe2f152ad6e0d97a93170f7caed"),
}
DATASETS = (*BENCHMARKS, "demo")


def load(
    dataset: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    base_url: str = BASE_URL,
) -> SequenceDataset:
    """Loads a dataset by name or path.

    A name is one of `DATASETS` or a benchmark's file name, in any case, with or without `.txt`; a name wins
    over a file of that name, which `./NAME` still reaches. Benchmark files are looked for in `data_dir`, in
    the directory that the environment variable `FENREC_DATA_DIR` names, and in the user cache, then
    downloaded into the cache; wherever they lie, their SHA-256 is checked.

    Args:
        dataset: a name, or the path of a text file or prepared directory (see `read_sequences`).
        data_dir: the directory to look in first.
        download: whether a file that is not found is downloaded.
        base_url: the public folder that holds the files.

    Raises:
        InputError: for an unknown name, a file that can't be had, and a file whose content breaks a rule.
    """
    name = _canonical_name(dataset)
    if name is None:
        return read_sequences(dataset)
    if name == "demo":
        return demo_dataset()
    return read_sequences(_find(name, data_dir, base_url if download else None), name)


def _canonical_name(dataset: str | os.PathLike[str]) -> str | None:
    """Returns the member of `DATASETS` that is meant, or None for a path."""
    text = os.fspath(dataset)
    known = {name: name for name in DATASETS}
    known |= {benchmark.file.removesuffix(".txt").lower(): name for name, benchmark in BENCHMARKS.items()}
    name = known.get(text.lower().removesuffix(".txt"))
    if name is None and not Path(text).exists():
        near = difflib.get_close_matches(text.lower(), known, n=3) or DATASETS
        raise InputError(
            f"`dataset` should be one of {', '.join(DATASETS)}, or the path of a file or prepared directory. "
            f"Nearest: {', '.join(near)}. Received: {shown(text)}"
        )
    return name


def _find(name: str, data_dir: str | os.PathLike[str] | None, base_url: str | None) -> Path:
    """Returns the path of a benchmark's file, downloading it when it is nowhere and there is a `base_url`."""
    benchmark = BENCHMARKS[name]
    if data_dir is not None and not Path(data_dir).is_dir():
        raise InputError(f"`data_dir` should be a directory. Received: {os.fspath(data_dir)!r}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_fenrec"
    places = [Path(place) for place in (data_dir, os.environ.get(DATA_DIR_VARIABLE)) if place]
    for place in (*places, cache):
        path = place / benchmark.file
        if path.is_file():
            _check_known(path, benchmark)
            return path
    problem = "and the download is switched off"
    if base_url is not None:
        url = f"{base_url}/{benchmark.file}"
        try:
            _download(url, cache / benchmark.file, benchmark.sha256)
            return cache / benchmark.file
        except _DownloadError as error:
            problem = f"and the download failed ({url}: {error})"
    raise InputError(
        f"{name}: {benchmark.file} is in none of {', '.join(map(str, (*places, cache)))} {problem}. "
        f"Put {benchmark.file} into a directory and name that with --data-dir or {DATA_DIR_VARIABLE}; "
        "`--dataset demo` needs no file"
    )


def _check_known(path: Path, benchmark: Benchmark) -> None:
    with path.open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != benchmark.sha256:
        raise InputError(
            f"{path}: the SHA-256 should be {benchmark.sha256}, the published file's. Received: {received}. "
            "Remove the file, or give its path as the dataset to load it as it is"
        )


class _DownloadError(Exception):
    """The network or the server failed; the file system did not."""


def _download(url: str, path: Path, sha256: str) -> None:
    """Downloads `url` to `path`, whole and with that hash or not at all."""
    try:
        response = urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise _DownloadError(error) from error
    size, received, digest = response.length, 0, hashlib.sha256()
    with response, replacing(path) as temporary:
        with (
            temporary.open("wb") as file,
            tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc=path.name) as bar,
        ):
            while chunk := _read(response):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                bar.update(len(chunk))
        if size is not None and received != size:
            raise _DownloadError(f"the connection was cut after {received} of {size} bytes")
        if digest.hexdigest() != sha256:
            raise _DownloadError(f"the SHA-256 should be {sha256}. Received: {digest.hexdigest()}")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _DownloadError(error) from error
