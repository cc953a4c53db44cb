"""What several providers make of dead, hanging, lying and rate-limiting ones among them."""

import asyncio
import signal
import time

import pytest
from pydantic import JsonValue

from tests.ledgers.evm.chain import SECRETS, Chain, remembered, with_credentials
from tests.ledgers.evm.conftest import MakePen
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure

pytestmark = pytest.mark.evm
DEAD = with_credentials("http://127.0.0.1:9")


async def test_one_dead_provider_of_two_changes_nothing(chain: Chain, make_pen: MakePen) -> None:
    pen = await make_pen([DEAD, chain.url])
    watched = await pen.anchor()
    await chain.mine()
    assert (await pen.look(watched)).state is RoundState.INCLUDED


async def test_dead_providers_are_named_without_their_credentials(make_pen: MakePen) -> None:
    pen = await make_pen([DEAD, DEAD])
    with pytest.raises(
        NetworkFailure, match=r"http://127\.0\.0\.1:9 could not be reached"
    ) as failure:
        await pen.sign()
    assert not any(secret in str(failure.value) for secret in SECRETS)


async def test_a_hung_node_fails_in_time_and_then_goes_on(chain: Chain, make_pen: MakePen) -> None:
    pen = await make_pen(call_seconds=1.5)
    watched = await pen.anchor()
    chain.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(NetworkFailure, match="no answer in time"):
        await pen.look(watched)
    with pytest.raises(NetworkFailure):
        await pen.rebroadcast(watched)
    assert time.monotonic() - began < 15
    chain.signal(signal.SIGCONT)
    assert await pen.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    assert (await pen.look(watched)).state is RoundState.INCLUDED


async def test_a_hung_provider_slows_only_the_first_look(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url, chain.url], call_seconds=2.0)
    watched = await pen.anchor()
    proxy.hang("*")
    await pen.look(watched)
    asked = proxy.calls.total()
    assert (await pen.look(watched)).state is RoundState.PENDING
    assert proxy.calls.total() == asked, "who did not answer is not waited for again"


async def test_a_liar_among_two_cannot_produce_inclusion(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    honest = await make_pen()
    pen = await make_pen([proxy.url, chain.url], quorum=2)
    watched = await honest.anchor()
    block = await chain.rpc("eth_getBlockByNumber", "latest", False)
    log: dict[str, JsonValue] = {
        "address": chain.contract,
        "topics": [
            "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2",
            watched.commitment,
            "0xf110e3c75960b479f915c10713f557d919fb19b694e83cd1389e98142944ce23",
        ],
    }
    false_receipt: dict[str, JsonValue] = {
        "transactionHash": watched.tx_refs[0],
        "status": "0x1",
        "to": chain.contract,
        "blockHash": block["hash"],
        "blockNumber": block["number"],
        "logs": [log],
    }
    proxy.forge("eth_getTransactionReceipt", lambda _, __: false_receipt)
    fooled = await make_pen([proxy.url])
    assert (await fooled.look(watched)).state is RoundState.INCLUDED
    view = await pen.look(watched)
    assert view.state is RoundState.PENDING
    assert "do not agree" in view.message


async def test_a_liar_among_two_cannot_produce_finality(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url, chain.url], quorum=2)
    watched = await pen.anchor()
    await chain.mine()
    watched = remembered(watched, await pen.look(watched))
    assert watched.state is RoundState.INCLUDED

    def far_ahead(params: JsonValue, block: JsonValue) -> JsonValue:
        tagged = isinstance(params, list) and params[0] in ("latest", "finalized")
        return {**block, "number": "0x999"} if tagged and isinstance(block, dict) else block

    proxy.forge("eth_getBlockByNumber", far_ahead)
    view = await pen.look(watched)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 0, False)
    assert not view.irrevocable


async def test_two_honest_providers_produce_finality(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url, chain.url], quorum=2)
    watched = await pen.anchor()
    await chain.mine(6)
    view = await pen.look(watched)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)
    evidence = await pen.target.evidence(watched, view, pen.raw_of(watched, view.tx_ref))
    assert evidence.scheme["quorum"] == 2


async def test_a_liar_among_two_cannot_displace_or_lose_a_round(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url, chain.url], quorum=2)
    watched = await pen.anchor()
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x9")
    proxy.forge("eth_getTransactionByHash", lambda _, __: None)
    view = await pen.look(watched)
    assert view.state is RoundState.PENDING
    assert "knows" in view.message
    fooled = await make_pen([proxy.url])
    for _ in range(3):
        view = await fooled.look(watched)
        assert view.state is RoundState.PENDING
        assert "no longer shows what used nonce" in view.undecided
        watched = remembered(watched, view)


async def test_a_node_that_lost_a_receipt_does_not_make_us_pay_again(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url])
    watched = await pen.anchor()
    await chain.mine(6)
    proxy.forge("eth_getTransactionReceipt", lambda _, __: None)
    with pytest.raises(NetworkFailure, match="use a node that keeps receipts"):
        await pen.look(watched)
    proxy.obey()
    assert (await pen.look(watched)).state is RoundState.INCLUDED


async def test_a_lying_first_provider_does_not_date_the_evidence(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url, chain.url])
    watched = await pen.anchor()
    await chain.mine()
    view = await pen.look(watched)
    assert view.block is not None

    def early(_: JsonValue, block: JsonValue) -> JsonValue:
        return {**block, "timestamp": "0x59682f00"} if isinstance(block, dict) else block

    proxy.forge("eth_getBlockByNumber", early)
    evidence = await pen.target.evidence(watched, view, pen.raw_of(watched, view.tx_ref))
    assert evidence.anchor_ts == view.block.time


async def test_too_few_providers_for_the_quorum_is_a_network_failure(
    chain: Chain, make_pen: MakePen
) -> None:
    pen = await make_pen([chain.url, DEAD], quorum=2)
    with pytest.raises(NetworkFailure):
        await pen.sign()


async def test_one_provider_of_another_chain_stops_the_pen(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([chain.url, proxy.url])
    proxy.forge("eth_chainId", lambda _, __: "0x1")
    with pytest.raises(ValidationFailure, match="serves chain 1"):
        await pen.sign()


async def test_a_missing_finality_tag_delays_and_never_fails(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    def no_tag(params: JsonValue, block: JsonValue) -> JsonValue:
        return None if isinstance(params, list) and params[0] == "finalized" else block

    pen = await make_pen([proxy.url])
    watched = await pen.anchor()
    await chain.mine(9)
    proxy.forge("eth_getBlockByNumber", no_tag)
    view = await pen.look(watched)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 8, False)
    proxy.obey()
    assert (await pen.look(watched)).final


@pytest.mark.parametrize("answer", [None, "0x", [], {"number": "many"}, "0x" + "f" * 90])
async def test_malformed_answers_are_network_failures(
    proxy: LyingProvider, make_pen: MakePen, answer: JsonValue
) -> None:
    pen = await make_pen([proxy.url])
    watched = await pen.anchor()
    proxy.forge("eth_getBlockByNumber", lambda _, __: answer)
    with pytest.raises(NetworkFailure):
        await pen.look(watched)


async def test_a_provider_that_stands_still_does_not_hide_an_inclusion(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    first = await chain.rpc("eth_getBlockByNumber", "0x1", False)
    old = first | {"timestamp": "0x60000000"}
    pen = await make_pen([proxy.url, chain.url])
    watched = await pen.anchor()
    await chain.mine()
    proxy.forge("eth_getBlockByNumber", lambda _, __: old)
    proxy.forge("eth_getTransactionReceipt", lambda _, __: None)
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x0")
    assert (await pen.look(watched)).state is RoundState.INCLUDED


async def test_a_race_between_count_and_receipts_is_not_foreign_use(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url])
    watched = await pen.anchor()
    counts = iter(["0x1", "0x0"])
    proxy.forge("eth_getTransactionCount", lambda _, __: next(counts))
    assert (await pen.look(watched)).state is RoundState.PENDING


async def test_concurrent_looks_share_one_target(chain: Chain, make_pen: MakePen) -> None:
    pen = await make_pen()
    watched = await pen.anchor()
    await chain.mine()
    views = await asyncio.gather(*(pen.look(watched) for _ in range(8)))
    assert {view.state for view in views} == {RoundState.INCLUDED}
