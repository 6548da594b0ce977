"""Every variable that training changes, by a name that is the same in every process."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tf_fenrec.errors import InputError
from tf_fenrec.systems.base import SequenceModel

MEANS = "mean/"


def arrays_of(model: SequenceModel) -> dict[str, np.ndarray]:
    """The values of all of them."""
    return {name: np.asarray(variable) for name, variable in _variables(model).items()}


def restore(model: SequenceModel, arrays: dict[str, np.ndarray], directory: Path) -> None:
    """Sets all of them.

    Raises:
        InputError: when the arrays are another model's.
    """
    variables = _variables(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise InputError(f"{directory}: the checkpoint is of another model or another version of tf_fenrec")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def loss_means_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those among `arrays` that hold the means of the epoch under way."""
    return {name: array for name, array in arrays.items() if name.startswith(MEANS)}


def restore_loss_means(model: SequenceModel, means: dict[str, np.ndarray]) -> None:
    """Sets the means of the epoch under way, where there are any."""
    for number, variable in enumerate(model.loss_means.variables):
        if (name := f"{MEANS}{number}") in means:
            variable.assign(means[name])


def _variables(model: SequenceModel) -> dict[str, keras.Variable]:
    groups = {
        "model/": model.weights,
        "optimizer/": model.optimizer.variables,
        MEANS: model.loss_means.variables,
    }
    return {f"{group}{number}": v for group, variables in groups.items() for number, v in enumerate(variables)}
