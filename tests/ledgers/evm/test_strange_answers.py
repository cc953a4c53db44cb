"""Backends that lag, events of others, records that were lost: a round is neither lost nor won by them (X6, E1, E7)."""

from collections.abc import Callable

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from pydantic import JsonValue

from tests.ledgers.evm.chain import Chain, Submitter, remembered
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.ledgers.evm.test_evidence import FINAL, forget, looks, never_lost, starved, use_nonce
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, WatchedRound
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure

pytestmark = pytest.mark.evm

LAG = 20
"""Blocks that a backend lags behind: more than the search goes back by itself."""


def lagging(head: JsonValue) -> Callable[[JsonValue, JsonValue], JsonValue]:
    """Return a forge that tells an older newest block."""
    return lambda params, told: head if params[0] == "latest" else told  # type: ignore[index]


async def test_a_head_that_lagged_once_does_not_hide_a_foreign_transaction_for_ever(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, key: str
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    proxy.forge(
        "eth_getBlockByNumber", lagging(await chain.rpc("eth_getBlockByNumber", "latest", False))
    )
    await use_nonce(chain, key, watched)
    await chain.mine(FINAL)
    views = await looks(submitter, watched)
    never_lost(views)
    proxy.obey()
    views = await looks(submitter, remembered(watched, views[-1]), 2)
    assert [view.state for view in views] == [RoundState.DISPLACED, RoundState.LOST]


async def test_a_count_that_lagged_behind_its_block_does_not_hide_a_foreign_transaction_for_ever(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, key: str
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    await chain.mine(LAG)
    await use_nonce(chain, key, watched)
    await chain.mine(LAG)
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x0")
    view = await submitter.look(watched)
    assert view.state is RoundState.MISSING
    proxy.obey()
    views = await looks(submitter, remembered(watched, view), 3)
    assert [view.state for view in views[-2:]] == [RoundState.DISPLACED, RoundState.LOST]


async def test_a_bid_whose_record_was_lost_is_no_foreign_transaction(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    bumped = await submitter.bump(watched)
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs")
    views = await looks(submitter, watched)
    never_lost(views)
    assert bumped.tx_refs[-1] in views[-1].undecided
    assert "adopt" in views[-1].undecided


async def test_events_that_nobody_asked_for_include_no_failed_call(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await starved(chain, submitter)
    block = await chain.rpc("eth_getBlockByNumber", "latest", False)
    await chain.mine(FINAL)
    event = {
        "address": "0x" + "77" * 20,
        "topics": ["0x" + "88" * 32],
        "transactionHash": watched.tx_refs[0],
        "blockHash": block["hash"],
        "blockNumber": block["number"],
    }
    proxy.forge("eth_getLogs", lambda _, __: [event])
    views = await looks(submitter, watched, 2)
    assert [view.state for view in views] == [RoundState.DISPLACED, RoundState.LOST]


async def copy_call(chain: Chain, watched: WatchedRound) -> None:
    """Have a stranger send the round's call, as whoever reads the pool can."""
    stranger = Account.create()
    await chain.fund(stranger.key.hex())
    fields = watched.reservation.fields
    signed = stranger.sign_transaction(
        {
            "type": 2,
            "chainId": chain.chain_id,
            "nonce": 0,
            "to": to_checksum_address(str(fields["to"])),
            "value": 0,
            "data": str(fields["data"]),
            "gas": 200_000,
            "maxFeePerGas": 50 * 10**9,
            "maxPriorityFeePerGas": 10**9,
        }
    )
    await chain.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
    await chain.mine()


async def test_a_stranger_who_copies_our_call_neither_keeps_a_round_nor_includes_it(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    watched = await submitter.sign()
    await copy_call(chain, watched)
    assert (await submitter.look(watched)).state is RoundState.MISSING
    await use_nonce(chain, key, watched)
    await chain.mine(FINAL)
    assert (await submitter.target.fate(watched.reservation, watched.tx_refs)).shown_by == ""
    views = await looks(submitter, watched, 2)
    assert [view.state for view in views] == [RoundState.DISPLACED, RoundState.LOST]


async def test_another_ledger_with_the_same_chain_id_undoes_no_anchor(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    included = remembered(watched, await submitter.look(watched))
    async with Chain("--timestamp", "1700000000") as other:
        await other.mine(2 * FINAL)
        moved = await make_submitter([other.url])
        for known in (watched, included):
            with pytest.raises(ValidationFailure, match="another ledger with the same chain id"):
                await moved.look(known)
        both = await make_submitter([other.url, chain.url])
        assert (await both.look(included)).final


async def test_a_finalized_tag_that_lags_leaves_no_final_receipt_that_contradicts_itself(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    earlier = await chain.rpc("eth_getBlockByNumber", "latest", False)
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    view = await submitter.look(watched)
    assert view.final
    raw = submitter.raw_of(watched, view.tx_ref)
    proxy.forge("eth_getBlockByNumber", lambda p, told: earlier if p[0] == "finalized" else told)  # type: ignore[index]
    with pytest.raises(NetworkFailure, match="looking again"):
        await submitter.target.evidence(watched, view, raw)
    proxy.obey()
    evidence = await submitter.target.evidence(watched, view, raw)
    assert evidence.scheme["finality"]["tagBlock"] >= evidence.block_number  # type: ignore[index, call-overload, operator]
