"""The deployment files, read as their users read them."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

ROOT = Path(__file__).parents[3]
SERVING = ROOT / "serving"
CONFIG = SERVING / "config"
MODEL = "fenrec"

FLAGS = {
    *("port", "grpc_socket_path", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms"),
    *("rest_api_enable_cors_support", "enable_batching", "allow_version_labels_for_unavailable_models"),
    *("batching_parameters_file", "enable_per_model_batching_parameters", "model_config_file"),
    *("model_config_file_poll_wait_seconds", "model_name", "model_base_path", "num_load_threads"),
    *("num_unload_threads", "max_num_load_retries", "load_retry_interval_micros", "file_system_poll_wait_seconds"),
    *("flush_filesystem_caches", "tensorflow_session_parallelism", "tensorflow_session_config_file"),
    *("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "use_alts_credentials"),
    *("ssl_config_file", "platform_config_file", "per_process_gpu_memory_fraction", "saved_model_tags"),
    *("grpc_channel_arguments", "grpc_max_threads", "enable_model_warmup", "num_request_iterations_for_warmup"),
    *("version", "monitoring_config_file", "remove_unused_fields_from_bundle_metagraph", "prefer_tflite_model"),
    *("enable_signature_method_name_check", "enable_profiler", "thread_pool_factory_config_file"),
    *("enable_grpc_healthcheck_service", "enable_serialization_as_tensor_content"),
}
"""Of tensorflow_model_server, from tensorflow_serving/model_servers/main.cc."""

BOOL, STRING = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL, descriptor_pb2.FieldDescriptorProto.TYPE_STRING
INT64 = ".google.protobuf.Int64Value"
MESSAGES: dict[str, dict[str, int | str]] = {
    # tensorflow_serving/servables/tensorflow/session_bundle_config.proto, as far as the file uses it
    "BatchingParameters": {
        "max_batch_size": INT64,
        "batch_timeout_micros": INT64,
        "max_enqueued_batches": INT64,
        "num_batch_threads": INT64,
        "pad_variable_length_inputs": BOOL,
    },
    # tensorflow_serving/config/monitoring_config.proto
    "PrometheusConfig": {"enable": BOOL, "path": STRING},
    "MonitoringConfig": {"prometheus_config": ".deployment.PrometheusConfig"},
    # tensorflow_serving/config/ssl_config.proto
    "SSLConfig": {"server_key": STRING, "server_cert": STRING, "custom_ca": STRING, "client_verify": BOOL},
}
"""Names and types of the fields of messages that tensorflow-serving-api doesn't ship."""


def parsed(name: str, path: Path):
    """The text file as a message of `MESSAGES`, as the server reads it: an unknown field is an error."""
    file = descriptor_pb2.FileDescriptorProto(name="deployment.proto", package="deployment", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message, fields in MESSAGES.items():
        added = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            one = added.field.add(name=field, number=number, label=1)
            if isinstance(kind, str):
                one.type, one.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
            else:
                one.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    message_type = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"deployment.{name}"))
    return text_format.Parse(path.read_text(), message_type())


def uncommented(text: str) -> str:
    """With what the comments offer, list entries of YAML, turned on; plain prose stays a comment."""
    return re.sub(r"^( +)# (- |  )", r"\1\2", text, flags=re.MULTILINE)


def versions_of(path: Path) -> list[list[dict]]:
    """The documents of a YAML file, as it is and with everything turned on."""
    text = path.read_text()
    return [[*yaml.safe_load_all(text)], [*yaml.safe_load_all(uncommented(text))]]


def flags(arguments: list[str]) -> dict[str, str]:
    """The flags of a command line, which are all known to the server."""
    found = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    assert len(found) == len(arguments)
    assert found.keys() <= FLAGS
    return found


def instructions(keyword: str) -> list[str]:
    """The arguments of every such instruction of Dockerfile.serving."""
    text = (ROOT / "Dockerfile.serving").read_text().replace("\\\n", "")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{keyword} ")]


def files_of(given: dict[str, str]) -> set[str]:
    """The names of the files that flags name; those of the project exist."""
    names = set()
    for flag, value in given.items():
        if flag.endswith("_file"):
            folder, name = value.rsplit("/", 1)
            assert folder == ("/etc/fenrec-tls" if flag == "ssl_config_file" else "/etc/fenrec")
            assert flag == "ssl_config_file" or (CONFIG / name).is_file()
            names.add(name)
    return names


def fetched(server, path: str, body: str | None = None) -> dict | str:
    """What the REST port answers; raises unless that is a 200."""
    data = None if body is None else body.encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}{path}", data, timeout=30) as response:
        text = response.read().decode()
    return json.loads(text) if "json" in response.headers["Content-Type"] else text
