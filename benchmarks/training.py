"""Training and evaluation, as ratios to the arithmetic they need at this machine's own matrix product rate.

    python benchmarks/training.py [--dataset beauty] [--presets beauty sports toys yelp] [--data-dir DIR]

Every phase runs in a process of its own, so that its peak memory is its own, and measures the machine's rate just
before and after: times alone mean little on a shared machine. Without the benchmark datasets it measures the demo shop.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import in_own_process, machine, matmul_rate, median_seconds, parser, peak_memory_mb, timed, write

WARM_UP = {"before": 1, "after": 0}


def main() -> None:
    """Measures and prints."""
    arguments = parser(__doc__, "benchmarks/figures/training.json")
    arguments.add_argument("--dataset", default="demo", help="of all figures but the presets' steps (default: demo)")
    arguments.add_argument("--presets", nargs="*", default=[], help="datasets whose steps are measured too")
    arguments.add_argument("--steps", type=int, default=60)
    arguments.add_argument("--precision", default="float32")
    args = arguments.parse_args()
    if args.phase:
        figures = Phase(args).run(args.phase)
        print(json.dumps(figures))
        return
    data = ["--data-dir", str(args.data_dir)] if args.data_dir else []

    def measured(phase: str, dataset: str, *more: str) -> dict[str, Any]:
        common = ["--phase", phase, "--dataset", dataset, "--steps", str(args.steps), *data]
        figures = {"phase": phase, "dataset": dataset} | in_own_process(__file__, [*common, *more])
        rows.append(figures)
        print(line(figures), flush=True)
        return figures

    rows: list[dict[str, Any]] = []
    measured("imports and data", args.dataset)
    steps = {}
    for dataset in dict.fromkeys([args.dataset, *args.presets]):
        for when in WARM_UP:
            steps[dataset, when] = measured(f"step {when} warm-up", dataset)
    for when in WARM_UP:
        measured(f"step {when} warm-up, padded", args.dataset)
        measured(f"step {when} warm-up, bfloat16", args.dataset, "--precision", "mixed_bfloat16")
    for phase in ("input pipeline, a step", "fit, a step"):
        measured(phase, args.dataset)
    between = {phase: measured(phase, args.dataset) for phase in ("features", "clustering", "validation")}
    common = work(between["clustering"]) + work(between["validation"])
    for figures in between.values():
        figures["share_of_epoch"] = {
            when: work(figures) / (work(step) * step["steps"] + common)
            for (dataset, when), step in steps.items()
            if dataset == args.dataset
        }
        shares = ", ".join(f"{share:.1%} {when}" for when, share in figures["share_of_epoch"].items())
        print(f"{figures['phase']}: {shares} warm-up of an epoch's steps, clustering and validation", flush=True)
    write(args.json, {"machine": machine(), "rows": rows})


def work(figures: dict[str, Any]) -> float:
    """A time in units of the machine's rate, which may change between two processes."""
    return figures["seconds"] * figures["gflops"]


def line(figures: dict[str, Any]) -> str:
    """A row of the table."""
    text = f"{figures['phase']:<32} {figures['dataset']:<7}"
    if "seconds" in figures:
        text += f" {figures['seconds'] * 1e3:9.1f} ms"
        bound = figures.get("bound_seconds")
        text += f" {figures['seconds'] / bound:5.2f} x {bound * 1e3:7.1f} ms" if bound else " " * 19
        text += f"  at {figures['gflops']:4.0f} GFLOP/s (bfloat16 {figures['bfloat16_gflops']:4.0f})"
    if "overhead" in figures:
        text += f", {figures['overhead']:+.1%} over the bare step"
    return text + f"  peak {figures['peak_memory_mb']:5.0f} MB"


class Phase:
    """One phase, measured in this process."""

    def __init__(self, args: Any) -> None:
        import tf_fenrec as fr
        from tf_fenrec.paper import DATASETS

        self.fr = fr
        self.steps = args.steps
        self.dataset = fr.load(args.dataset, args.data_dir)
        name = args.dataset if args.dataset in (*DATASETS, "demo") else "beauty"
        self.base = fr.preset(name, precision=args.precision)

    def run(self, phase: str) -> dict[str, Any]:
        """The figures of a phase by its name in the table."""
        kind, _, option = phase.partition(", ")
        if kind == "imports and data":
            import tf_fenrec.systems.fenrec  # noqa: F401

            return {"peak_memory_mb": peak_memory_mb()}
        rates = [(matmul_rate(), matmul_rate("bfloat16"))]
        if kind.startswith("step"):
            figures = self.step(kind.split()[1], packed=option != "padded")
        else:
            figures = {
                "input pipeline": self.pipeline,
                "fit": self.fit,
                "features": self.features,
                "clustering": self.clustering,
                "validation": self.validation,
            }[kind]()
        figures["peak_memory_mb"] = peak_memory_mb()
        rates.append((matmul_rate(), matmul_rate("bfloat16")))
        figures["gflops"], figures["bfloat16_gflops"] = (max(both) / 1e9 for both in zip(*rates, strict=True))
        if "flops" in figures:
            figures["bound_seconds"] = figures["flops"] / figures["gflops"] / 1e9
        return figures

    def model(self, when: str = "before") -> Any:
        """A compiled model and its batches, at the start of an epoch before or after the warm-up."""
        config = self.base.replace(warm_up_epochs=WARM_UP[when])
        model = self.fr.build_model(config, self.dataset)
        model.compile()
        self.batches = model.training_batches(self.dataset)
        self.config = config
        return model

    def step(self, when: str, packed: bool) -> dict[str, Any]:
        model = self.model(when)
        some_centroids(model)
        run = bare_step(model, self.batches, packed)
        for _ in range(self.steps // 2):  # compiles each number of packed rows
            run()
        return {
            "seconds": median_seconds(run, self.steps),
            "flops": self.step_flops(when),
            "steps": len(self.batches),
        }

    def step_flops(self, when: str) -> float:
        """Two for each multiply-add of the step's matrix products; the backward pass takes twice the forward pass."""
        import numpy as np

        from tf_fenrec.data.packing import Layout

        d, batch, rows = self.config.dim, self.config.batch_size, 2 * self.config.batch_size
        layout = Layout(self.config.max_length)
        some = (self.batches.step_batch(0, step, layout)[0] for step in range(min(20, len(self.batches))))
        tokens = float(np.mean([np.count_nonzero(inputs["items"]) for inputs in some]))
        columns = 2 * rows + self.config.noise_portion * batch if when == "after" else rows
        contrast = 3 * rows * columns * d + 2 * batch * self.config.num_clusters * d
        scores = batch * (self.dataset.num_items + 2) * d
        return 3 * 2 * (self.encoder_products(tokens, 3 * batch) + scores + contrast)

    def encoder_products(self, tokens: float, sequences: int) -> float:
        """Multiply-adds of the encoder: of the last block only the attention of the ends needs all tokens."""
        d = self.config.dim
        products = 4 * d * d + 8 * d * d  # query, key, value, output; feed-forward
        full = tokens * products + 2 * tokens * (tokens / sequences) * d
        last = sequences * products + 2 * tokens * d * self.config.num_heads
        return full * (self.config.num_blocks - 1) + last

    def pipeline(self) -> dict[str, Any]:
        model = self.model()
        source = iter(self.batches.as_dataset(model.layout))
        next(source)
        return {"seconds": timed(lambda: [next(source) for _ in range(self.steps)]) / self.steps}

    def fit(self) -> dict[str, Any]:
        """An epoch of `fit` from its late step on, so without clustering, between two rounds of bare steps."""
        import keras

        model = self.model()
        some_centroids(model)
        run = bare_step(model, self.batches)
        for _ in range(self.steps):
            run()
        bare, fitted = [], []
        spans: list[float] = []
        span = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: spans.append(time.perf_counter()),
        )
        count = min(4 * self.steps, len(self.batches) - 1)
        for _ in range(3):
            bare.append(timed(lambda: [run() for _ in range(count)]) / count)
            self.batches.first_step = len(self.batches) - count - 1
            spans.clear()
            model.fit(self.batches, epochs=1, verbose=0, callbacks=[span])
            fitted.append((spans[-2] - spans[0]) / (len(spans) - 2))  # without the short last batch
            self.batches.first_step = 0
        return {"seconds": min(fitted), "bare_seconds": min(bare), "overhead": min(fitted) / min(bare) - 1}

    def features(self) -> dict[str, Any]:
        model = self.model()
        model.represent(self.batches)
        examples = self.batches.rule
        tokens = int((examples.target - examples.start).sum())
        return {
            "seconds": min(timed(lambda: model.represent(self.batches)) for _ in range(3)),
            "flops": 2 * self.encoder_products(tokens, len(examples)),
        }

    def clustering(self) -> dict[str, Any]:
        """Features and k-means from the last centroids, as every epoch but the first begins."""
        model = self.model()
        model.begin_epoch(0, self.batches)
        return {"seconds": min(timed(lambda: model.begin_epoch(0, self.batches)) for _ in range(3))}

    def validation(self) -> dict[str, Any]:
        from tf_fenrec.systems import evaluation_batches

        model = self.model()
        batches = evaluation_batches(self.config, self.dataset, "valid")
        model.evaluate(batches, verbose=0)
        held_out = batches.held_out
        lengths = (held_out.target - held_out.history_start).clip(max=self.config.max_length)
        tokens = int(lengths.sum())
        scores = len(lengths) * (self.dataset.num_items + 2) * self.config.dim
        return {
            "seconds": min(timed(lambda: model.evaluate(batches, verbose=0)) for _ in range(3)),
            "flops": 2 * (self.encoder_products(tokens, len(lengths)) + scores),
        }


def some_centroids(model: Any) -> None:
    """Any will do for the time a step takes."""
    import tensorflow as tf

    centroids = model.intents.centroids
    centroids.assign(tf.random.stateless_normal(centroids.shape, [0, 1]))


def bare_step(model: Any, batches: Any, packed: bool = True) -> Callable[[], Any]:
    """A function that runs the compiled step on the next batch, epoch after epoch, and waits for its losses."""
    import numpy as np
    import tensorflow as tf

    model.current_phase = model.phase(0)
    model.optimizer.build(model.trainable_variables)
    model.make_train_function(force=True)
    layout = model.layout if packed else model.layout._replace(packed=False)
    source = iter(batches.as_dataset(layout).repeat())
    step = model.train_function

    def run() -> None:
        tf.nest.map_structure(np.asarray, step(source))

    return run


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
