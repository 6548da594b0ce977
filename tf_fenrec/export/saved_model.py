"""Writes a model as a version directory that TensorFlow Serving loads."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.encoders.calls import encode, frozen, user_vectors
from tf_fenrec.errors import InputError
from tf_fenrec.export.added import added_items
from tf_fenrec.export.catalogue import catalogue_rows, vector_table, with_catalogue
from tf_fenrec.export.recommender import Recommender, Search, describe
from tf_fenrec.export.search import ExactSearch, GivenScores, enough_lists, list_order
from tf_fenrec.files import replacing_directory

Index = Literal["exact", "ivf"]
WARMUP_ROWS = (1, 8, 32)
SAMPLE = 512
"""Random histories by which the lists of an index are judged."""


def export_model(
    model: Any,
    vocabulary: Vocabulary,
    to: str | os.PathLike[str],
    name: str,
    version: int | None = None,
    card: Mapping[str, Any] | None = None,
    index: Index = "exact",
    add_items: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes `to`/`name`/`version`, a SavedModel with the signatures of `Recommender`.

    The directory appears whole or not at all. In its assets.extra lie model_card.json and warm-up requests,
    which the server replays before it takes traffic.

    Args:
        model: has `encoder` with the contract of `Recommender`; it is left as it is.
        vocabulary: of the items the model was trained on.
        to: the directory of all models.
        name: of this model: letters, digits, ".", "_" and "-".
        version: a positive integer; by default one more than the highest there is.
        card: what else the model card should say, as JSON values, such as configuration and metrics.
        index: "exact" scores every item; "ivf" only those in the most promising lists of similar items, as many as find
            at least .99 of the 20 best items of users with random histories.
        add_items: a file of items to add, see `added_items`.

    Returns:
        The version directory.

    Raises:
        InputError: if `name` or `version` can't be used, the version exists, or the vocabulary is of another
            number of items than the model, an item can't be added, or the lists of "ivf" don't find enough.
        OSError: if the files can't be written.
    """
    trained = model.encoder.num_items
    if trained != vocabulary.num_items:
        raise InputError(
            f"`vocabulary` should be of the model's {trained} items. Received: one of {vocabulary.num_items}"
        )
    for weight in model.encoder.weights:
        if not np.isfinite(np.asarray(weight, np.float32)).all():
            raise InputError(f"`model` should have finite weights. Received: NaN or infinite ones in {weight.path}")
    encoder = frozen(model.encoder)
    catalogue = catalogue_rows(encoder)
    if add_items is not None and getattr(encoder, "scores_items", False):
        raise InputError("`add_items` should not be given for a model without vectors. Received: " + str(add_items))
    if add_items is not None:
        vocabulary, vectors = added_items(Path(add_items), vocabulary, catalogue[1:-1])
        catalogue = np.insert(catalogue, -1, vectors, axis=0)
    num_items = vocabulary.num_items
    path = _version_path(Path(to), name, version)
    try:
        with replacing_directory(path) as folder, tempfile.TemporaryDirectory() as assets:
            encoder, search, about_index = _served(encoder, catalogue, index)
            recommender = Recommender(encoder, search, vocabulary, Path(assets))
            archive = keras.export.ExportArchive()
            for table_ in recommender.tables:
                archive.track(table_)
            bounds = {"k": [1, num_items], "positions": [1, num_items]}
            signatures = {}
            for signature, (function, inputs) in recommender.signatures.items():
                signatures[signature] = describe(archive.add_endpoint(signature, function, inputs), bounds)
            archive.write_out(str(folder), verbose=False)
            extra = folder / "assets.extra"
            extra.mkdir()
            _write_warmup(extra / "tf_serving_warmup_requests", vocabulary, name, recommender.max_rows, set(signatures))
            about = {
                "name": name,
                "version": int(path.name),
                "num_items": num_items,
                "added_items": num_items - trained,
                "max_length": encoder.max_length,
                "max_rows": recommender.max_rows,
                "max_positions": recommender.max_positions,
                "index": about_index,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                **(card or {}),
                "signatures": signatures,
            }
            (extra / "model_card.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        if not path.exists():
            raise
        raise InputError(f"`version` should be a new one. Received: {path.name}, and {path} exists") from error
    return path


def _version_path(to: Path, name: str, version: int | None) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise InputError(f'`name` should be of letters, digits, ".", "_" and "-". Received: {name!r}')
    if version is None:
        taken = [int(path.name) for path in to.joinpath(name).glob("*") if path.name.isdecimal()]
        version = max(taken, default=0) + 1
    if version < 1:
        raise InputError(f"`version` should be a positive integer. Received: {version}")
    return to / name / str(version)


def _served(encoder: Any, catalogue: np.ndarray, index: Index) -> tuple[Any, Search, dict[str, Any]]:
    """`encoder` over the items of `catalogue` [V + 2, ...], the search among them, and its facts."""
    num_items = len(catalogue) - 2
    served = with_catalogue(encoder, catalogue)
    if getattr(encoder, "scores_items", False):
        if index != "exact":
            raise InputError(f'`index` should be "exact" for a model without vectors. Received: {index}')
        return served, GivenScores(served.num_items + 2, num_items), {"kind": index}
    if index == "exact":
        return served, ExactSearch(vector_table(served), num_items), {"kind": index}
    order = list_order(np.asarray(vector_table(served), np.float32)[1 : num_items + 1])
    served = with_catalogue(encoder, catalogue[np.concatenate([[0], order, [num_items + 1]])])
    random = np.random.default_rng(0)
    empty = random.integers(0, served.max_length, (SAMPLE, 1))
    rows = random.integers(1, num_items + 1, (SAMPLE, served.max_length), dtype=np.int32)
    rows = np.where(np.arange(served.max_length) < empty, np.int32(0), rows)
    users = np.asarray(keras.ops.cast(user_vectors(served, encode(served, tf.constant(rows))), "float32"))
    seen = np.concatenate([[0], order]).astype(np.int32)[rows]
    search, facts = enough_lists(vector_table(served), order, users, seen)
    return served, search, {"kind": index, "sample": "random histories", **facts}


def _write_warmup(path: Path, vocabulary: Vocabulary, name: str, max_rows: int, signatures: set[str]) -> None:
    """A request of each of `WARMUP_ROWS` rows for each signature: the first call of a graph is up to 0.5 s slower."""
    popular = vocabulary.popular[:3]
    history = [item if vocabulary.item_ids is None else vocabulary.item_ids[item - 1] for item in popular]
    dtype = tf.int64 if vocabulary.item_ids is None else tf.string
    padding = 0 if vocabulary.item_ids is None else ""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in [rows for rows in WARMUP_ROWS if rows <= max_rows]:
            histories = tf.make_tensor_proto([history] * rows, dtype)
            none = tf.make_tensor_proto([[padding]] * rows, dtype)
            fallback = tf.make_tensor_proto([[padding], *[history[:1]] * (rows - 1)], dtype)
            count = tf.make_tensor_proto([min(20, vocabulary.num_items)] * rows, tf.int32)
            seen = tf.make_tensor_proto([True] * rows, tf.bool)
            recommend = {"history": histories, "k": count, "exclude_seen": seen, "exclude": none, "allow": none}
            for signature, inputs in (
                ("recommend", recommend),
                ("recommend", recommend | {"allow": histories}),
                ("recommend", recommend | {"history": fallback}),
                ("score", {"history": histories, "candidates": histories}),
                ("embed", {"history": histories}),
                ("item_vectors", {"positions": tf.make_tensor_proto([1] * rows, tf.int32)}),
            ):
                if signature not in signatures:
                    continue
                request = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(name=name, signature_name=signature), inputs=inputs
                )
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())
