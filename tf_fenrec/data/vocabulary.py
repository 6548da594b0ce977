"""What the outside world calls the items, and which of them are popular."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.errors import InputError
from tf_fenrec.files import write_text


@dataclass(frozen=True)
class Vocabulary:
    """Raw ids, readable names and popularity of V items, whose internal ids are 1..V.

    Attributes:
        num_items: V.
        item_ids: the raw string id of item i at position i - 1, or None where raw ids are the integers 1..V.
        item_names: a readable name of item i at position i - 1, or None.
        popular: all internal ids, the most popular in training first.

    Raises:
        InputError: unless raw ids and names are one per item, raw ids are distinct non-empty strings, neither
            breaks a line (they are exported one per line), and `popular` is a permutation of 1..V.
    """

    num_items: int
    item_ids: tuple[str, ...] | None
    item_names: tuple[str, ...] | None
    popular: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, values in (("item_ids", self.item_ids), ("item_names", self.item_names)):
            if values is None:
                continue
            if len(values) != self.num_items:
                raise InputError(f"`{name}` should have {self.num_items} entries. Received: {len(values)}")
            for value in values:
                if not isinstance(value, str) or "\n" in value or "\r" in value or "\0" in value:
                    raise InputError(f"`{name}` should be strings of one line each. Received: {value!r}")
        if self.item_ids is not None:
            if "" in self.item_ids:
                raise InputError("`item_ids` should not be empty strings: they are the padding of a history")
            if len(set(self.item_ids)) != self.num_items:
                raise InputError("`item_ids` should be distinct. Received: the same id for two items")
        if not np.array_equal(np.sort(self.popular), np.arange(1, self.num_items + 1)):
            raise InputError(f"`popular` should hold each of the items 1..{self.num_items} once")

    @classmethod
    def of(cls, dataset: SequenceDataset) -> Vocabulary:
        """The vocabulary of `dataset`; popularity counts all but each user's last two items, ties by id."""
        counts = np.bincount(dataset.items[dataset.in_training()], minlength=dataset.num_items + 1)[1:]
        popular = np.argsort(-counts, kind="stable") + 1
        return cls(dataset.num_items, dataset.item_ids, dataset.item_names, tuple(popular.tolist()))

    def to_json(self) -> dict[str, Any]:
        """This vocabulary as JSON values; the inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Vocabulary:
        """Reads what `to_json` gave.

        Raises:
            InputError: if keys are missing or unknown, or the values break the rules above.
        """
        names = set(cls.__dataclass_fields__)
        if not isinstance(value, dict) or set(value) != names:
            received = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise InputError(f"a vocabulary should have the keys {sorted(names)}. Received: {received}")
        ids, item_names = value["item_ids"], value["item_names"]
        if not isinstance(value["num_items"], int):
            raise InputError(f"`num_items` should be an integer. Received: {value['num_items']!r}")
        for name in names - {"num_items"}:
            if not isinstance(value[name], list | tuple | NoneType):
                raise InputError(f"`{name}` should be a list. Received: {value[name]!r}")
        return cls(
            num_items=value["num_items"],
            item_ids=None if ids is None else tuple(ids),
            item_names=None if item_names is None else tuple(item_names),
            popular=tuple(value["popular"]),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes this vocabulary to `path` atomically, as JSON."""
        write_text(path, json.dumps(self.to_json(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
            InputError: if `path` is no vocabulary; the message names it.
            OSError: if `path` can't be read.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:  # ValueError covers InputError and malformed JSON and UTF-8
            raise InputError(f"{path}: not a vocabulary: {error}") from error
