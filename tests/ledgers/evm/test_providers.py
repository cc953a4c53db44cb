"""What several providers make of dead, hanging, lying and rate-limiting ones among them."""

import asyncio
import signal
import time

import pytest
from pydantic import JsonValue

from tests.ledgers.evm.chain import SECRETS, Chain, remembered, with_credentials
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure

pytestmark = pytest.mark.evm
DEAD = with_credentials("http://127.0.0.1:9")


async def test_one_dead_provider_of_two_changes_nothing(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([DEAD, chain.url])
    watched = await submitter.anchor()
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_dead_providers_are_named_without_their_credentials(
    make_submitter: MakeSubmitter,
) -> None:
    submitter = await make_submitter([DEAD, DEAD])
    with pytest.raises(
        NetworkFailure, match=r"http://127\.0\.0\.1:9 could not be reached"
    ) as failure:
        await submitter.sign()
    assert not any(secret in str(failure.value) for secret in SECRETS)


async def test_a_hung_node_fails_in_time_and_then_goes_on(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(call_seconds=1.5)
    watched = await submitter.anchor()
    chain.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(NetworkFailure, match="no answer in time"):
        await submitter.look(watched)
    with pytest.raises(NetworkFailure):
        await submitter.rebroadcast(watched)
    assert time.monotonic() - began < 15
    chain.signal(signal.SIGCONT)
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_hung_provider_slows_only_the_first_look(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url], call_seconds=2.0)
    watched = await submitter.anchor()
    proxy.hang("*")
    await submitter.look(watched)
    asked = proxy.calls.total()
    assert (await submitter.look(watched)).state is RoundState.PENDING
    assert proxy.calls.total() == asked, "who did not answer is not waited for again"


async def test_a_liar_among_two_cannot_produce_inclusion(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    honest = await make_submitter()
    submitter = await make_submitter([proxy.url, chain.url], quorum=2)
    watched = await honest.anchor()
    block = await chain.rpc("eth_getBlockByNumber", "latest", False)
    log: dict[str, JsonValue] = {
        "address": chain.contract,
        "topics": [
            "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2",
            watched.commitment.receipt_form,
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
    fooled = await make_submitter([proxy.url])
    assert (await fooled.look(watched)).state is RoundState.INCLUDED
    view = await submitter.look(watched)
    assert view.state is RoundState.PENDING
    assert "do not agree" in view.message


async def test_a_liar_among_two_cannot_produce_finality(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url], quorum=2)
    watched = await submitter.anchor()
    await chain.mine()
    watched = remembered(watched, await submitter.look(watched))
    assert watched.state is RoundState.INCLUDED

    def far_ahead(params: JsonValue, block: JsonValue) -> JsonValue:
        tagged = isinstance(params, list) and params[0] in ("latest", "finalized")
        return {**block, "number": "0x999"} if tagged and isinstance(block, dict) else block

    proxy.forge("eth_getBlockByNumber", far_ahead)
    view = await submitter.look(watched)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 0, False)
    assert not view.irrevocable


async def test_two_honest_providers_produce_finality(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url], quorum=2)
    watched = await submitter.anchor()
    await chain.mine(6)
    view = await submitter.look(watched)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)
    evidence = await submitter.target.evidence(
        watched, view, submitter.raw_of(watched, view.tx_ref)
    )
    assert evidence.scheme["quorum"] == 2


async def test_a_liar_among_two_cannot_displace_or_lose_a_round(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url], quorum=2)
    watched = await submitter.anchor()
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x9")
    proxy.forge("eth_getTransactionByHash", lambda _, __: None)
    view = await submitter.look(watched)
    assert view.state is RoundState.PENDING
    assert "knows" in view.message
    fooled = await make_submitter([proxy.url])
    for _ in range(3):
        view = await fooled.look(watched)
        assert view.state is RoundState.PENDING
        assert "no longer shows what used nonce" in view.undecided
        watched = remembered(watched, view)


async def test_a_node_that_lost_a_receipt_does_not_make_us_pay_again(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(6)
    proxy.forge("eth_getTransactionReceipt", lambda _, __: None)
    with pytest.raises(NetworkFailure, match="use a node that keeps receipts"):
        await submitter.look(watched)
    proxy.obey()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_lying_first_provider_does_not_date_the_evidence(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url])
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    assert view.block is not None

    def early(_: JsonValue, block: JsonValue) -> JsonValue:
        return {**block, "timestamp": "0x59682f00"} if isinstance(block, dict) else block

    proxy.forge("eth_getBlockByNumber", early)
    evidence = await submitter.target.evidence(
        watched, view, submitter.raw_of(watched, view.tx_ref)
    )
    assert evidence.anchor_ts == view.block.time


async def test_too_few_providers_for_the_quorum_is_a_network_failure(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([chain.url, DEAD], quorum=2)
    with pytest.raises(NetworkFailure):
        await submitter.sign()


async def test_one_provider_of_another_chain_stops_the_aggregator(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([chain.url, proxy.url])
    proxy.forge("eth_chainId", lambda _, __: "0x1")
    with pytest.raises(ValidationFailure, match="serves chain 1"):
        await submitter.sign()


async def test_a_missing_finality_tag_delays_and_never_fails(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    def no_tag(params: JsonValue, block: JsonValue) -> JsonValue:
        return None if isinstance(params, list) and params[0] == "finalized" else block

    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(9)
    proxy.forge("eth_getBlockByNumber", no_tag)
    view = await submitter.look(watched)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 8, False)
    proxy.obey()
    assert (await submitter.look(watched)).final


@pytest.mark.parametrize("answer", [None, "0x", [], {"number": "many"}, "0x" + "f" * 90])
async def test_malformed_answers_are_network_failures(
    proxy: LyingProvider, make_submitter: MakeSubmitter, answer: JsonValue
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    proxy.forge("eth_getBlockByNumber", lambda _, __: answer)
    with pytest.raises(NetworkFailure):
        await submitter.look(watched)


async def test_a_provider_that_stands_still_does_not_hide_an_inclusion(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    first = await chain.rpc("eth_getBlockByNumber", "0x1", False)
    old = first | {"timestamp": "0x60000000"}
    submitter = await make_submitter([proxy.url, chain.url])
    watched = await submitter.anchor()
    await chain.mine()
    proxy.forge("eth_getBlockByNumber", lambda _, __: old)
    proxy.forge("eth_getTransactionReceipt", lambda _, __: None)
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x0")
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_race_between_count_and_receipts_is_not_foreign_use(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    counts = iter(["0x1", "0x0"])
    proxy.forge("eth_getTransactionCount", lambda _, __: next(counts))
    assert (await submitter.look(watched)).state is RoundState.PENDING


async def test_concurrent_looks_share_one_target(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter()
    watched = await submitter.anchor()
    await chain.mine()
    views = await asyncio.gather(*(submitter.look(watched) for _ in range(8)))
    assert {view.state for view in views} == {RoundState.INCLUDED}
