"""Configurations: groups of hyper-parameters that systems pick from, checked, and readable from JSON.

A system's own configuration (`tf_fenrec/systems`) is a dataclass that inherits the groups it needs and adds what only
it has. The groups hold every field that two systems share, once.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from tf_fenrec.errors import InputError

Metric = Literal["hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr"]


def option(default: Any, text: str, least: float | None = None, below: float | None = None) -> Any:
    """A field with its help text and its range: at least `least`, less than `below`."""
    return field(default=default, metadata={"help": text, "least": least, "below": below})


@dataclass(frozen=True)
class Config:
    """What every system has.

    Raises:
        InputError: naming the hyper-parameter, when a value has the wrong type or is out of its range.
    """

    max_length: int = option(50, "L, how many recent items count", least=1)
    selection: Metric = option("ndcg@20", "validation metric the best epoch is chosen by")
    seed: int = option(0, "everything random follows from it and the step number", least=0, below=2**31)

    # Of systems that are not trained by gradient descent; `Trained` has fields of these names.
    epochs = 1
    patience = 1
    precision = "float32"
    jit = True

    model: ClassVar[str | None] = None
    """The system it configures, as `--model` takes it."""

    aliases: ClassVar[dict[str, str]] = {}
    """Earlier names of fields, which stay readable."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if hints[one.name] is float and type(value) is int:
                object.__setattr__(self, one.name, float(value))
            _check(one.name, value, hints[one.name], one.metadata)

    @property
    def row(self) -> str | None:
        """What the paper's tables call this configuration, None where they have no row for it."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """This configuration with changes."""
        return self.from_dict(self.to_dict() | changes)

    @classmethod
    def names(cls) -> list[str]:
        """The names of all hyper-parameters."""
        return [one.name for one in dataclasses.fields(cls)]

    @classmethod
    def from_dict(cls, values: dict[str, Any], complete: bool = False) -> Self:
        """The inverse of `to_dict`.

        Args:
            values: hyper-parameters by name.
            complete: refuse values that leave a hyper-parameter out, instead of taking its default.

        Raises:
            InputError: for an unknown name, with the nearest known ones, and for a missing one.
        """
        values = {cls.aliases.get(name, name): value for name, value in values.items()}
        known = cls.names()
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
                raise InputError(f"unknown hyper-parameter {name!r}. Nearest: {', '.join(near)}")
        missing = [name for name in known if name not in values]
        if complete and missing:
            raise InputError(f"every hyper-parameter must be there. Received: none for {', '.join(missing)}")
        return cls(**values)


@dataclass(frozen=True)
class Trained(Config):
    """Of systems that are trained by gradient descent."""

    dim: int = option(64, "D, width of the item vectors", least=1)
    dropout: float = option(0.5, "dropout rate everywhere", least=0, below=1)
    learning_rate: float = option(1e-3, "of Adam", least=0)
    weight_decay: float = option(0.0, "decoupled weight decay (AdamW); 0: Adam", least=0)
    clip_norm: float = option(0.0, "largest norm of all gradients together; 0: not clipped", least=0)
    batch_size: int = option(256, "B, training examples a step", least=2)
    epochs: int = option(400, "at most", least=1)
    patience: int = option(40, "epochs without a better validation metric before training stops", least=1)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "of the encoder and the item scores"
    )
    jit: bool = option(True, "compile the training step with XLA")


@dataclass(frozen=True)
class Attention(Trained):
    """Of transformers."""

    num_blocks: int = option(2, "transformer blocks", least=1)
    num_heads: int = option(2, "attention heads", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % self.num_heads:
            raise InputError(
                f"`dim` must be a multiple of `num_heads`. Received: dim={self.dim}, num_heads={self.num_heads}"
            )


@dataclass(frozen=True)
class Softmax(Trained):
    """Of the cross-entropy over the catalogue."""

    num_sampled: int = option(
        0, "S, items drawn a step for a sampled softmax with logQ correction; 0: the exact softmax", least=0
    )


@dataclass(frozen=True)
class SoftLabelled(Trained):
    """Of time-dependent soft labels (FENRec)."""

    gamma: float = option(0.2, "decay of the time-dependent soft labels (Eq. 7); 0 gives one-hot labels", least=0)
    label_rule: Literal["first_occurrence", "position"] = option(
        "first_occurrence", "where a label's window starts: released program, or Eq. 7"
    )


@dataclass(frozen=True)
class Contrast(Trained):
    """Of a contrastive loss."""

    temperature: float = option(1.0, "tau_1, temperature of the contrastive losses", least=1e-6)


@dataclass(frozen=True)
class Enduring(Contrast):
    """Of enduring hard negatives (FENRec)."""

    warm_up_epochs: int = option(20, "epochs of plain InfoNCE before the hard negatives come in", least=0)
    mix: float = option(0.4, "lambda, the anchor's share in an enduring hard negative (Eq. 10)", least=0)
    hard_weight: float = option(0.1, "mu, weight of the enduring hard negatives (Eq. 14)", least=0)
    focal_temperature: float = option(8.0, "tau_2 of the up-weighting (Eq. 13)", least=1e-6)
    margin: float = option(0.2, "m of the up-weighting (Eq. 13)", least=0)
    form: Literal["released", "paper"] = option("released", "form of the up-weighting (Eq. 13-15)")
    noise_portion: int = option(2, "noise negatives per example of the batch", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mix > 1:
            raise InputError(f"`mix` must be between 0 and 1. Received: mix={self.mix}")


@dataclass(frozen=True)
class Clustered(Trained):
    """Of intents: clusters of representations, made anew every epoch."""

    num_clusters: int = option(256, "K, intent clusters", least=1)


def _check(name: str, value: Any, kind: Any, limits: typing.Mapping[str, Any]) -> None:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise InputError(f"`{name}` must be one of {', '.join(choices)}. Received: {name}={value!r}")
        return
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InputError(f"`{name}` must be of type {kind.__name__}. Received: {name}={value!r}")
    least, below = limits["least"], limits["below"]
    if kind is float and not math.isfinite(value):
        raise InputError(f"`{name}` must be finite. Received: {name}={value}")
    if least is not None and not value >= least:
        raise InputError(f"`{name}` must be at least {least:g}. Received: {name}={value}")
    if below is not None and not value < below:
        raise InputError(f"`{name}` must be below {below:g}. Received: {name}={value}")
