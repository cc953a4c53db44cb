"""Calls of which no byte was sent: they say so, and are tried again."""

import asyncio
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from activities.jobs.http_call import CONNECT_SECONDS
from devnet.ports import LOOPBACK, free_port
from tests.jobs.calls import (
    EXECUTION,
    WAITS,
    end_of,
    error_of,
    until,
)
from tests.simulators.certificates import certificate, issuer_of
from tests.simulators.handlers import (
    Behaviour,
    Handler,
    never_speaks,
)
from tests.simulators.timestamps import Holder
from tests.support.quick import REPOSITORY

# --- nothing was sent ----------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_not_called_and_says_where() -> None:
    url = f"http://{LOOPBACK}:{free_port()}"
    assert await error_of(url, seconds=1) == f"not called: {url}: Connection refused"


async def test_a_name_that_nobody_knows_is_not_called() -> None:
    url = "http://no-such-host.invalid"
    assert await error_of(url, seconds=1) == f"not called: {url}: its name is not known"


@pytest.fixture
def full_port() -> Iterator[int]:
    """Return a port whose queue is full: who connects there waits."""
    with ExitStack() as held:
        server = held.enter_context(socket.socket())
        server.bind((LOOPBACK, 0))
        server.listen(0)
        for _ in range(8):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_a_connection_that_does_not_come_about_in_time_is_not_called(full_port: int) -> None:
    url = f"http://{LOOPBACK}:{full_port}"
    assert await error_of(url, seconds=1) == f"not called: {url}: no connection within 1 s"


async def test_a_connection_is_waited_for_ten_seconds(full_port: int) -> None:
    url, began = f"http://{LOOPBACK}:{full_port}", time.monotonic()
    assert await error_of(url, seconds=11) == f"not called: {url}: no connection within 10 s"
    assert time.monotonic() - began >= CONNECT_SECONDS


def sends_at_once(content: bytes) -> Behaviour:
    async def behaviour(connection: Any) -> None:
        await connection.send(content)
        await connection.wait_until_left()

    return behaviour


async def test_tls_to_a_plain_port_sends_nothing_and_is_tried_four_times() -> None:
    async with Handler(sends_at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as handler:
        url, began = handler.url.replace("http:", "https:"), time.monotonic()
        error = await error_of(url)
        assert error == f"not called: {url}: TLS failed (wrong version number)"
        assert time.monotonic() - began >= 1.6 + 2.6 + 4.2
        assert len(handler.connections) == 4
    assert all(b"POST" not in connection.received for connection in handler.connections)
    assert all(b"nightly" not in connection.received for connection in handler.connections)


async def test_a_port_that_takes_connections_and_never_speaks_tls_is_not_called() -> None:
    async with Handler(never_speaks) as handler:
        url = handler.url.replace("http:", "https:")
        assert await error_of(url, seconds=1) == f"not called: {url}: no connection within 1 s"
        assert handler.calls == 0


async def test_a_service_that_is_being_restarted_is_called_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    running = asyncio.create_task(end_of(f"http://{LOOPBACK}:{port}"))
    await until(lambda: WAITS in caplog.messages)
    async with Handler(port=port) as handler:
        assert (await running).is_completed
        assert handler.calls == 1
    assert handler.only.content["executionId"] == str(EXECUTION)
    record = next(record for record in caplog.records if record.message == WAITS)
    assert (vars(record)["execution"], vars(record)["seconds"]) == (str(EXECUTION), 1.6)


async def test_an_idempotent_job_is_not_called_more_often_where_nothing_can_be_sent() -> None:
    url, policy = f"http://{LOOPBACK}:{free_port()}", {"idempotent": True, "maxAttempts": 100}
    began = time.monotonic()
    assert "Connection refused" in await error_of(url, policy=policy)
    assert time.monotonic() - began >= 1.6 + 2.6 + 4.2


# --- TLS -----------------------------------------------------------------------------------------------------------


class Authority:
    """Issues certificates, and is trusted by who reads its file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = issuer_of("root", starts=datetime.now(UTC) - timedelta(days=1))
        self.file = folder / "root.pem"
        self.file.write_bytes(self._root.pem)

    def server(self, address: str) -> ssl.SSLContext:
        """Return what a server of that address shows."""
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        leaf = certificate(
            "server", self._root, authority=False, starts=datetime.now(UTC) - timedelta(days=1),
            further=[(names, False)],
        )  # fmt: skip
        return _context(self._folder / f"{address}.pem", leaf)


def _context(file: Path, leaf: Holder) -> ssl.SSLContext:
    from cryptography.hazmat.primitives import serialization as to

    key = leaf.key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())
    file.write_bytes(key + leaf.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


CALLER = """
import asyncio, sys
from tests.jobs.calls import end_of
print(asyncio.run(end_of(sys.argv[1], seconds=int(sys.argv[2]))).model_dump_json())
"""


async def called_from_a_process_that_trusts(file: Path, url: str, seconds: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, url, str(seconds), stdout=subprocess.PIPE, cwd=REPOSITORY,
        env={**os.environ, "SSL_CERT_FILE": str(file)},
    )  # fmt: skip
    out, _ = await process.communicate()
    return dict(json.loads(out))


async def test_a_certificate_of_a_trusted_authority_is_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Handler(tls=authority.server(LOOPBACK)) as handler:
        end = await called_from_a_process_that_trusts(authority.file, handler.url, 60)
    assert (end["status"], end["error"], handler.calls) == ("completed", None, 1)


async def test_a_certificate_of_another_host_is_sent_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Handler(tls=authority.server("127.0.0.2")) as handler:
        end = await called_from_a_process_that_trusts(authority.file, handler.url, 1)
    assert end["error"].startswith(
        f"not called: {handler.url}: its certificate is refused (IP address mismatch"
    )
    assert (end["status"], handler.calls) == ("failed", 0)


async def test_a_certificate_of_nobody_we_know_is_sent_nothing(tmp_path: Path) -> None:
    async with Handler(tls=Authority(tmp_path).server(LOOPBACK)) as handler:
        error = await error_of(handler.url, seconds=1)
    assert error.startswith(f"not called: {handler.url}: its certificate is refused (")
    assert handler.calls == 0
