"""Dockerfile.serving, checked as far as that is possible without building it."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from deployment_files import CONFIG, MODEL, ROOT, files_of, flags, instructions


def lint(path: Path) -> subprocess.CompletedProcess:
    hadolint = Path(sys.executable).with_name("hadolint")
    return subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, timeout=60)


def test_lint():
    done = lint(ROOT / "Dockerfile.serving")
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_finds_an_unpinned_image(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM tensorflow/serving\n")
    assert lint(tmp_path / "Dockerfile").returncode != 0


def test_default_is_not_root_and_serves_what_is_mounted():
    stages = [line.split(" AS ") for line in instructions("FROM")]
    assert stages[1:] == [["base", "baked"], ["base"]]
    assert instructions("USER") == ["65534:65534"]
    assert f"MODEL_NAME={MODEL}" in instructions("ENV")[0].split()


def test_command():
    [command] = instructions("CMD")
    assert files_of(flags(json.loads(command))) == {"monitoring.config"}
    assert "serving/config /etc/fenrec" in instructions("COPY")[0]


def test_build_context():
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    def left_out(path: str) -> bool:
        parts = Path(path).parts
        parents = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        return any(_matches(pattern, parent) for pattern in patterns for parent in parents)

    used = ["Dockerfile.serving", *(f"serving/config/{path.name}" for path in CONFIG.iterdir())]
    used += [f"models/{MODEL}/1/{name}" for name in ("saved_model.pb", "assets/item_ids.txt", "variables/x")]
    assert not any(map(left_out, used))
    for path in (
        ".git/HEAD",
        "tls/ca.key",
        "tls/ssl.config",
        "ssl.config",
        f"models/{MODEL}/.tmp-2-x/saved_model.pb",
    ):
        assert left_out(path), path


@pytest.mark.parametrize(("state", "healthy"), [("AVAILABLE", True), ("LOADING", False), ("END", False)])
def test_health_check(state, healthy):
    asked = []

    class Status(http.server.BaseHTTPRequestHandler):
        """Answers as the server's status route."""

        def do_GET(self):
            asked.append(self.path)
            body = {"model_version_status": [{"version": "1", "state": state, "status": {"error_code": "OK"}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body, indent=1).encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Status) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = check_health(server.server_port)
        server.shutdown()
    assert asked == [f"/v1/models/{MODEL}"]
    assert (done.returncode == 0) == healthy
    assert check_health(server.server_port).returncode != 0  # nobody listens any more


def check_health(port: int) -> subprocess.CompletedProcess:
    [check] = instructions("HEALTHCHECK")
    command = json.loads(check.split("CMD ", 1)[1])
    command[-1] = command[-1].replace("127.0.0.1/8501", f"127.0.0.1/{port}")
    return subprocess.run(command, env={"MODEL_NAME": MODEL}, capture_output=True, timeout=60)


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern of .dockerignore is this path."""
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, path) is not None
