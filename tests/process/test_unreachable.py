"""A Temporal that can't be used is told with what is in the way and how to mend it: each way with a real server."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from devnet.ports import LOOPBACK
from vaultmesh.process.client import Unreachable, connect, retention_warning
from vaultmesh.process.settings import REPOSITORY
from vaultmesh.process.unreachable import in_words

H2_SETTINGS = bytes.fromhex("000000040000000000")


@contextmanager
def served(serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[str]:  # fmt: skip
    """Run a server that treats each connection as it is told to."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=treat, args=(connection,), daemon=True).start()

    def treat(connection: socket.socket) -> None:
        try:
            with connection if context is None else context.wrap_socket(connection, server_side=True) as wrapped:  # fmt: skip
                serve(wrapped)
        except OSError:
            return

    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"


def hang_up(connection: socket.socket) -> None:
    del connection


def speak_http_1(connection: socket.socket) -> None:
    connection.recv(4_096)
    connection.sendall(
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>no</html>"
    )
    # What is not read yet when a connection is closed resets it, and the answer may be lost.
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4_096):
        pass


def speak_http_2_without_grpc(connection: socket.socket) -> None:
    """Answer every request with 500, as a proxy does whose upstream is away."""
    connection.sendall(H2_SETTINGS)
    read_exactly(connection, len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
    while True:
        head = read_exactly(connection, 9)
        read_exactly(connection, int.from_bytes(head[:3], "big"))
        if head[3] == 4 and not head[4] & 1:
            connection.sendall(bytes.fromhex("000000040100000000"))
        if head[3] == 1:
            stream = head[5:].hex()
            connection.sendall(bytes.fromhex(f"0000010105{stream}8e"))


def read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError
        data += more
    return data


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost"),
            *(
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-addext",
                "subjectAltName=DNS:localhost",
            ),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def with_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context


async def refusal(monkeypatch: pytest.MonkeyPatch, address: str, **environment: str) -> str:
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    for name, value in {"TEMPORAL_ADDRESS": address, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unreachable) as caught:
        await connect()
    said = str(caught.value)
    assert address in said
    assert "\n" not in said
    return said


@pytest.mark.server
@pytest.mark.parametrize(
    "environment", [{"TEMPORAL_TLS": "true"}, {"TEMPORAL_API_KEY": "0123456789abcdef"}], ids=str
)
async def test_tls_against_a_server_without_it(
    environment: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await refusal(monkeypatch, address, **environment)
    assert "speaks no TLS - unset TEMPORAL_TLS and TEMPORAL_API_KEY" in said
    assert "0123456789abcdef" not in said


async def test_a_server_that_wants_tls_and_gets_none(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(hang_up, with_tls(certificate)) as address:
        assert "set TEMPORAL_TLS=true" in await refusal(monkeypatch, address)


async def test_a_certificate_that_nobody_vouches_for(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(hang_up, with_tls(certificate)) as address:
        said = await refusal(monkeypatch, address, TEMPORAL_TLS="true")
    assert "not trusted - name its authority with TEMPORAL_TLS_SERVER_CA_CERT_PATH" in said


async def test_a_server_that_wants_a_certificate_of_ours(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = with_tls(certificate)
    context.load_verify_locations(certificate / "cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    trusting = {
        "TEMPORAL_TLS": "true",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(certificate / "cert.pem"),
        "TEMPORAL_TLS_SERVER_NAME": "localhost",
    }
    with served(lambda connection: connection.recv(1) and None, context) as address:
        said = await refusal(monkeypatch, address, **trusting)
    assert "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH" in said


def test_a_server_that_does_not_know_our_key() -> None:
    """Only a server with accounts says so; the words are those of its status."""
    refused = RuntimeError('Status { code: Unauthenticated, message: "Request unauthorized." }')
    assert "set TEMPORAL_API_KEY" in in_words(refused, 10)


async def test_a_proxy_that_speaks_http_1(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(speak_http_1) as address:
        said = await refusal(monkeypatch, address)
    assert "does not speak gRPC: a proxy" in said
    assert "have a proxy pass HTTP/2" in said


async def test_a_proxy_whose_upstream_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(speak_http_2_without_grpc) as address:
        said = await refusal(monkeypatch, address)
    assert "a proxy answered in its place - have the proxy pass gRPC on" in said


async def test_a_proxy_that_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(hang_up) as address:
        said = await refusal(monkeypatch, address)
    assert "closed at once" in said
    assert "name Temporal's frontend itself" in said


@pytest.mark.server
async def test_a_temporal_namespace_that_does_not_exist(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await refusal(monkeypatch, address, TEMPORAL_NAMESPACE="nowhere")
    assert "has no namespace 'nowhere' - create it (temporal operator namespace create" in said


@pytest.mark.server
@pytest.mark.parametrize("command", ["status", "pause a:b", "register", "setup", "diff"])
def test_no_command_takes_a_missing_temporal_namespace_for_missing_workflows(
    command: str, address: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "starter.py", *command.split()],
        cwd=REPOSITORY,
        env={
            **os.environ, "TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": "nowhere", "VMSH_ROOT": str(tmp_path),
            "EVM_RPC": "http://127.0.0.1:1", "BTC_RPC": "http://127.0.0.1:1", "TSA_URL": "http://127.0.0.1:1",
            "EVM_CONTRACT": "0x" + "1" * 40, "EVM_ANCHOR_KEY": "0x" + "1" * 64,
        },
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "set TEMPORAL_NAMESPACE" in done.stderr.splitlines()[-1]


def test_a_retention_below_a_week_is_warned_of() -> None:
    assert retention_warning("default", timedelta(days=7)) == ""
    said = retention_warning("default", timedelta(days=3))
    assert "closed workflows for 3 days only" in said
    assert "temporal operator namespace update -n default --retention 30d" in said


def test_what_nobody_knows_is_passed_on_as_it_is() -> None:
    said = in_words(RuntimeError("something new\nwith: a secret line"), 10)
    assert said == "something new - start it, or set TEMPORAL_ADDRESS"
