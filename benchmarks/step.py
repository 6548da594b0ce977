"""The training step and what surrounds it, as ratios to the arithmetic the step needs at this machine's own rate.

    python benchmarks/step.py [--dataset beauty] [--data-dir DIR] [--steps 40] [--json FILE]

Times alone mean little on a shared machine: every figure stands beside the same run's matrix product rate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tf_fenrec as fr
from tf_fenrec.evaluation import evaluate


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    dataset = fr.load(args.dataset, args.data_dir)
    base = fr.preset(args.dataset if args.dataset in ("beauty", "sports", "toys", "yelp", "demo") else "beauty")
    rate = matmul_rate()
    print(f"{dataset.name}: matrix product 6800 x 64 x 256 at {rate / 1e9:.0f} GFLOP/s", flush=True)
    figures: dict[str, Any] = {"dataset": dataset.name, "matmul_gflops": rate / 1e9, "rows": []}

    def row(name: str, seconds: float, flops: float | None = None) -> None:
        bound = flops / rate if flops else None
        ratio = f"{seconds / bound:6.1f} x the {bound * 1e3:.1f} ms bound" if bound else ""
        print(f"{name:<34} {seconds * 1e3:9.1f} ms  {ratio}", flush=True)
        figures["rows"].append({"name": name, "seconds": seconds, "bound_seconds": bound})

    for name, warm_up in (("before", 1), ("after", 0)):
        for packed in (False, True):
            config = fr.Config.from_dict(base.to_dict() | {"warm_up_epochs": warm_up})
            model = compiled(config, dataset.num_items)
            batches = fr.training_batches(config, dataset)
            batches.packed = packed
            model.begin_epoch(0, batches)
            seconds, tokens = step_seconds(model, batches, args.steps)
            flops = step_flops(config, dataset.num_items, tokens, warm_up == 0)
            row(f"step {name} warm-up, {'packed' if packed else 'padded'}", seconds, flops)
    row("input pipeline alone, a step", pipeline_seconds(batches, args.steps))
    row("features of all examples", timed(lambda: model.represent(batches)))
    row("features and clustering", timed(lambda: model.begin_epoch(1, batches)))
    row("full ranking of all users", timed(lambda: evaluate(model, dataset, "valid")))
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {figures['peak_memory_mb']:.0f} MB")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def compiled(config: fr.Config, num_items: int) -> fr.FENRec:
    """A model ready to train."""
    model = fr.build_model(config, num_items)
    model.compile(keras.optimizers.Adam(config.learning_rate), jit_compile=True)
    return model


def matmul_rate() -> float:
    """Floating-point operations a second of a product of the step's own shape."""
    a, b = tf.random.normal([6800, 64]), tf.random.normal([64, 256])
    product = tf.function(lambda: tf.matmul(a, b))
    seconds = min(timed(lambda: product().numpy()) for _ in range(50))
    return 2 * 6800 * 64 * 256 / seconds


def step_seconds(model: fr.FENRec, batches: fr.TrainingBatches, steps: int) -> tuple[float, float]:
    """Median time of a compiled step, and mean real tokens of a step."""
    model.make_train_function()
    source = iter(batches.as_dataset())
    # The few steps that compile a new number of rows do not move the median.
    times = [timed(lambda: tf.nest.map_structure(np.asarray, model.train_function(source))) for _ in range(steps)]
    tokens = [np.count_nonzero(inputs["items"]) for inputs, _ in itertools.islice(batches.epoch_batches(0), steps)]
    return statistics.median(times), float(np.mean(tokens))


def step_flops(config: fr.Config, num_items: int, tokens: float, hard: bool) -> float:
    """Multiply-adds times two of the step's matrix products; the backward pass takes twice the forward pass."""
    d, batch, rows = config.dim, config.batch_size, 2 * config.batch_size
    sequences = 3 * batch
    full = tokens * (4 * d * d + 8 * d * d)  # query, key, value, output; feed-forward
    last = tokens * 3 * d * d + sequences * (d * d + 8 * d * d)
    attention = 2 * tokens * config.max_length * d * config.num_blocks
    scores = batch * (num_items + 2) * d
    columns = rows * 2 + config.noise_portion * batch if hard else rows
    contrast = 3 * rows * columns * d
    return 3 * 2 * (full * (config.num_blocks - 1) + last + attention + scores + contrast)


def pipeline_seconds(batches: fr.TrainingBatches, steps: int) -> float:
    """Time the pipeline needs for a batch when nothing else runs."""
    return timed(lambda: sum(1 for _ in itertools.islice(batches.epoch_batches(0), steps))) / steps


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
