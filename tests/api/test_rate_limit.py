"""One client can't keep others from the API, nor pass for another one."""

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.api.running import ADMIN, ANYWHERE, RunningApi, ask_raw, running, settings
from vaultmesh.api.rate_limit import MOST_CLIENTS, RateLimit

HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def asked(
    api: RunningApi, source: str = "127.0.0.2", path: str = "/api/jobs", **headers: str
) -> tuple[int, dict[str, str]]:
    answer = await asyncio.to_thread(
        ask_raw, api.server.port, "GET", path, headers={**ADMIN, **headers}, source=source
    )
    return answer.status, {name: answer.headers[name] for name in HEADERS if name in answer.headers}


async def test_a_client_that_asks_too_often_waits_until_its_window_ends_and_others_do_not(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with running(tmp_path, settings(host=ANYWHERE, rate_limit=2), clock=clock) as api:
        assert await asked(api) == (
            200,
            {"x-ratelimit-limit": "2", "x-ratelimit-remaining": "1", "x-ratelimit-reset": "60"},
        )
        clock.now += 30.5
        assert await asked(api) == (
            200,
            {"x-ratelimit-limit": "2", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"},
        )
        for _ in range(3):
            status, headers = await asked(api)
            assert status == 429
            assert headers == {
                "x-ratelimit-limit": "2",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": "30",
                "retry-after": "30",
            }
        assert (await asked(api, "127.0.0.3"))[0] == 200
        assert (await asked(api, path="/health"))[0] == 200
        clock.now += 29.5
        assert (await asked(api))[0] == 200


async def test_this_machine_has_no_limit(tmp_path: Path) -> None:
    async with running(tmp_path, settings(rate_limit=1)) as api:
        for _ in range(5):
            assert await asked(api, "127.0.0.1") == (200, {})


async def test_a_guess_at_a_token_counts(tmp_path: Path) -> None:
    async with running(tmp_path, settings(host=ANYWHERE, rate_limit=3)) as api:
        statuses = [(await asked(api, Authorization=f"Bearer {number}"))[0] for number in range(5)]
        assert statuses == [401, 401, 401, 429, 429]


async def test_a_client_without_trust_can_not_pass_for_another_one(tmp_path: Path) -> None:
    async with running(tmp_path, settings(host=ANYWHERE, rate_limit=1)) as api:
        statuses = [
            (await asked(api, **{"X-Forwarded-For": address}))[0]
            for address in ("127.0.0.1", "10.0.0.1", "10.0.0.2")
        ]
        assert statuses == [200, 429, 429]


async def test_behind_trusted_proxies_each_client_has_a_limit_of_its_own(tmp_path: Path) -> None:
    trusted = (ip_network("127.0.0.2/32"), ip_network("10.0.0.0/8"))
    async with running(
        tmp_path, settings(host=ANYWHERE, rate_limit=1, trusted_proxies=trusted)
    ) as api:
        for forwarded, status in [
            ("192.0.2.1", 200),
            ("192.0.2.2", 200),
            ("192.0.2.1", 429),
            ("127.0.0.1, 192.0.2.1", 429),  # the client wrote the first one itself
            ("8.8.8.8, 192.0.2.1, 10.1.2.3", 429),  # through a second proxy
            ("192.0.2.3,10.1.2.3", 200),
            ("::ffff:192.0.2.1", 429),
            ("2001:db8::1", 200),
            ("2001:DB8:0::1", 429),
            ("nonsense", 200),  # the proxy's own limit
            ("", 429),
            ("192.0.2.9, unknown", 429),
        ]:
            assert (await asked(api, **{"X-Forwarded-For": forwarded}))[0] == status, forwarded


def test_many_addresses_take_no_memory() -> None:
    limit = RateLimit(1, 60, Clock())
    for number in range(MOST_CLIENTS + 500):
        limit.take(f"client {number}")
    assert len(limit._windows) == MOST_CLIENTS
    kept = limit.take(f"client {MOST_CLIENTS + 499}")
    assert kept is not None
    assert kept.exceeded


@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_exempt_clients_are_not_counted(client: str) -> None:
    assert RateLimit(1, 60, Clock()).take(client) is None
