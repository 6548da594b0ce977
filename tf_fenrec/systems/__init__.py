"""Systems: one file each, with its configuration, its model and its presets. A new one is a file and a line here."""

from __future__ import annotations

import difflib
import importlib
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_fenrec.config import Config
from tf_fenrec.errors import InputError

if TYPE_CHECKING:
    from tf_fenrec.data.batches import EvaluationBatches, Protocol, TrainingBatches
    from tf_fenrec.data.held_out import Split
    from tf_fenrec.data.sequences import SequenceDataset
    from tf_fenrec.systems.base import SequenceModel

SYSTEMS = {
    "bert4rec": "tf_fenrec.systems.bert4rec:BERT4Rec",
    "blend": "tf_fenrec.systems.blend:Blend",
    "bsarec": "tf_fenrec.systems.bsarec:BSARec",
    "caser": "tf_fenrec.systems.caser:Caser",
    "cbit": "tf_fenrec.systems.cbit:CBiT",
    "cl4srec": "tf_fenrec.systems.cl4srec:CL4SRec",
    "cl4srec-fenrec": "tf_fenrec.systems.cl4srec:CL4SRecFENRec",
    "cooccurrence": "tf_fenrec.systems.cooccurrence:Cooccurrence",
    "coserec": "tf_fenrec.systems.coserec:CoSeRec",
    "duorec": "tf_fenrec.systems.duorec:DuoRec",
    "duorec-fenrec": "tf_fenrec.systems.duorec:DuoRecFENRec",
    "fenrec": "tf_fenrec.systems.fenrec:FENRec",
    "gru4rec": "tf_fenrec.systems.gru4rec:GRU4Rec",
    "iclrec": "tf_fenrec.systems.iclrec:ICLRec",
    "icsrec": "tf_fenrec.systems.icsrec:ICSRec",
    "lrurec": "tf_fenrec.systems.lrurec:LRURec",
    "maerec": "tf_fenrec.systems.maerec:MAERec",
    "mvs": "tf_fenrec.systems.mvs:MVS",
    "sasrec": "tf_fenrec.systems.sasrec:SASRec",
    "swiftrec": "tf_fenrec.systems.swiftrec:SwiftRec",
}
"""Where each system is, by the name that `--model` takes. A system of one's own is named in full, `module:Class`."""

DEFAULT = "fenrec"


def system(name: str) -> type[SequenceModel]:
    """The system of that name.

    Args:
        name: a key of `SYSTEMS`, or `module:Class`.

    Raises:
        InputError: for a name of none, with the nearest.
    """
    place = SYSTEMS.get(name.lower(), name)
    module, _, kind = place.partition(":")
    if not kind:
        near = difflib.get_close_matches(name.lower(), SYSTEMS, n=3, cutoff=0.4)
        raise InputError(
            f"unknown model {name!r}. {'Nearest' if near else 'Known'}: {', '.join(near or SYSTEMS)} "
            "(or `module:Class` for one of your own)"
        )
    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise InputError(f"no model can be imported from {place!r}: {error}") from None
    from tf_fenrec.systems.base import SequenceModel

    if not (isinstance(found, type) and issubclass(found, SequenceModel)):
        raise InputError(f"a model must be a class that inherits SequenceModel. Received: {place!r}")
    return found


def name_of(kind: type[SequenceModel]) -> str:
    """The inverse of `system`."""
    place = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, known in SYSTEMS.items() if known == place), place)


def preset(name: str, model: str = DEFAULT, dataset: str | None = None, **changes: Any) -> Config:
    """A system's configuration by preset.

    Args:
        name: a preset of the system ("paper": as published; "fair": examples, loss and tuning as the others'). A
            dataset's name means its paper preset.
        model: the system.
        dataset: whose settings to take where they differ from one to the other.
        **changes: hyper-parameters to change.

    Raises:
        InputError: for an unknown name or hyper-parameter, naming the nearest.

    Example:
        >>> preset("beauty", gamma=0.3).gamma
        0.3
    """
    kind = system(model)
    if name not in kind.presets and any(name in by_dataset for by_dataset in kind.presets.values()):
        name, dataset = next(iter(kind.presets)), name
    if name not in kind.presets:
        known = dict.fromkeys([*kind.presets, *(key for settings in kind.presets.values() for key in settings if key)])
        raise InputError(f"unknown preset {name!r} of {model}. Known: {', '.join(known) or 'none'}")
    settings = kind.presets[name]
    return kind.config_class.from_dict(settings.get("", {}) | settings.get(dataset or "", {}) | changes)


def configure(model: str, dataset: str, preset_name: str | None = None, **changes: Any) -> Config:
    """The configuration that a training starts from: a preset, or the system's first where none is named."""
    kind = system(model)
    if preset_name is None and not kind.presets:
        return kind.config_class.from_dict(changes)
    return preset(preset_name or next(iter(kind.presets)), model, dataset, **changes)


def system_of(config: Config) -> type[SequenceModel]:
    """The system that a configuration is of.

    Raises:
        InputError: when it is of none, being the base of all.
    """
    kind = config.model
    if kind is None:
        raise InputError(f"a {type(config).__name__} is no system's configuration")
    return system(kind)


def build_model(config: Config, catalogue: SequenceDataset | int) -> SequenceModel:
    """The model of a configuration; not compiled.

    Args:
        config: its hyper-parameters.
        catalogue: the dataset it is to be trained on, or V where the system needs to know no more of it.
    """
    kind = system_of(config)
    if isinstance(catalogue, int):
        return kind(config, catalogue)
    return kind(config, catalogue.num_items, sizes=kind.sizes_of(config, catalogue))


def training_batches(config: Config, dataset: SequenceDataset) -> TrainingBatches:
    """The batches that the system of a configuration trains on."""
    return build_model(config, dataset).training_batches(dataset)


def evaluation_batches(
    config: Config, dataset: SequenceDataset, split: Split, protocol: Protocol = "paper"
) -> EvaluationBatches:
    """The validation or test batches, the same for every system."""
    from tf_fenrec.data.batches import EvaluationBatches

    return EvaluationBatches(dataset, split, protocol)


def load_model(path: str | os.PathLike[str]) -> SequenceModel:
    """Loads a model saved with `model.save("....keras")`.

    Raises:
        InputError: when the file is missing or no whole Keras file.
    """
    import keras

    for place in SYSTEMS.values():
        importlib.import_module(place.partition(":")[0])
    if not Path(path).is_file():
        raise InputError(f"{path}: no such model file")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a whole .keras file")
    return keras.saving.load_model(path)
