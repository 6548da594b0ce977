"""Batches for `fit` and `evaluate`: a function of the data, the seed, the epoch and the step, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tf_fenrec.data.examples import LABEL_WINDOW, HeldOut, LabelRule, Split, TrainingExamples
from tf_fenrec.data.packing import Sequences, pack, take
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views import View
from tf_fenrec.errors import InputError, one_of

if TYPE_CHECKING:
    import tensorflow as tf

Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
TargetSpec = dict[str, tuple[str, list[int | None]]]  # type and shape of each target
Protocol = Literal["paper", "strict"]
PREFETCH = 4
SCORES = 2**24  # at most in a batch of users by default; evaluation has a few such batches under way


class TrainingBatches:
    """Shuffled batches of training examples and their views.

    A batch is (inputs, targets): `inputs` the sequence batch (see `tf_fenrec.data.packing`) of B examples followed by
    B sequences of each view, `targets` a dict of `item` int32 [B], `label_ids` int32 [B, 3] and `label_weights`
    float32 [B, 3]. The last batch of an epoch holds what is left. With `num_sampled`, targets also hold `sampled_ids`
    int32 [S] and `expected_counts` float32 [3 B + S], see `sampled_soft_label_cross_entropy`.

    Args:
        dataset: the sequences.
        batch_size: B.
        views: what the examples are contrasted with; none for cross-entropy alone.
        gamma, label_rule: see `TrainingExamples.soft_labels`.
        max_length: L.
        packed: many sequences a row (for encoders with `packed = True`), or one padded row each.
        seed: of the shuffling, random views and sampled items.
        num_sampled: S, items drawn uniformly for each batch, to train a sampled softmax with; 0: none.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        batch_size: int = 256,
        views: Sequence[View] = (),
        gamma: float = 0.2,
        label_rule: LabelRule = "first_occurrence",
        max_length: int = 50,
        packed: bool = True,
        seed: int = 0,
        num_sampled: int = 0,
    ) -> None:
        self.examples = TrainingExamples(dataset, max_length)
        if not len(self.examples):
            raise InputError(
                "training needs a user with at least 4 items (one training target, one for validation, one for "
                f"test). Received: {dataset.name}, longest sequence {dataset.lengths.max(initial=0)}"
            )
        _check_size(batch_size)
        self.dataset = dataset
        self.batch_size = batch_size
        self.views = tuple(views)
        self.gamma = gamma
        self.label_rule = label_rule
        self.max_length = max_length
        self.packed = packed
        self.seed = seed
        self.num_sampled = num_sampled
        self.epoch = 0
        self.first_step = 0
        self._ordered: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.examples) // self.batch_size)

    def batch(self, chosen: np.ndarray, rng: np.random.Generator) -> Batch:
        """The batch of the examples numbered `chosen` (int [B])."""
        examples = self.examples
        parts = [self._own(chosen), *(view(examples, chosen, rng) for view in self.views)]
        together = Sequences(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        ids, weights = examples.soft_labels(chosen, self.gamma, self.label_rule)
        targets = {"item": examples.target_items[chosen], "label_ids": ids, "label_weights": weights.astype(np.float32)}
        if self.num_sampled:
            targets |= self._sample(ids, rng)
        return pack(together, self.max_length, self.packed), targets

    def _sample(self, label_ids: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        num_items = self.dataset.num_items
        sampled = rng.integers(1, num_items + 1, self.num_sampled, np.int32)
        candidates = np.concatenate([label_ids.ravel(), sampled])
        expected = (len(label_ids) - 1) * self._label_share[candidates] + self.num_sampled / num_items
        return {"sampled_ids": sampled, "expected_counts": expected.astype(np.float32)}

    @cached_property
    def _label_share(self) -> np.ndarray:
        """[V + 2], the share of all examples that have an item among their labels."""
        counts = np.zeros(self.dataset.num_items + 2)
        for begin in range(0, len(self.examples), 2**20):
            chosen = np.arange(begin, min(begin + 2**20, len(self.examples)))
            ids = np.sort(self.examples.soft_labels(chosen, self.gamma, self.label_rule)[0], axis=1)
            ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = 0  # a repeated label stands once
            counts += np.bincount(ids.ravel(), minlength=len(counts))
        counts[0] = 0
        return counts / len(self.examples)

    def epoch_batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `first_step` on."""
        return (self.step_batch(epoch, step) for step in range(first_step, len(self)))

    def step_batch(self, epoch: int, step: int) -> Batch:
        """The batch of a step of an epoch."""
        chosen = self._order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]
        return self.batch(chosen, np.random.default_rng([self.seed, epoch, step]))

    def _order(self, epoch: int) -> np.ndarray:
        """The order of the examples in an epoch; the last one asked for is kept."""
        if self._ordered is None or self._ordered[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
            self._ordered = (epoch, order)
        return self._ordered[1]

    def as_dataset(self) -> tf.data.Dataset:
        """A `tf.data.Dataset` that gives epoch `self.epoch` from `self.first_step` on, whenever it is iterated."""
        first_step = self.first_step
        spec: TargetSpec = {
            "item": ("int32", [None]),
            "label_ids": ("int32", [None, LABEL_WINDOW]),
            "label_weights": ("float32", [None, LABEL_WINDOW]),
        }
        if self.num_sampled:
            spec |= {"sampled_ids": ("int32", [None]), "expected_counts": ("float32", [None])}
        return _tf_dataset(
            lambda number: self.step_batch(self.epoch, first_step + number),
            self.max_length,
            spec,
            len(self) - first_step,
        )

    def inputs(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """The sequence batch of the inputs of the examples numbered `chosen` (int [S])."""
        return pack(self._own(chosen), self.max_length, self.packed)

    def _own(self, chosen: np.ndarray) -> Sequences:
        return take(self.dataset.items, self.examples.start[chosen], self.examples.target[chosen])


class EvaluationBatches:
    """The validation or test inputs of all users, with what the ranking must know.

    A batch is (inputs, targets): `inputs` the sequence batch of the inputs of U users, every n-th one (see `in_order`);
    `targets` a dict of `item` int32 [U], the held-out items, `excluded` int32 [P, 2], different pairs of user row
    and item id whose score is replaced, and `excluded_score` float32 scalar, by what.

    Args:
        dataset: the sequences.
        split: "valid" or "test".
        protocol: "paper", the released program: items already seen score 0, and the padding and mask rows of the item
            table stay candidates; a target that was seen before scores 0 too. "strict": only real items are candidates
            and seen ones are left out, except the target itself.
        max_length: L.
        packed: see `TrainingBatches`.
        users: int [U], only these users, in file order.
        batch_size: users a batch, whose scores are [batch_size, V + 2]; None: 640, or fewer where those would take more
            than 64 MB.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        split: Split,
        protocol: Protocol = "paper",
        max_length: int = 50,
        packed: bool = True,
        users: np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> None:
        one_of("protocol", protocol, get_args(Protocol))
        if batch_size is None:
            batch_size = max(1, min(640, SCORES // (dataset.num_items + 2)))
        _check_size(batch_size)
        self.dataset = dataset
        self.split = split
        self.protocol = protocol
        self.max_length = max_length
        self.packed = packed
        self.users = np.arange(dataset.num_users) if users is None else users
        self.batch_size = batch_size
        self.held_out = HeldOut(dataset, split, max_length)

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def in_order(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """[U, ...], in the order of `users`, from one array for each batch."""
        values = np.concatenate(parts)
        values[np.concatenate(even_chunks(len(self.users), self.batch_size))] = values.copy()
        return values

    def __iter__(self) -> Iterator[Batch]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> Batch:
        """The batch of that number: of every n-th user, beginning with this one, where there are n batches."""
        users = self.users[number :: len(self)]
        held_out, items = self.held_out, self.dataset.items
        target = held_out.target[users]
        inputs = pack(take(items, held_out.start[users], target), self.max_length, self.packed)
        excluded = self._excluded(users, items[target])
        score = np.array(0.0 if self.protocol == "paper" else -np.inf, np.float32)
        return inputs, {"item": items[target], "excluded": excluded, "excluded_score": score}

    def _excluded(self, users: np.ndarray, targets: np.ndarray) -> np.ndarray:
        history_start = self.held_out.history_start[users]
        history = take(self.dataset.items, history_start, self.held_out.target[users])
        table_rows = self.dataset.num_items + 2
        row = np.repeat(np.arange(len(users)), history.lengths)
        pairs = np.unique(row * table_rows + history.items)  # a history may repeat an item
        row, item = np.divmod(pairs, table_rows)
        seen = np.stack([row, item], axis=1)
        if self.protocol == "strict":
            seen = seen[item != targets[row]]
            special = [[row, item] for row in range(len(users)) for item in (0, table_rows - 1)]
            seen = np.concatenate([seen, special])
        return seen.astype(np.int32)

    def as_dataset(self) -> tf.data.Dataset:
        """The batches as a `tf.data.Dataset`."""
        spec: TargetSpec = {
            "item": ("int32", [None]),
            "excluded": ("int32", [None, 2]),
            "excluded_score": ("float32", []),
        }
        return _tf_dataset(self.batch, self.max_length, spec, len(self))


def _check_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"`batch_size` should be at least 1. Received: {batch_size}")


def even_chunks(count: int, size: int) -> list[np.ndarray]:
    """The numbers 0 to count - 1 in chunks of at most `size` that differ in length by one at most.

    Chunk c of n holds c, c + n, c + 2n, ...: neighbours are alike (files are often sorted), so all chunks are, they
    pack into nearly the same number of rows, and XLA compiles only a few shapes.
    """
    chunks = -(-count // size)
    return [np.arange(chunk, count, chunks) for chunk in range(chunks)]


def sequence_signature(width: int | None = None) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a sequence batch, of any `width` if it is None."""
    import tensorflow as tf  # here, so that the data room itself needs no TensorFlow

    tokens = {name: tf.TensorSpec([None, width], tf.int32) for name in ("items", "segments", "positions")}
    return tokens | {"last": tf.TensorSpec([None], tf.int32), "slots": tf.TensorSpec([None, None], tf.int32)}


def _tf_dataset(make: Callable[[int], Batch], width: int, targets: TargetSpec, length: int) -> tf.data.Dataset:
    """make(0), make(1), ... make(length - 1), made ahead of their use."""
    import tensorflow as tf

    signature = (
        sequence_signature(width),
        {name: tf.TensorSpec(shape, dtype) for name, (dtype, shape) in targets.items()},
    )
    specs = tf.nest.flatten(signature)

    def load(number: tf.Tensor) -> Any:
        arrays = tf.numpy_function(
            lambda number: tf.nest.flatten(make(int(number))), [number], [spec.dtype for spec in specs]
        )
        for array, spec in zip(arrays, specs, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(signature, arrays)

    # Not `Dataset.from_generator`: under Python 3.11 TensorFlow fixes malloc's mmap threshold with it, and every buffer
    # of a step is mapped, zeroed and unmapped anew.
    dataset = tf.data.Dataset.range(length).map(load).prefetch(PREFETCH)
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and an iterator waits up to 0.2 s for the tuner when it ends
    return dataset.with_options(options)
