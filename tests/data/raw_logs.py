"""Raw logs for the tests of prepare: one list of records in every format."""

from __future__ import annotations

import gzip
import io
import json

import polars as pl

from tf_fenrec.data.logs import Columns

Record = tuple[str | None, str | None, int | None]
NAMES = Columns("reviewerID", "asin", "unixReviewTime")
FORMATS = ("csv", "csv.gz", "tsv", "tsv.gz", "json", "json.gz", "jsonl", "ndjson.gz", "parquet")


def content(records: list[Record], form: str) -> bytes:
    """The records as a file of that format, with columns that nobody asked for around them."""
    kind = form.removesuffix(".gz")
    if kind == "parquet":
        buffer = io.BytesIO()
        schema = {NAMES.user: pl.String, NAMES.item: pl.String, NAMES.time: pl.Int64}
        pl.DataFrame(records, schema=schema, orient="row").write_parquet(buffer)
        return buffer.getvalue()
    if kind in ("csv", "tsv"):
        sign = "," if kind == "csv" else "\t"
        lines = [sign.join(("text", NAMES.time, NAMES.user, NAMES.item))]
        for user, item, time in records:
            fields = ("" if value is None else str(value) for value in (time, user, item))
            lines.append(sign.join((f'"two{sign}\nlines, ""quoted"""', *fields)))
    else:
        lines = [
            json.dumps(dict(zip(NAMES, record, strict=True)) | {"helpful": [0, 1], "style": {"Size": "'"}})
            for record in records
        ]
    text = "\n".join(lines).encode() + b"\n"
    return gzip.compress(text) if form.endswith(".gz") else text


LOG: list[Record] = [
    (f"A{user}", f"B{(user * step + step) % 7}", 1400000000 - 1000 * step + user)
    for step in range(8)
    for user in range(9)
]
