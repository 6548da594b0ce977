"""The page of the local server: one static file, and a search over the items of a served model."""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2

from tf_fenrec.serving.models import Models

MAX_MATCHES = 20
MAX_QUERY = 200


class Page:
    """What a browser is given.

    Args:
        models: whose items can be searched.

    Attributes:
        html: the page.
        policy: its Content-Security-Policy: nothing runs but its own script, and it talks to this server only.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._items: dict[str, tuple[Path, Items]] = {}
        self.html = resources.files("tf_fenrec.serving").joinpath("ui/index.html").read_bytes()
        script, style = _hash(self.html, b"script"), _hash(self.html, b"style")
        self.policy = (
            f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def items(self, query: Mapping[str, list[str]]) -> str:
        """The first items whose name or id holds a text, as JSON.

        Args:
            query: of the URL: `model` (by default the first one) and `text`.

        Raises:
            tf.errors.NotFoundError: if the model isn't served.
        """
        names = sorted(self._models.versions)
        model = query.get("model", names[:1])[-1:]
        if not model:
            raise tf.errors.NotFoundError(None, None, "no model is served")
        text = query.get("text", [""])[-1][:MAX_QUERY]
        with self._models.lease(model_pb2.ModelSpec(name=model[0])) as (version, _):
            items = self._of(model[0], version.path)
            number = version.number
        found = [{"id": raw, "name": name} for raw, name in items.search(text)]
        return json.dumps({"models": names, "model": model[0], "version": number, "total": items.total, "items": found})

    def _of(self, model: str, version: Path) -> Items:
        with self._lock:
            path, items = self._items.get(model, (None, None))
            if items is None or path != version:
                items = Items(version)
                self._items[model] = (version, items)
            return items


class Items:
    """Searches the items of a version directory; a million take some 100 MB.

    Attributes:
        total: how many there are.
    """

    def __init__(self, version: Path) -> None:
        path = version / "assets.extra" / "model_card.json"
        if not path.exists():
            raise tf.errors.NotFoundError(None, None, f"no such file: {path}, which an export of tf_fenrec has")
        card = json.loads(path.read_text(encoding="utf-8"))
        self.total = int(card["num_items"])
        self._ids = _Lines.read(version / "assets" / "item_ids.txt")
        self._names = _Lines.read(version / "assets" / "item_names.txt")

    def search(self, text: str) -> list[tuple[str | int, str]]:
        """Raw id and name of the first items, at most `MAX_MATCHES`, that hold `text` in one of them."""
        found: set[int] = set()
        if self._ids is None:
            found |= {int(text) - 1} if text.isascii() and text.isdecimal() and 0 < int(text) <= self.total else set()
        for lines in (self._names, self._ids):
            if lines is not None:
                found |= set(lines.search(text))
        if not text:
            found |= set(range(min(self.total, MAX_MATCHES)))
        return [self._item(row) for row in sorted(found)[:MAX_MATCHES]]

    def _item(self, row: int) -> tuple[str | int, str]:
        raw = row + 1 if self._ids is None else self._ids.line(row)
        return raw, str(raw) if self._names is None else self._names.line(row)


class _Lines:
    """The lines of a text, found by what they hold, without regard to case."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._folded = "\n".join(line.casefold() for line in self._lines)
        self._starts = [0]
        for end in re.finditer("\n", self._folded):
            self._starts.append(end.end())

    @classmethod
    def read(cls, path: Path) -> _Lines | None:
        """The lines of a file, or None if there is none."""
        if not path.exists():
            return None
        return cls(path.read_bytes().decode("utf-8").removesuffix("\n"))

    def line(self, row: int) -> str:
        return self._lines[row]

    def search(self, text: str) -> list[int]:
        """The first `MAX_MATCHES` rows that hold `text`."""
        wanted = text.casefold()
        rows: list[int] = []
        at = self._folded.find(wanted) if wanted and "\n" not in wanted else -1
        while at >= 0 and len(rows) < MAX_MATCHES:
            row = bisect.bisect_right(self._starts, at) - 1
            rows.append(row)
            after = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._folded)
            at = self._folded.find(wanted, after)
        return rows


def _hash(html: bytes, tag: bytes) -> str:
    """What allows the one element `tag` of a page by its content."""
    content = html.split(b"<" + tag + b">")[1].split(b"</" + tag + b">")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
