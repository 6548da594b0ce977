"""TensorFlow Recommenders needs Keras 2 as `tf.keras`: the orders of import that work, and the one that can't."""

from __future__ import annotations

import os
import subprocess
import sys

USE = "from tf_fenrec.losses.retrieval import recommenders; print(recommenders().__name__, keras.__version__[0])"


def run(*lines: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    program = "; ".join(lines)
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def test_tf_fenrec_before_the_first_use_of_tf_keras() -> None:
    imports = "import tensorflow as tf", "import keras", "from tf_fenrec import FENRec"
    finished = run(*imports, "tf.keras.layers.Dense", USE)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["tensorflow_recommenders", "3"]


def test_after_tf_keras_was_used_the_error_says_what_to_do() -> None:
    finished = run("import tensorflow as tf", "import keras", "tf.keras.layers.Dense", USE)
    assert finished.returncode == 1
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "Import tf_fenrec.systems first" in last
    assert "set the environment variable TF_USE_LEGACY_KERAS=1" in last
