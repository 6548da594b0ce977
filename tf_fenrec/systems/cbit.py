"""CBiT: several cloze copies of a window, each predicted, and contrasted with each other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_fenrec.config import Attention, Contrast, Softmax, option
from tf_fenrec.data.rules import Cloze
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views import ClozeAgain, View
from tf_fenrec.encoders import CBiTEncoder
from tf_fenrec.losses import InfoNCE, contrastive_loss
from tf_fenrec.systems.base import SequenceModel
from tf_fenrec.systems.step import EXAMPLES, Step


@dataclass(frozen=True)
class CBiTConfig(Contrast, Softmax, Attention):
    """Hyper-parameters of CBiT."""

    model: ClassVar[str] = "cbit"

    num_copies: int = option(4, "m, copies of a window that are hidden anew", least=1)
    mask_probability: float = option(0.15, "probability of each item to be predicted", least=0.01, below=1)
    masked_share: float = option(
        0.8, "share of those that are hidden; half of the others become a random item", least=0
    )
    balance: float = option(5.0, "lambda, the contrast's part in its own weight theta", least=0)
    balance_rate: float = option(0.1, "alpha, how fast theta follows", least=0)
    read_out: Literal["last", "all"] = option(
        "last", "what is contrasted: the vectors of the most recent items, or of all positions, padding included"
    )

    @property
    def row(self) -> str | None:
        return "CBiT"


@keras.saving.register_keras_serializable("tf_fenrec")
class CBiT(SequenceModel):
    """Contrastive learning with bidirectional transformers.

    total = sum over the copies of the cross-entropy of their hidden items + theta sum over ordered pairs of copies of
    InfoNCE; theta follows main / (main + lambda contrast), without a gradient.

    Reference:
        - Du et al., CIKM 2022, arXiv 2208.03895.
    """

    config_class = CBiTConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {
        "paper": {
            "": {
                "dim": 256, "max_length": 20, "dropout": 0.3, "temperature": 0.3, "read_out": "all", "num_copies": 5,
                "epochs": 250, "patience": 40, "selection": "ndcg@10",
            },
            "beauty": {"max_length": 15, "num_copies": 4},
        },
        "fair": {
            "": {"max_length": 20, "dropout": 0.3, "temperature": 0.3},
            "demo": {"dropout": 0.2, "learning_rate": 3e-3, "epochs": 10, "patience": 10},
        },
    }  # fmt: skip
    config: CBiTConfig

    def __init__(self, config: CBiTConfig, num_items: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, num_items, *args, **kwargs)
        self.built = False  # Keras adds no weight to a model that is built
        self.theta = self.add_weight(name="theta", shape=(), initializer="zeros", trainable=False)
        self.built = True

    @classmethod
    def make_encoder(cls, config: CBiTConfig, num_items: int, **sizes: int) -> keras.layers.Layer:
        return CBiTEncoder(
            num_items,
            config.dim,
            config.max_length,
            config.num_blocks,
            config.num_heads,
            config.dropout,
            config.seed,
            dtype=config.precision,
            name="encoder",
        )

    @property
    def everywhere(self) -> bool:
        return True

    @property
    def padded(self) -> bool:
        return self.config.read_out == "all"

    def rule(self, dataset: SequenceDataset) -> Cloze:
        config = self.config
        return Cloze(dataset, config.max_length, 1, config.mask_probability, masked_share=config.masked_share)

    def views(self) -> dict[str, View]:
        return {f"copy{number}": ClozeAgain() for number in range(2, self.config.num_copies + 1)}

    def loss_terms(self, step: Step) -> dict[str, tuple[float | tf.Tensor, tf.Tensor]]:
        config = self.config
        copies = [EXAMPLES, *self.views()]
        main = len(copies) * step.cross_entropy()  # the mean over the copies' means
        if len(copies) == 1:
            return {"recommendation": (1.0, main)}
        read = step.flat if self.padded else step.last
        vectors = [tf.math.l2_normalize(read(copy), axis=1) for copy in copies]
        loss = InfoNCE(config.temperature)
        pairs = [contrastive_loss(one, other, None, loss) for one, other in itertools.combinations(vectors, 2)]
        contrast = 2 * tf.add_n(pairs)  # it is the same both ways
        return {"recommendation": (1.0, main), "contrast": (self._follow(main, contrast), contrast)}

    def _follow(self, main: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
        """theta after this step."""
        main, contrast = (tf.stop_gradient(tf.cast(term, self.theta.dtype)) for term in (main, contrast))
        aim = main / (main + self.config.balance * contrast)
        rate = self.config.balance_rate
        self.theta.assign(rate * aim + (1 - rate) * tf.convert_to_tensor(self.theta))
        return tf.convert_to_tensor(self.theta)
