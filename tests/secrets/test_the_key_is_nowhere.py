"""The chain's key is in no history, log, metric, receipt or error, whatever went well or wrong (X8)."""

import asyncio
import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.support.evm_system import EvmSystem

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow]

NAMESPACE = "dao:secret"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("secret")) as running:
        running.start_worker(LOG_LEVEL="debug")
        batch = running.seal(NAMESPACE)
        running.register(NAMESPACE)
        running.wait_final(NAMESPACE, batch)
        running.write_anchors(rpcUrls=["http://user:hush-hush@127.0.0.1:9"])
        running.seal(NAMESPACE)
        running.wait(lambda: running.status(NAMESPACE)["state"] == "backing_off", "a failure")
        yield running


def forms(key: str) -> list[bytes]:
    """Return every form in which a key could show."""
    plain = key.removeprefix("0x")
    raw = bytes.fromhex(plain)
    texts = [
        plain,
        plain.upper(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.b64encode(key.encode()).decode()[:60],
    ]
    return [text.encode() for text in texts] + [raw]


def holds(content: bytes, needles: list[bytes]) -> bool:
    return any(needle in content for needle in needles)


async def _histories(client: Client) -> bytes:
    found = b""
    async for execution in client.list_workflows(""):
        history = await client.get_workflow_handle(
            execution.id, run_id=execution.run_id
        ).fetch_history()
        found += history.to_json().encode()
        for event in history.events:
            found += event.SerializeToString()
    return found


def read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own worker
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.read()


def places(system: EvmSystem) -> dict[str, bytes]:
    """Return the content of every place that others can read."""
    worker = system.workers[0]
    commands = [["status"], ["status", "--json"], ["status", NAMESPACE]]
    found = {
        "histories": system.ask(_histories),
        "log": worker.log.read_bytes(),
        "metrics": read(f"{worker.url}/metrics"),
        "health": read(f"{worker.url}/health"),
        "status": asyncio.run(
            asyncio.to_thread(
                lambda: repr((system.status(NAMESPACE), system.aggregator())).encode()
            )
        ),
    }
    for place in system.root.rglob("*"):
        if place.is_file():
            found[str(place.relative_to(system.root))] = place.read_bytes()
    for command in commands:
        done = system.command(*command)
        found[" ".join(command)] = (done.stdout + done.stderr).encode()
    return found


def test_the_key_and_the_password_are_nowhere(system: EvmSystem) -> None:
    found = places(system)
    assert len(found) > 10
    assert b"127.0.0.1:9" in found["histories"], "the failure must be in the histories"
    password = [name for name, content in found.items() if b"hush-hush" in content]
    assert password == ["vmsh/config/anchors.yaml"]
    assert [name for name, content in found.items() if holds(content, forms(system.key))] == []


def test_the_search_finds_what_is_there(system: EvmSystem, tmp_path: Path) -> None:
    found = places(system)
    account = system.account.lower().removeprefix("0x").encode()
    in_histories = found["histories"].lower()
    assert account in in_histories, "the address is public and must be found"
    planted = [b"log line with " + form for form in forms(system.key)]
    assert all(holds(content, forms(system.key)) for content in planted)
