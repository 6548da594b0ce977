"""Results written by hand, as `fenrec-train --results` leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tf_fenrec.systems import configure

METRICS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20")


def result(dataset: str, ndcg: float, hr: float = 0.1, strict: float = 0.05, **changes: Any) -> dict[str, Any]:
    """The result of a run with a dataset's preset and changes; NDCG@20 and HR@20 as given, everything else 0.04."""
    config = configure("fenrec", dataset, **changes)
    paper = dict.fromkeys(METRICS, 0.04) | {"ndcg@20": ndcg, "hr@20": hr}
    return {
        "dataset": {"name": dataset, "users": 10, "items": 20, "interactions": 80, "sha256": f"hash of {dataset}"},
        "config": config.to_dict(),
        "seed": config.seed,
        "selection": {"metric": "val_ndcg@20", "epoch": 150 + config.seed, "epochs": 190 + config.seed},
        "valid": {"paper": {"ndcg@20": 0.09}},
        "test": {"paper": paper, "strict": dict.fromkeys(METRICS, strict)},
        "seconds": 7500.0,
        "version": "0.1.0",
        "commit": "0123456789abcdef",
        "machine": {"processor": "Some CPU", "cores": 2, "accelerators": []},
    }


def write(directory: Path, name: str, content: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(content))
