"""Batches for `fit` and `evaluate`: a function of the data, the seed, the epoch and the step, and of nothing else.

What is in a batch follows from the examples and the ranking protocol. How its sequences lie in rows follows from the
encoder, which says so by a `Layout`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tf_fenrec.data.held_out import HeldOut, Split
from tf_fenrec.data.packing import (
    Labels,
    Layout,
    SequenceBatch,
    Sequences,
    Size,
    join,
    pack,
    pack_histories,
    pack_with_labels,
    sizes_of,
    take,
)
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.data.sequences import SequenceDataset
from tf_fenrec.data.views.view import View
from tf_fenrec.errors import InputError, one_of

if TYPE_CHECKING:
    import tensorflow as tf

Batch = tuple[SequenceBatch, dict[str, np.ndarray]]
Protocol = Literal["paper", "strict"]
PREFETCH = 4
SCORES = 2**24  # at most in a batch of users by default; evaluation has a few such batches under way

# XLA compiles a step anew for every shape of its batch, so batches are given a size that holds nearly all of them: what
# some take on average, and a few standard deviations.
SAMPLED_STEPS = 24
SPARE_DEVIATIONS = 4
ROWS_MULTIPLE = 4
NEGATIVE_DRAWS = 20
LABELS_MULTIPLE = 64


class TrainingBatches:
    """Shuffled batches of training examples and their views.

    A batch is (inputs, targets). `inputs` is the batch of B examples' sequences followed by B sequences of each view
    (see `tf_fenrec.data.packing`). `targets` is a dict:

    - `ids` int32 [B]: examples of equal ids are no negatives of each other
    - `label_ids` int32 [P, k], `label_weights` float32 [P, k]: what is predicted. P is B where a sequence is read at
      its last item alone; where it is read everywhere, P is filled up with labels of weight 0
    - `label_tokens` int32 [P], only where sequences are read everywhere: the flat index of each label's token
    - `label_groups` int32 [P], only where sequences are read everywhere and a view brings labels: 0 for a label of the
      examples, 1 for one of the first view, ...
    - `negative_ids` int32 [P, n], only with `num_negatives`: items that the label's user has not had in training
    - `sampled_ids` int32 [S], `expected_counts` float32 [P k + S], only with `num_sampled`: see
      `sampled_soft_label_cross_entropy`

    Every batch is a random sample of the examples with the same mix of input lengths, and nearly all have the same
    shape: the examples are sorted by length and dealt to the steps, each run of neighbours in random order. All batches
    are of size B: some examples come twice an epoch where B doesn't divide their number.

    Args:
        rule: Rule. Makes the examples.
        batch_size: int. B; all examples where they are fewer. Defaults to 256.
        views: mapping of names to views, what the examples are contrasted with. Defaults to none.
        seed: int. Of the shuffling and of whatever the rule, the views and the sample draw. Defaults to 0.
        num_sampled: int. S, items drawn uniformly for each batch, to train a sampled softmax with. Defaults to 0, none.
        num_negatives: int. n, negatives drawn uniformly for each label. Defaults to 0, none.
    """

    def __init__(
        self,
        rule: Rule,
        batch_size: int = 256,
        views: Mapping[str, View] | None = None,
        seed: int = 0,
        num_sampled: int = 0,
        num_negatives: int = 0,
    ) -> None:
        _check_size(batch_size)
        self.rule = rule
        self.batch_size = min(batch_size, len(rule))
        self.views = dict(views or {})
        self.seed = seed
        self.num_sampled = num_sampled
        self.num_negatives = num_negatives
        self.epoch = 0
        self.first_step = 0
        self._ordered: tuple[int, np.ndarray] | None = None
        self._sizes: dict[Layout, tuple[Size, int]] = {}

    @property
    def dataset(self) -> SequenceDataset:
        """The sequences."""
        return self.rule.dataset

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.rule) // self.batch_size)

    def batch(self, rows: np.ndarray, rng: np.random.Generator, layout: Layout, everywhere: bool = False) -> Batch:
        """The batch of the examples numbered `rows` (int [B])."""
        groups, labels, of_group = self._groups(rows, rng)
        size, least_labels = self._size(layout) if len(rows) == self.batch_size else (None, 0)
        inputs, tokens = pack_with_labels(groups, layout, size)
        ids, weights = labels.ids, labels.weights
        targets = {"label_ids": ids, "label_weights": weights}
        if self.num_negatives:
            targets["negative_ids"] = self._negatives(groups, labels, rng)
        if everywhere:
            targets["label_tokens"] = tokens
            if of_group is not None:
                targets["label_groups"] = of_group
            missing = max(0, least_labels - len(tokens)) or -len(tokens) % LABELS_MULTIPLE
            targets = {name: np.pad(a, [(0, missing), *[(0, 0)] * (a.ndim - 1)]) for name, a in targets.items()}
        targets["ids"] = self.rule.ids(rows)
        if self.num_sampled:
            targets |= self._sample(targets["label_ids"], rng)
        return inputs, targets

    def _groups(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Sequences, Labels, np.ndarray | None]:
        """The sequences of the examples and of all their views, the labels among them, and the group of each label
        where a view has any."""
        rule = self.rule
        parts = [rule.examples(rows, rng), *(view(rule, rows, rng) for view in self.views.values())]
        groups = join(parts)
        assert groups.labels is not None  # examples have them
        if all(part.labels is None for part in parts[1:]):
            return groups, groups.labels, None
        counts = [0 if part.labels is None else len(part.labels.tokens) for part in parts]
        return groups, groups.labels, np.repeat(np.arange(len(parts), dtype=np.int32), counts)

    def _negatives(self, groups: Sequences, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        """int32 [P, n], items drawn uniformly among those that the user of each label has not had in training.

        After a few draws an item of the user's is left as it is: somebody may have had everything.
        """
        users = groups.known_users().astype(np.int64) - 1
        sequence = np.searchsorted(np.cumsum(groups.lengths), labels.tokens, side="right")
        rows = self.dataset.num_items + 2
        of_user = users[sequence][:, None] * rows
        drawn = rng.integers(1, rows - 1, (len(labels.tokens), self.num_negatives))
        for _ in range(NEGATIVE_DRAWS):
            wanted = of_user + drawn
            nearest = np.minimum(np.searchsorted(self._had, wanted), len(self._had) - 1)
            had = self._had[nearest] == wanted
            if not had.any():
                break
            drawn[had] = rng.integers(1, rows - 1, int(had.sum()))
        return drawn.astype(np.int32)

    @cached_property
    def _had(self) -> np.ndarray:
        """int64, sorted: a code of each user and an item of its training part."""
        inside = self.dataset.in_training()
        user = np.repeat(np.arange(self.dataset.num_users), self.dataset.lengths)[inside]
        return np.unique(user * (self.dataset.num_items + 2) + self.dataset.items[inside])

    def _size(self, layout: Layout) -> tuple[Size, int]:
        """The size of a batch, and the labels it has at least."""
        if layout not in self._sizes:
            steps = np.unique(np.linspace(0, len(self) - 1, SAMPLED_STEPS, dtype=np.int64))
            sample = [self._groups(self._order(0)[step], np.random.default_rng([self.seed, 0, step])) for step in steps]
            rows, most = sizes_of((groups.lengths for groups, _, _ in sample), layout.width)
            labels = [len(found.tokens) for _, found, _ in sample]
            self._sizes[layout] = Size(_enough(rows, ROWS_MULTIPLE), most), _enough(labels, LABELS_MULTIPLE)
        return self._sizes[layout]

    def _sample(self, label_ids: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        num_items = self.dataset.num_items
        sampled = rng.integers(1, num_items + 1, self.num_sampled, np.int32)
        candidates = np.concatenate([label_ids.ravel(), sampled])
        expected = (len(label_ids) - 1) * self._label_share[candidates] + self.num_sampled / num_items
        return {"sampled_ids": sampled, "expected_counts": expected.astype(np.float32)}

    @cached_property
    def _label_share(self) -> np.ndarray:
        """[V + 2], the share of all labels that hold an item."""
        counts = np.zeros(self.dataset.num_items + 2)
        labels = 0
        rng = np.random.default_rng(self.seed)
        for begin in range(0, len(self.rule), 2**20):
            rows = np.arange(begin, min(begin + 2**20, len(self.rule)))
            drawn = self.rule.examples(rows, rng).labels
            assert drawn is not None
            ids = np.sort(drawn.ids, axis=1)
            ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = 0  # a repeated label stands once
            counts += np.bincount(ids.ravel(), minlength=len(counts))
            labels += len(ids)
        counts[0] = 0
        return counts / labels

    def step_batch(self, epoch: int, step: int, layout: Layout, everywhere: bool = False) -> Batch:
        """The batch of a step of an epoch."""
        return self.batch(self._order(epoch)[step], np.random.default_rng([self.seed, epoch, step]), layout, everywhere)

    def _order(self, epoch: int) -> np.ndarray:
        """int [steps, B], the examples of each step of an epoch; the last epoch asked for is kept."""
        if self._ordered is None or self._ordered[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            examples = rng.permutation(len(self.rule))
            twice = len(self) * self.batch_size - len(examples)
            examples = np.concatenate([examples, rng.choice(examples, twice, replace=False)])
            by_length = examples[np.argsort(self.rule.lengths[examples], kind="stable")]
            # Each run of neighbours gives every step one example.
            dealt = rng.permuted(by_length.reshape(self.batch_size, len(self)), axis=1)
            self._ordered = (epoch, np.ascontiguousarray(dealt.T))
        return self._ordered[1]

    def as_dataset(self, layout: Layout, everywhere: bool = False) -> tf.data.Dataset:
        """A `tf.data.Dataset` that gives epoch `self.epoch` from `self.first_step` on, whenever it is iterated."""
        import tensorflow as tf

        first_step = self.first_step
        _, example = self.batch(np.arange(1), np.random.default_rng(0), layout, everywhere)
        targets = {
            name: tf.TensorSpec([None, *array.shape[1:]], tf.as_dtype(array.dtype)) for name, array in example.items()
        }
        return _tf_dataset(
            lambda number: self.step_batch(self.epoch, first_step + number, layout, everywhere),
            (sequence_signature(layout.width, layout.users), targets),
            len(self) - first_step,
        )

    def input_batches(self, layout: Layout, size: int) -> Chunks:
        """Chunks of `size` examples (or fewer) whose inputs `inputs` packs into batches of one shape."""
        return Chunks(self.rule.lengths, size, layout.width)

    def inputs(self, rows: np.ndarray, layout: Layout, size: Size | None = None) -> SequenceBatch:
        """The batch of the inputs of the examples numbered `rows` (int [S])."""
        return pack(self.rule.inputs(rows), layout, size)


class Chunks:
    """Sequences in chunks of one size and about the same tokens, so that all of them pack into one shape.

    Sorted by length, they are dealt to the chunks; a few stand in two where the size doesn't divide their number.

    Args:
        lengths: int [S], of the sequences.
        size: int. The most a chunk may hold.
        width: int. T, tokens in a row.

    Attributes:
        numbers: int [chunks, size], the sequences of each chunk.
        packed_size: Size, that each chunk packs into.
    """

    def __init__(self, lengths: np.ndarray, size: int, width: int) -> None:
        count = -(-len(lengths) // size)
        lengths = np.minimum(lengths, width)
        order = np.argsort(lengths, kind="stable")
        order = np.concatenate([order, order[: -len(order) % count]])
        self.numbers = order.reshape(-1, count).T
        rows, most = sizes_of((lengths[chunk] for chunk in self.numbers), width)
        self.packed_size = Size(_multiple(max(rows), ROWS_MULTIPLE), most)

    def __len__(self) -> int:
        return len(self.numbers)


class EvaluationBatches:
    """The validation or test inputs of all users, with what the ranking must know.

    A batch is (inputs, targets): `inputs` the batch of the histories of U users, as many in each batch and of about the
    same lengths (see `in_order`; a few users may stand in two batches); `targets` a dict of `item` int32
    [U], the held-out items, `excluded` int32 [P, 2], different pairs of user row and item id whose score is replaced,
    and `excluded_score` float32 scalar, by what.

    Args:
        dataset: the sequences.
        split: "valid" or "test".
        protocol: "paper", the released program: items already seen score 0, and the padding and mask rows of the item
            table stay candidates; a target that was seen before scores 0 too. "strict": only real items are candidates
            and seen ones are left out, except the target itself.
        users: int [U], only these users, in file order.
        batch_size: users a batch, whose scores are [batch_size, V + 2]; None: 640, or fewer where those would take more
            than 64 MB.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        split: Split,
        protocol: Protocol = "paper",
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
        self.users = np.arange(dataset.num_users) if users is None else users
        self.batch_size = batch_size
        self.held_out = HeldOut(dataset, split)
        self._chunks: dict[Layout, Chunks] = {}

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def _chunked(self, layout: Layout) -> Chunks:
        if layout not in self._chunks:
            tokens = (self.held_out.target - self.held_out.history_start)[self.users] + layout.mask_query
            self._chunks[layout] = Chunks(tokens, self.batch_size, layout.width)
        return self._chunks[layout]

    def in_order(self, parts: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
        """[U, ...], in the order of `users`, from one array for each of the first batches; without users of others."""
        numbers = np.concatenate(self._chunked(layout).numbers[: len(parts)])
        _, first = np.unique(numbers, return_index=True)
        return np.concatenate(parts)[first]

    def batches(self, layout: Layout) -> Iterator[Batch]:
        """All of them, one after the other."""
        return (self.batch(number, layout) for number in range(len(self)))

    def batch(self, number: int, layout: Layout) -> Batch:
        """The batch of that number."""
        chunks = self._chunked(layout)
        users = self.users[chunks.numbers[number]]
        held_out, items = self.held_out, self.dataset.items
        target = held_out.target[users]
        begin = np.maximum(held_out.history_start[users], target - layout.width)
        histories = take(items, begin, target)._replace(users=users)
        inputs = pack_histories(histories, layout, self.dataset.num_items, chunks.packed_size)
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


def _check_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"`batch_size` should be at least 1. Received: {batch_size}")


def _enough(sampled: Sequence[float], of: int) -> int:
    """A multiple of `of` that is seldom exceeded by what `sampled` is a sample of."""
    return _multiple(float(np.mean(sampled) + SPARE_DEVIATIONS * np.std(sampled)), of)


def _multiple(count: float, of: int) -> int:
    """The least multiple of `of` that is at least `count`."""
    return math.ceil(count / of) * of


def sequence_signature(width: int | None = None, users: bool = False) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a batch of sequences, of any `width` if it is None, with or without `users`."""
    import tensorflow as tf  # here, so that the data room itself needs no TensorFlow

    signature = {name: tf.TensorSpec([None, width], tf.int32) for name in ("items", "segments", "positions")}
    signature |= {"last": tf.TensorSpec([None], tf.int32), "slots": tf.TensorSpec([None, None], tf.int32)}
    return signature | ({"users": tf.TensorSpec([None], tf.int32)} if users else {})


def _tf_dataset(make: Callable[[int], Batch], signature: Any, length: int) -> tf.data.Dataset:
    """make(0), make(1), ... make(length - 1), made ahead of their use."""
    import tensorflow as tf

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
