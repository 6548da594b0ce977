"""What the deployment files say, and a local server that follows them."""

from __future__ import annotations

import shutil

import pytest
from deployment_files import CONFIG, MODEL, SERVING, parsed, versions_of
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2


@pytest.fixture(scope="module")
def model():
    """The one model of models.config."""
    parsed = text_format.Parse((CONFIG / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    [config] = parsed.model_config_list.config
    return config


@pytest.fixture(scope="module")
def metrics_path() -> str:
    prometheus = parsed("MonitoringConfig", CONFIG / "monitoring.config").prometheus_config
    assert prometheus.enable
    return prometheus.path


@pytest.fixture(scope="module")
def compose() -> list[dict]:
    """compose.yaml as it is, and with everything turned on."""
    return [documents[0] for documents in versions_of(SERVING / "compose.yaml")]


@pytest.fixture(scope="module")
def server(strings, metrics_path, tmp_path_factory):
    """The local server on models.config, with an export where it says; see `url`."""
    from tf_fenrec.serving.server import Server

    folder = tmp_path_factory.mktemp("deployed")
    shutil.copytree(strings.path, folder / "models" / MODEL / "1")
    text = (CONFIG / "models.config").read_text().replace('"/models/', f'"{folder}/models/')
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    with Server(config, port=0, rest_port=0, metrics_path=metrics_path, allow_labels=True) as running:
        yield running
