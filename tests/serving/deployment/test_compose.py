"""compose.yaml: its schema, and that it agrees with the other files."""

from __future__ import annotations

import importlib.resources
import json

import jsonschema
from deployment_files import ROOT, SERVING, files_of, flags, instructions


def test_schema(compose):
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads(schemas.joinpath("compose-spec.json").read_text())
    for document in compose:
        jsonschema.validate(document, schema)


def test_flags(compose):
    plain, everything = (flags(document["services"]["server"]["command"]) for document in compose)
    assert everything.keys() - plain.keys() == {"enable_batching", "batching_parameters_file", "ssl_config_file"}
    assert all(everything[flag] == value for flag, value in plain.items())
    assert files_of(everything) == {"models.config", "monitoring.config", "batching.config", "ssl.config"}


def test_paths(compose):
    folders = {}
    for service in compose[1]["services"].values():
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            folders[target] = source
    assert folders["/models"] == "../models"  # where docs/SERVING.md exports to
    assert folders["/etc/fenrec"] == "./config"
    assert folders["/etc/fenrec-tls/ssl.config"] == "../tls/ssl.config"
    assert (SERVING / folders["/etc/prometheus/prometheus.yml"]).is_file()


def test_builds_the_dockerfile(compose):
    build = compose[0]["services"]["server"]["build"]
    assert (SERVING / build["context"] / build["dockerfile"]).resolve() == ROOT / "Dockerfile.serving"


def test_only_this_machine_reaches_it(compose):
    published = [port for service in compose[1]["services"].values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in published)
    inside = {port.split(":")[-1] for port in compose[1]["services"]["server"]["ports"]}
    assert inside == set(instructions("EXPOSE")[0].split())
