"""make_certificates.sh."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from deployment_files import SERVING, parsed

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("certificates") / "tls"
    make(out, "localhost", "127.0.0.1")
    return out


def make(*arguments: object) -> subprocess.CompletedProcess:
    script = SERVING / "make_certificates.sh"
    return subprocess.run(["bash", script, *arguments], capture_output=True, text=True, timeout=60)


def test_mutual_tls(tls):
    config = parsed("SSLConfig", tls / "ssl.config")
    assert config.client_verify
    pair = (config.server_key.encode(), config.server_cert.encode())
    credentials = grpc.ssl_server_credentials([pair], config.custom_ca.encode(), require_client_auth=True)
    echo = grpc.method_handlers_generic_handler(
        "test.Echo", {"Say": grpc.unary_unary_rpc_method_handler(lambda request, _: request)}
    )
    server = grpc.server(ThreadPoolExecutor(1), handlers=[echo])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()

    def said(host: str, *, known: bool) -> bytes:
        identity = [(tls / name).read_bytes() for name in ("client.key", "client.crt")] if known else [None, None]
        trusting = grpc.ssl_channel_credentials((tls / "ca.crt").read_bytes(), *identity)
        with grpc.secure_channel(f"{host}:{port}", trusting) as channel:
            return channel.unary_unary("/test.Echo/Say")(b"hello", timeout=10)

    try:
        assert said("localhost", known=True) == b"hello"
        assert said("127.0.0.1", known=True) == b"hello"
        with pytest.raises(grpc.RpcError) as error:
            said("127.0.0.1", known=False)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        server.stop(0).wait()


def test_keys_stay_private(tls):
    assert tls.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in tls.glob("*.key"))
    assert (tls / ".gitignore").read_text() == "*\n"


def test_never_overwrites(tls):
    before = (tls / "ca.crt").read_bytes()
    done = make(tls, "localhost")
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tls) in done.stderr
    assert (tls / "ca.crt").read_bytes() == before
