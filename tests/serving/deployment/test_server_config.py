"""The configuration files of the server."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tensorflow as tf
import yaml
from deployment_files import CONFIG, MODEL, SERVING, fetched, instructions, parsed
from google.protobuf import text_format

from tf_fenrec.cli import export
from tf_fenrec.serving import Client


def test_models(model):
    default = {action.dest: action.default for action in export.parser()._actions}
    assert model.name == MODEL == default["name"]
    assert (model.base_path, model.model_platform) == (f"/models/{MODEL}", "tensorflow")
    served = set(model.model_version_policy.specific.versions)
    assert served == {1}  # what the first export is
    assert set(model.version_labels) == {"stable", "canary"}
    assert set(model.version_labels.values()) <= served


def test_labels_are_served(server):
    for label in ("stable", "canary"):
        with Client(f"127.0.0.1:{server.port}", MODEL, label=label) as client:
            [answer] = client.recommend([["asin-5"]], k=3)
        assert len(answer.items) == 3


def test_metrics_are_served(server, metrics_path):
    fetched(server, f"/v1/models/{MODEL}/metadata")
    assert f'model_name="{MODEL}"' in fetched(server, metrics_path)


def test_batching():
    batching = parsed("BatchingParameters", CONFIG / "batching.config")
    assert batching.pad_variable_length_inputs
    # A longer request than the longest batch is refused.
    rows = inspect.signature(Client).parameters["max_rows"].default
    assert batching.max_batch_size.value >= rows
    assert batching.num_batch_threads.value >= 1
    assert batching.max_enqueued_batches.value >= batching.num_batch_threads.value
    assert batching.batch_timeout_micros.value >= 0


def test_a_misspelled_field_is_found(tmp_path):
    (tmp_path / "batching.config").write_text("max_batchsize { value: 3 }")
    with pytest.raises(text_format.ParseError):
        parsed("BatchingParameters", tmp_path / "batching.config")


def test_a_batch_answers_as_its_requests(exported):
    """The server repeats the first element of a shorter tensor at its end (its batching_util.cc)."""
    raw = [*(exported.vocabulary.item_ids or range(1, exported.vocabulary.num_items + 1))]
    pad = "" if exported.vocabulary.item_ids else 0
    requests = [
        {
            "history": [[pad, raw[1], raw[2], raw[3]], [pad, pad, raw[9], raw[9]]],
            "k": [3, 1],
            "exclude_seen": [True, False],
            "exclude": [[pad], [pad]],
            "allow": [[pad, *raw[1:6]], [pad] * 6],
        },
        {
            "history": [[pad, raw[4]]],
            "k": [5],
            "exclude_seen": [True],
            "exclude": [[pad, raw[5], raw[6]]],
            "allow": [[pad]],
        },
        {"history": [[pad]], "k": [2], "exclude_seen": [True], "exclude": [[pad]], "allow": [[pad]]},
    ]
    arrays = [{name: np.array(rows) for name, rows in request.items()} for request in requests]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(exported.path)).signature_def["recommend"]

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            feeds = {signature.inputs[name].name: rows for name, rows in inputs.items()}
            return session.run({name: info.name for name, info in signature.outputs.items()}, feeds)

        alone = [run(inputs) for inputs in arrays]
        together = run(_batch(arrays))
    first = 0
    for inputs, own in zip(arrays, alone, strict=True):
        rows = slice(first, first := first + len(inputs["k"]))
        columns = inputs["k"].max()
        for name, values in own.items():
            found = together[name][rows]
            if found.ndim == 2:
                beyond, found = found[:, columns:], found[:, :columns]
                assert np.all(beyond == (-np.inf if name == "scores" else b"" if beyond.dtype == object else 0))
            if name == "scores":
                np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-7)
            else:
                np.testing.assert_array_equal(found, values)


def test_prometheus(compose, metrics_path):
    [job] = yaml.safe_load((SERVING / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == metrics_path
    [[target]] = [config["targets"] for config in job["static_configs"]]
    host, port = target.split(":")
    assert host in compose[0]["services"]
    assert port in instructions("EXPOSE")[0].split()


def _batch(requests: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One request of several, as pad_variable_length_inputs makes it."""
    merged = {}
    for name in requests[0]:
        tensors = [request[name] for request in requests]
        if tensors[0].ndim == 2:
            width = max(tensor.shape[1] for tensor in tensors)
            fill = [np.full((len(tensor), width - tensor.shape[1]), tensor.flat[0], tensor.dtype) for tensor in tensors]
            tensors = [np.concatenate(pair, axis=1) for pair in zip(tensors, fill, strict=True)]
        merged[name] = np.concatenate(tensors)
    return merged
