"""Prepares a generated log of 10 million records and reads the dataset back: wall time and peak memory.

`python benchmarks/prepare.py [--rows N] [--format csv.gz]` prints JSON, then a line of a table.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ("csv.gz", "json.gz", "parquet")
CHUNK = 1_000_000
READ = "import sys; from tf_fenrec.data import read_sequences; print(len(read_sequences(sys.argv[1]).items))"


def generate(path: Path, rows: int) -> None:
    """Writes a log with Amazon's column names and lengths of ids, users and items long-tailed."""
    random = np.random.default_rng(0)
    chunks = (_chunk(random, min(CHUNK, rows - begin), rows) for begin in range(0, rows, CHUNK))
    if path.suffix == ".parquet":
        pl.concat(chunks).write_parquet(path)
        return
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number, chunk in enumerate(chunks):
            if path.name.endswith(".csv.gz"):
                file.write(chunk.write_csv(include_header=number == 0).encode())
            else:
                file.write(chunk.write_ndjson().encode())


def _chunk(random: np.random.Generator, size: int, rows: int) -> pl.DataFrame:
    users = (rows // 3 * random.random(size) ** 3).astype(np.int64)
    items = (rows // 20 * random.random(size) ** 3).astype(np.int64)
    return pl.DataFrame(
        {
            "reviewerID": pl.Series(users).cast(pl.String).str.zfill(13),
            "asin": pl.Series(items).cast(pl.String).str.zfill(10),
            "overall": random.integers(1, 6, size),
            "unixReviewTime": random.integers(1_000_000_000, 1_400_000_000, size),
        }
    )


def measure(*arguments: str) -> tuple[float, float]:
    """Runs Python with these arguments; returns seconds and the peak resident memory in GB."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments} failed")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder, f"log.{options.format}"), Path(folder, "out")
        # A child of a large process starts with that process's peak memory, so this one stays small.
        maker = multiprocessing.get_context("spawn").Process(target=generate, args=(log, options.rows))
        maker.start()
        maker.join()
        columns = ("--user", "reviewerID", "--item", "asin", "--time", "unixReviewTime")
        seconds, memory = measure("trainers/prepare.py", str(log), *columns, "--out", str(out))
        read_seconds, read_memory = measure("-c", READ, str(out))
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        result = {
            "format": options.format,
            "rows": options.rows,
            "log_mb": round(log.stat().st_size / 1e6),
            "interactions": report["interactions"],
            "core_rounds": len(report["core_rounds"]),
            "prepare_seconds": round(seconds, 1),
            "prepare_peak_gb": round(memory, 2),
            "read_seconds": round(read_seconds, 1),
            "read_peak_gb": round(read_memory, 2),
        }
    print(json.dumps(result))
    print("| " + " | ".join(map(str, result.values())) + " |")


if __name__ == "__main__":
    main()
