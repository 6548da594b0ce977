"""The results of finished runs, as `fenrec-train --results` leaves them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_fenrec.config import Config
from tf_fenrec.errors import InputError
from tf_fenrec.paper import ABLATIONS, TABLE_3
from tf_fenrec.systems import configure
from tf_fenrec.training.run import from_settings

NEEDED = ("dataset", "config", "selection", "valid", "test", "seconds", "machine", "commit")


@dataclass(frozen=True)
class Result:
    """What one run ended with.

    Attributes:
        name: the file's name without `.json`.
        config: its hyper-parameters.
        content: the whole file.
    """

    name: str
    config: Config
    content: dict[str, Any]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.content["dataset"]["name"]

    @property
    def sha256(self) -> str:
        """Of the dataset's sequences."""
        return self.content["dataset"]["sha256"]

    @property
    def reproduces(self) -> str | None:
        """The row of Table 3 whose exact configuration this is, whatever the seed; None for any other."""
        for row, (model, preset, changes) in ABLATIONS.items() if self.dataset in TABLE_3 else ():
            if self.config == configure(model, self.dataset, preset, **changes, seed=self.config.seed):
                return row
        return None

    @property
    def preset(self) -> str | None:
        """The preset that it was trained with."""
        return self.content.get("preset")

    @property
    def changes(self) -> dict[str, Any]:
        """The hyper-parameters that differ from the preset's for the dataset, the seed left out."""
        model = self.config.model
        assert model is not None  # `from_settings` made it
        base = configure(model, self.dataset, self.preset, seed=self.config.seed).to_dict()
        return {name: value for name, value in self.config.to_dict().items() if value != base[name]}


def read_results(directory: Path) -> dict[str, Result]:
    """The results in a directory by name, in order of the names.

    A file that is no run's result at all is passed over.

    Raises:
        InputError: at a file that isn't JSON or has hyper-parameters this version lacks, and when two results of one
            dataset were trained on different data.
    """
    results: dict[str, Result] = {}
    first: dict[str, Result] = {}
    for path in sorted(directory.glob("[!.]*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}") from None
        if not isinstance(content, dict) or any(name not in content for name in NEEDED):
            continue
        try:
            result = Result(path.stem, from_settings(content), content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        other = first.setdefault(result.dataset, result)
        if other.sha256 != result.sha256:
            raise InputError(f"{path}: was trained on other sequences of {result.dataset} than {other.name}.json")
        results[path.stem] = result
    return results
