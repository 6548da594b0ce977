"""Writes a model as a version directory that TensorFlow Serving loads."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tf_fenrec.data.vocabulary import Vocabulary
from tf_fenrec.errors import InputError
from tf_fenrec.export.recommender import Recommender, describe
from tf_fenrec.files import replacing_directory

WARMUP_ROWS = (1, 32)


def export_model(
    model: Any,
    vocabulary: Vocabulary,
    to: str | os.PathLike[str],
    name: str,
    version: int | None = None,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `to`/`name`/`version`, a SavedModel with the signature `recommend`, also `serving_default`.

    The directory appears whole or not at all. In its assets.extra lie model_card.json and warm-up requests,
    which the server replays before it takes traffic.

    Args:
        model: has `encoder` with the contract of `Recommender`; it is left as it is.
        vocabulary: of the items the model was trained on.
        to: the directory of all models.
        name: of this model: letters, digits, ".", "_" and "-".
        version: a positive integer; by default one more than the highest there is.
        card: what else the model card should say, as JSON values, such as configuration and metrics.

    Returns:
        The version directory.

    Raises:
        InputError: if `name` or `version` can't be used, the version exists, or the vocabulary is of another
            number of items than the model.
        OSError: if the files can't be written.
    """
    rows = int(model.encoder.item_embeddings.shape[0])
    if rows != vocabulary.num_items + 2:
        raise InputError(
            f"`vocabulary` should be of the model's {rows - 2} items. Received: one of {vocabulary.num_items}"
        )
    path = _version_path(Path(to), name, version)
    try:
        with replacing_directory(path) as folder, tempfile.TemporaryDirectory() as assets:
            recommender = Recommender(model.encoder, vocabulary, Path(assets))
            archive = keras.export.ExportArchive()
            for table in recommender.tables:
                archive.track(table)
            recommend = archive.add_endpoint("recommend", recommender.recommend, recommender.input_signature)
            archive.write_out(str(folder), verbose=False)
            extra = folder / "assets.extra"
            extra.mkdir()
            _write_warmup(extra / "tf_serving_warmup_requests", vocabulary, name)
            about = {
                "name": name,
                "version": int(path.name),
                "num_items": vocabulary.num_items,
                "max_length": model.encoder.max_length,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                **(card or {}),
                "signatures": {"recommend": describe(recommend)},
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


def _write_warmup(path: Path, vocabulary: Vocabulary, name: str) -> None:
    """A request of each of `WARMUP_ROWS` rows: the first call of a loaded graph is up to 0.5 s slower."""
    popular = vocabulary.popular[:3]
    history = [item if vocabulary.item_ids is None else vocabulary.item_ids[item - 1] for item in popular]
    dtype = tf.int64 if vocabulary.item_ids is None else tf.string
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in WARMUP_ROWS:
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name=name, signature_name="recommend"),
                inputs={
                    "history": tf.make_tensor_proto([history] * rows, dtype),
                    "k": tf.make_tensor_proto(min(10, vocabulary.num_items), tf.int32),
                    "exclude_seen": tf.make_tensor_proto(True, tf.bool),
                },
            )
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
