"""`debug` shows each request to an endpoint, and nothing of what is secret in it, in its answer or in an error's text."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest
from aiohttp import web
from pydantic import SecretStr

from activities.jobs.http_call import HttpCalls
from devnet.ports import free_port
from tests.support.log_lines import caught
from vaultmesh.api.issuer_keys import IssuerKeys, KeysAway
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.jobs.call import JobCall
from vaultmesh.domain.jobs.job import JobDefinition
from vaultmesh.domain.jobs.run import TriggeredBy
from vaultmesh.domain.messages import Backoff
from vaultmesh.ledgers.bitcoin.rpc import Node
from vaultmesh.ledgers.evm.providers import Provider
from vaultmesh.ledgers.http import Client
from vaultmesh.ledgers.rfc3161.authority import Authority
from vaultmesh.process import logs
from vaultmesh.process.request_log import host_of, logged
from vaultmesh.process.services import Services

USER, PASSWORD, KEY, TOKEN, BODY = (
    "bob-user",
    "pass-word",
    "k3y-in-path",
    "t0ken-in-query",
    "0xb0dy",
)
SECRETS = (USER, PASSWORD, KEY, TOKEN, BODY, "Ym9iLXVzZXI")
"""The last one begins the header of basic authentication."""
EVERYTHING = ["vaultmesh", "activities", "aiohttp", "asyncio", "web3"]


@pytest.fixture(autouse=True)
def nothing_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no secret taken out afterwards: it must not be passed in at all."""
    monkeypatch.setattr(logs, "_SECRETS", set())
    monkeypatch.setattr(logs, "without_secrets", lambda text: text)


@pytest.fixture
async def place() -> AsyncIterator[str]:
    """Serve answers that repeat everything that was sent; returns host and port."""

    async def answered(request: web.Request) -> web.Response:
        text = f"{request.path_qs} {dict(request.headers)} {await request.text()}"
        if "broken" in request.path:
            return web.Response(status=500, text=text)
        return web.json_response({"error": {"code": -32000, "message": text, "data": text}})

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answered)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"{host}:{port}"
    await runner.cleanup()


def url_at(place: str, path: str = "v3") -> str:
    return f"http://{USER}:{PASSWORD}@{place}/{path}/{KEY}?apikey={TOKEN}"


async def asked_all(url: str) -> None:
    """Ask by every client of a ledger; none gets what it wants."""
    provider, node, client = Provider(url), Node(url, "wallet"), Client(5.0)
    for asking in (
        provider.call("eth_sendRawTransaction", BODY),
        node.wallet("sendrawtransaction", BODY),
        Authority(url, 0.0, client).ask(BODY.encode()),
        Authority(url, 0.0, client).probe(),
    ):
        with suppress(AnchorError):
            await asking
    await provider.disconnect()
    await node.close()
    await client.close()


async def test_each_request_to_a_ledger_is_shown_without_a_secret(place: str) -> None:
    with caught(EVERYTHING, logging.DEBUG) as lines:
        await asked_all(url_at(place))
        await asked_all(url_at(place, "broken"))
    asked = lines.events(event="asked")
    assert [(line["method"], line["result"]) for line in asked] == [
        ("eth_sendRawTransaction", "HTTP 200, error -32000"),
        ("sendrawtransaction", "HTTP 200, error -32000"),
        ("POST", "HTTP 200"),
        ("HEAD", "HTTP 200"),
        ("eth_sendRawTransaction", "HTTP 500"),
        ("sendrawtransaction", "HTTP 500"),
        ("POST", "HTTP 500"),
        ("HEAD", "HTTP 500"),
    ]
    assert {line["host"] for line in asked} == {place}
    assert all(line["level"] == "debug" and line["milliseconds"] >= 0 for line in asked)
    assert [secret for secret in SECRETS if secret in lines.text] == []


async def test_a_request_that_got_no_answer_says_why() -> None:
    with caught(EVERYTHING, logging.DEBUG) as lines:
        await asked_all(url_at(f"127.0.0.1:{free_port()}"))
    assert {line["result"] for line in lines.events(event="asked")} == {"Connection refused"}
    assert [secret for secret in SECRETS if secret in lines.text] == []


async def test_calls_of_jobs_and_of_issuers_are_shown_without_a_secret(place: str) -> None:
    variables = {
        "REPORT_SERVICE_URL": url_at(place).partition("?")[0].replace(f"{USER}:{PASSWORD}@", ""),
        "REPORT_SERVICE_TOKEN": PASSWORD,
    }
    definition = JobDefinition(
        name="report", display_name="report", description="report", cron_expression="0 0 * * *", enabled=True,
        job_type="other", service="report-service", endpoint=f"/{KEY}", config={"body": BODY},
    )  # fmt: skip
    call = JobCall(definition, uuid4(), TriggeredBy.MANUAL, None)
    with caught(EVERYTHING, logging.DEBUG) as lines:
        await HttpCalls(Services.from_environment(variables), Backoff()).make(call, lambda: None)
        with suppress(KeysAway):
            await IssuerKeys(SecretStr(url_at(place))).find("RS256", "any")
    assert [(line["host"], line["method"], line["result"]) for line in lines.events(event="asked")] == [
        (place, "POST", "HTTP 200"), (place, "GET", "HTTP 200"),
    ]  # fmt: skip
    assert [secret for secret in SECRETS if secret in lines.text] == []


def test_a_request_that_is_cut_off_is_shown_too() -> None:
    url = f"https://node.example:8545/{KEY}"
    with (
        caught(EVERYTHING, logging.DEBUG) as lines,
        suppress(TimeoutError),
        logged(url, "eth_call"),
    ):
        raise TimeoutError(KEY)
    (line,) = lines.events(event="asked")
    assert (line["host"], line["result"]) == ("node.example:8545", "TimeoutError")
    assert KEY not in lines.text


def test_nothing_is_shown_above_debug() -> None:
    with caught(EVERYTHING) as lines, logged("https://node.example", "eth_call"):
        pass
    assert lines.text == ""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"https://{USER}:{PASSWORD}@node.example:8545/{KEY}?a={TOKEN}#x", "node.example:8545"),
        ("http://[::1]:8545/key", "[::1]:8545"),
        ("https://node.example", "node.example"),
        ("http://[", "a malformed URL"),
    ],
)
def test_a_host_is_named_without_what_stands_around_it(url: str, host: str) -> None:
    assert host_of(url) == host
