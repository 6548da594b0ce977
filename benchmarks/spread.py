"""Six epochs on few users with long and short histories: what a new user with a log of their own meets first.

    python benchmarks/spread.py [--epochs 6] [--model fenrec]

400 users, lognormal lengths around 46, 3,500 items: 68 steps an epoch. XLA compiles a step for every shape of its
batch, so the time from the start to the first step, and the slowest epoch, say how many shapes there were.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

USERS, ITEMS, MEAN = 400, 3_500, 46


def generated(seed: int = 0) -> Any:
    """Sequences of lognormal length, items by a power law."""
    from tf_fenrec.data.sequences import SequenceDataset

    rng = np.random.default_rng(seed)
    lengths = np.maximum(rng.lognormal(np.log(MEAN) - 0.5, 1.0, USERS).astype(int), 4)
    offsets = np.cumsum([0, *lengths])
    weights = 1 / np.arange(1, ITEMS + 1)
    items = rng.choice(np.arange(1, ITEMS + 1), offsets[-1], p=weights / weights.sum()).astype(np.int32)
    return SequenceDataset("spread", items, offsets, ITEMS)


def main() -> None:
    """Trains and prints seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--model", default="fenrec")
    args = parser.parse_args()
    began = time.perf_counter()
    import keras

    from tf_fenrec.data.batches import EvaluationBatches
    from tf_fenrec.systems import build_model, configure

    data = generated()
    model = build_model(configure(args.model, "beauty", seed=0), data)
    model.compile()
    spans: list[float] = []
    epochs: list[float] = []
    times = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: spans.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: epochs.append(time.perf_counter()),
    )
    fitted = time.perf_counter()
    model.fit(data, epochs=args.epochs, verbose=0, validation_data=EvaluationBatches(data, "valid"), callbacks=[times])
    figures = {
        "steps an epoch": len(spans) // args.epochs,
        "first step, from the start": round(spans[0] - began, 1),
        "epochs": [round(b - a, 1) for a, b in zip([fitted, *epochs], epochs, strict=False)],
        "seconds in all": round(time.perf_counter() - began, 1),
        "median step, ms": round(1e3 * float(np.median(np.diff(spans))), 1),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
