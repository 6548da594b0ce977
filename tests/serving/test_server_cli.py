"""`fenrec-serve` as a process: the files of the official server, changed while it runs, and a signal to end it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_model import write_model

from tf_fenrec.cli.serve import main as serve

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def served(*options: object):
    """The lines that a server prints until it listens, and the port of its REST API."""
    command = [sys.executable, ROOT / "serving/serve.py", "--port", 0, "--rest_api_port", 0, *options]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("listening on"):
                break
        assert lines[-1].startswith("listening on 127.0.0.1:"), process.stderr.read()
        [rest] = [line for line in lines if line.startswith("REST on")]
        yield lines, int(rest.rpartition(":")[2])
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=30)
        assert process.returncode == 0
        assert output == "stopped\n"
        assert "Traceback" not in log
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def send(port: int, method: str, path: str, body: object = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, None if body is None else json.dumps(body))
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_config_files_and_what_changes_while_it_serves(tmp_path):
    write_model(tmp_path / "tiny", 1)
    config = tmp_path / "models.config"

    def write_config(labels: dict[str, int]) -> None:
        entries = " ".join(f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items())
        beside = tmp_path / "beside"
        beside.write_text(
            f'model_config_list {{ config {{ name: "tiny" base_path: "{tmp_path}/tiny" model_platform: "tensorflow" '
            f"model_version_policy {{ all {{ }} }} {entries} }} }}"
        )
        beside.rename(config)

    write_config({"stable": 1})
    (tmp_path / "monitoring.config").write_text('prometheus_config { enable: true path: "/numbers" }')
    options = ["--model_config_file", config, "--model_config_file_poll_wait_seconds", 0.05]
    options += ["--file_system_poll_wait_seconds", 0.05, "--allow_version_labels_for_unavailable_models"]
    options += ["--monitoring_config_file", tmp_path / "monitoring.config"]
    with served(*options) as (lines, port):
        assert "model tiny version 1" in lines

        def number(route: str = "") -> int | None:
            status, text = send(port, "POST", f"/v1/models/tiny{route}:predict", {"instances": [7]})
            return json.loads(text)["predictions"][0] if status == 200 else None

        assert number("/labels/stable") == 1
        write_model(tmp_path / "tiny", 2)
        while number() != 2:
            pass
        config.write_text("damaged")  # is passed over
        write_config({"stable": 2, "canary": 2})
        while number("/labels/stable") != 2:
            pass
        assert number("/labels/canary") == 2
        assert number("/versions/1") == 1
        assert "request_count" in send(port, "GET", "/numbers")[1]
        assert send(port, "GET", "/")[0] == 404


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "MODELS", "--ssl_config_file", "JUNK"], "`--ssl_config_file` should hold a SSLConfig as text"),
        (["--model_config_file", "JUNK"], "`--model_config_file` should hold a ModelServerConfig as text"),
        (["--models", "MODELS", "--monitoring_config_file", "JUNK"], "should be given with `--rest_api_port`"),
        (["--models", "NONE"], "No such file or directory"),
        (["--models", "MODELS", "--port", "70000"], "`--port` should be from 0 to 65535. Received: 70000"),
        (["--models", "MODELS", "--max-seconds", "0"], "`--max-seconds` should be positive. Received: 0.0"),
        (
            ["--models", "MODELS", "--model_config_file_poll_wait_seconds", "-1"],
            "`--model_config_file_poll_wait_seconds` should be 0 or more",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    write_model(tmp_path / "models" / "tiny", 1)
    (tmp_path / "junk").write_text("junk")
    paths = {"MODELS": tmp_path / "models", "JUNK": tmp_path / "junk", "NONE": tmp_path / "none"}
    assert serve([str(paths.get(option, option)) for option in options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
