"""How time and memory grow with the catalogue, the batch, the length and the users, each with its fitted slope.

    python benchmarks/growth.py [--only CURVE ...] [--json FILE]

A slope is that of log(time) over log(size): 1 is linear, 2 quadratic. Every point runs in a process of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import (
    forget_peak,
    in_own_process,
    machine,
    matmul_rate,
    median_seconds,
    parser,
    peak_memory_mb,
    timed,
    write,
)
from training import bare_step, some_centroids

CURVES: dict[str, dict[str, list[int]]] = {
    "softmax, one piece": {"items": [12_000, 50_000, 100_000, 200_000]},
    "softmax, blocks": {"items": [12_000, 50_000, 100_000, 200_000, 500_000, 1_000_000]},
    "softmax, sampled 4096": {"items": [12_000, 50_000, 100_000, 200_000, 500_000, 1_000_000]},
    "step by catalogue": {"items": [12_000, 100_000, 1_000_000]},
    "step by batch": {"batch_size": [256, 512, 1024, 2048, 4096]},
    "contrast by batch": {"batch_size": [256, 512, 1024, 2048, 4096]},
    "step by length": {"max_length": [50, 100, 150, 200]},
    "pipeline by users": {"users": [20_000, 200_000, 2_000_000]},
}


def main() -> None:
    """Measures and prints."""
    arguments = parser(__doc__, "benchmarks/figures/growth.json")
    arguments.add_argument("--only", nargs="+", choices=list(CURVES), help="these curves")
    arguments.add_argument("--size", type=int, help="of the phase")
    args = arguments.parse_args()
    if args.phase:
        print(json.dumps(POINTS[args.phase](args.size)))
        return
    curves = []
    for name in args.only or CURVES:
        [(axis, sizes)] = CURVES[name].items()
        points = []
        for size in sizes:
            points.append({axis: size} | in_own_process(__file__, ["--phase", name, "--size", str(size)]))
            print(f"{name:<24} {axis} {size:>9,}  " + text(points[-1]), flush=True)
        slopes = {
            figure: slope(sizes, [point[figure] for point in points])
            for figure in ("seconds", "extra_mb")
            if figure in points[0]
        }
        print(f"{name:<24} slope " + ", ".join(f"{figure} {value:.2f}" for figure, value in slopes.items()), flush=True)
        curves.append({"curve": name, "points": points, "slopes": slopes})
        write(args.json, {"machine": machine(), "curves": curves})  # each time: the last ones take minutes


def slope(sizes: list[int], values: list[float]) -> float:
    """Of log(value) over log(size)."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def text(point: dict[str, Any]) -> str:
    """The figures of a point."""
    parts = [f"{point['seconds'] * 1e3:9.1f} ms"]
    if point.get("bound_seconds"):
        parts.append(f"{point['seconds'] / point['bound_seconds']:5.2f} x bound")
    parts += [
        f"{key} {point[key]:,.1f}"
        for key in ("extra_mb", "peak_memory_mb", "start_seconds", "ms_per_step")
        if key in point
    ]
    return "  ".join(parts)


def softmax(kind: str) -> Callable[[int], dict[str, Any]]:
    """Loss and gradients of 256 examples; `extra_mb` is the peak beyond the table, its gradient and what was there."""

    def point(items: int) -> dict[str, Any]:
        import tensorflow as tf

        from tf_fenrec.losses import sampled_soft_label_cross_entropy, soft_label, soft_label_cross_entropy

        soft_label.BLOCKED_FROM = 0 if kind == "blocks" else 10**9
        rng = np.random.default_rng(0)
        batch, dim, sampled = 256, 64, 4096
        h = tf.constant(rng.normal(size=(batch, dim)).astype(np.float32) / 8)
        table = tf.Variable(rng.normal(size=(items + 2, dim)).astype(np.float32) / 8)
        ids = tf.constant(rng.integers(1, items, (batch, 3)).astype(np.int32))
        weights = tf.constant(np.tile(np.float32([0.7, 0.2, 0.1]), (batch, 1)))
        sample = tf.constant(rng.integers(1, items, sampled).astype(np.int32))
        counts = tf.fill([3 * batch + sampled], np.float32(0.5))

        @tf.function(jit_compile=True)
        def run() -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                tape.watch(h)
                vectors = tf.convert_to_tensor(table)
                if kind == "sampled":
                    loss = sampled_soft_label_cross_entropy(h, vectors, ids, weights, sample, counts)
                else:
                    loss = soft_label_cross_entropy(h, vectors, ids, weights)
            gradients = tape.gradient(loss, [h, table])
            return loss, gradients[0], tf.convert_to_tensor(gradients[1])

        rate = matmul_rate()
        before = forget_peak()
        run()
        seconds = median_seconds(lambda: [part.numpy() for part in run()[:2]], 5)
        products = 3 * 2 * batch * dim * (sampled + 3 * batch if kind == "sampled" else items)
        return {
            "seconds": seconds,
            "bound_seconds": products / rate,
            "extra_mb": max(peak_memory_mb() - before - 4 * dim * items / 2**20, 0.1),
            "peak_memory_mb": peak_memory_mb(),
        }

    return point


def training_step(users: int = 20_000, items: int = 12_000, mean_length: float = 9.0, **changes: Any) -> dict[str, Any]:
    """The step after the warm-up on generated sequences."""
    import tf_fenrec as fr

    dataset = generated(users, items, mean_length)
    config = fr.preset("beauty", warm_up_epochs=0, **changes)
    model = fr.build_model(config, dataset)
    model.compile()
    batches = model.training_batches(dataset)
    some_centroids(model)
    run = bare_step(model, batches)
    for _ in range(6):
        run()
    return {"seconds": median_seconds(run, 9), "peak_memory_mb": peak_memory_mb()}


def contrast(batch: int) -> dict[str, Any]:
    """One contrastive term with enduring negatives and noise, and its gradient; N = 2 B rows."""
    import tensorflow as tf

    from tf_fenrec.losses import EnduringContrastive, enduring_contrastive_loss

    rng = np.random.default_rng(0)
    views = [tf.constant(rng.normal(size=(batch, 64)).astype(np.float32)) for _ in range(2)]
    noise = tf.constant(rng.normal(size=(2 * batch, 64)).astype(np.float32))
    ids = tf.constant(rng.integers(0, 10**6, batch).astype(np.int32))

    @tf.function(jit_compile=True)
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(views)
            loss = enduring_contrastive_loss(*views, ids, EnduringContrastive(), noise)
        return tape.gradient(loss, views)

    before = forget_peak()
    run()
    seconds = median_seconds(lambda: [part.numpy() for part in run()], 5)
    return {"seconds": seconds, "extra_mb": max(peak_memory_mb() - before, 0.1), "peak_memory_mb": peak_memory_mb()}


def pipeline(users: int) -> dict[str, Any]:
    """From sequences in memory to the first batch, then batches alone."""
    import tf_fenrec as fr
    import tf_fenrec.systems.fenrec  # TensorFlow comes with it, and is not what grows

    dataset = generated(users, 50_000, 9.0)
    before = forget_peak()
    first: list[Any] = []

    def start() -> None:
        model = fr.build_model(fr.preset("beauty"), dataset)
        batches, layout = model.training_batches(dataset), model.layout
        source = (batches.step_batch(0, step, layout) for step in range(len(batches)))
        next(source)
        first.append(source)

    seconds = timed(start)
    per_step = median_seconds(lambda: next(first[0]), 50)
    return {
        "seconds": seconds,
        "ms_per_step": per_step * 1e3,
        "extra_mb": max(peak_memory_mb() - before, 0.1),
        "peak_memory_mb": peak_memory_mb(),
        "examples": int(np.maximum(dataset.lengths - 3, 0).sum()),
    }


def generated(users: int, items: int, mean_length: float) -> Any:
    """Sequences of geometric length (at least 5) of items by a power law."""
    from tf_fenrec.data.sequences import SequenceDataset

    rng = np.random.default_rng(0)
    lengths = 4 + rng.geometric(1 / (mean_length - 4), users)
    ranks = (items * rng.random(int(lengths.sum())) ** 3).astype(np.int32)
    return SequenceDataset(
        items=ranks + 1, offsets=np.concatenate([[0], np.cumsum(lengths)]), num_items=items, name="generated"
    )


POINTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "softmax, one piece": softmax("one piece"),
    "softmax, blocks": softmax("blocks"),
    "softmax, sampled 4096": softmax("sampled"),
    "step by catalogue": lambda items: training_step(items=items),
    "step by batch": lambda batch: training_step(batch_size=batch),
    "contrast by batch": contrast,
    "step by length": lambda length: training_step(2_000, 12_000, 2.0 * length, max_length=length),
    "pipeline by users": pipeline,
}


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
