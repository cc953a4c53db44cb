"""`contract deploy` with a key that an aggregator uses: it says so within seconds, and never hangs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from eth_account import Account

import starter
from tests.anchoring.scripted_ledger import EVM, Stage, owed, request
from tests.ledgers.evm.chain import CHAIN_ID, Chain, foreign_transfer
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.rounds.manifest import Candidate

pytestmark = pytest.mark.evm

KEY = "0x" + "17" * 32
ADDRESS = Account.from_key(KEY).address


@pytest_asyncio.fixture
async def chain() -> AsyncIterator[Chain]:
    async with Chain() as started:
        await started.fund(KEY)
        yield started


def use(monkeypatch: pytest.MonkeyPatch, root: Path, url: str) -> None:
    """Configure one chain below a root, without a contract."""
    place = root / "vmsh/config/anchors.yaml"
    place.parent.mkdir(parents=True)
    section = {"rpcUrl": url, "contract": "${NOT_SET}", "key": KEY}
    place.write_text(json.dumps({"eip155": {str(CHAIN_ID): section}}))
    monkeypatch.setenv("VMSH_ROOT", str(root))


def deploy() -> int:
    return starter.main(["contract", "deploy", "--target", str(EVM)])


async def pooled(chain: Chain) -> None:
    """Wait until a transaction is in the pool."""
    async with asyncio.timeout(20):
        while int((await chain.rpc("txpool_status"))["pending"], 16) != 1:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_a_deployment_whose_nonce_is_taken_ends_within_seconds(
    chain: Chain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(monkeypatch, tmp_path, chain.url)
    deploying = asyncio.create_task(asyncio.to_thread(deploy))
    await pooled(chain)
    await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, KEY, 0))
    await chain.mine()
    since = time.monotonic()
    assert await asyncio.wait_for(deploying, 20) == 1
    assert time.monotonic() - since < 5
    outcome = capsys.readouterr()
    assert outcome.out == ""
    (line,) = [one for one in outcome.err.splitlines() if one.startswith("starter.py:")]
    assert f"nonce 0 of {ADDRESS} was taken by another transaction" in line
    assert "stop the workers" in line.lower()


async def test_a_nonce_that_is_taken_before_the_deployment_is_sent_is_told_too(
    chain: Chain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with LyingProvider(chain.url) as proxy:
        use(monkeypatch, tmp_path, proxy.url)
        await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, KEY, 0))
        await chain.mine()
        proxy.forge("eth_getTransactionCount", lambda _asked, _true: "0x0")
        assert await asyncio.to_thread(deploy) == 1
    assert "nonce 0 of" in capsys.readouterr().err


async def test_a_deployment_that_is_included_is_no_taken_nonce(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path, chain.url)
    deploying = asyncio.create_task(asyncio.to_thread(deploy))
    await pooled(chain)
    await chain.mine()
    assert await asyncio.wait_for(deploying, 20) == 0


def test_a_deployment_beside_an_open_round_of_the_same_account_is_refused_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path)
    use(monkeypatch, tmp_path, "http://127.0.0.1:9")
    round_id = stage.sign(owed("b1", request("dao:first")))
    document = {
        "n": 1,
        "reservation": {"account": ADDRESS, "sequence": 7, "fields": {}},
        "raw": "0x02",
        "hash": "0x" + "cd" * 32,
    }
    stage.files.rounds(EVM).add_candidate(round_id, Candidate.model_validate(document))
    assert deploy() == 1
    outcome = capsys.readouterr().err
    assert f"round {round_id} of {EVM} is on its way with nonce 7 of {ADDRESS}" in outcome
