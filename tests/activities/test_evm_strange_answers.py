"""Backends that lag, events of others, records that were lost: a round is neither lost nor won by them (X6, E1, E7)."""

from collections.abc import Callable

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from pydantic import JsonValue

from tests.activities.conftest import MakePen
from tests.activities.evm_chain import Chain, Pen, remembered
from tests.activities.test_evm_evidence import FINAL, forget, looks, never_lost, starved, use_nonce
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.ledger import RoundState, WatchedRound

pytestmark = pytest.mark.evm

LAG = 20
"""Blocks that a backend lags behind: more than the search goes back by itself."""


def lagging(head: JsonValue) -> Callable[[JsonValue, JsonValue], JsonValue]:
    """Return a forge that tells an older newest block."""
    return lambda params, told: head if params[0] == "latest" else told  # type: ignore[index]


async def test_a_head_that_lagged_once_does_not_hide_a_foreign_transaction_for_ever(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen, key: str
) -> None:
    pen = await make_pen([proxy.url])
    watched = await pen.sign()
    proxy.forge(
        "eth_getBlockByNumber", lagging(await chain.rpc("eth_getBlockByNumber", "latest", False))
    )
    await use_nonce(chain, key, watched)
    await chain.mine(FINAL)
    views = await looks(pen, watched)
    never_lost(views)
    proxy.obey()
    views = await looks(pen, remembered(watched, views[-1]), 2)
    assert [view.state for view in views] == [RoundState.DISPLACED, RoundState.LOST]


async def test_a_count_that_lagged_behind_its_block_does_not_hide_a_foreign_transaction_for_ever(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen, key: str
) -> None:
    pen = await make_pen([proxy.url])
    watched = await pen.sign()
    await chain.mine(LAG)
    await use_nonce(chain, key, watched)
    await chain.mine(LAG)
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x0")
    view = await pen.look(watched)
    assert view.state is RoundState.MISSING
    proxy.obey()
    views = await looks(pen, remembered(watched, view), 3)
    assert [view.state for view in views[-2:]] == [RoundState.DISPLACED, RoundState.LOST]


async def test_a_bid_whose_record_was_lost_is_no_foreign_transaction(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url])
    watched = await pen.anchor()
    bumped = await pen.bump(watched)
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs")
    views = await looks(pen, watched)
    never_lost(views)
    assert bumped.tx_refs[-1] in views[-1].undecided
    assert "adopt" in views[-1].undecided


async def test_events_that_nobody_asked_for_include_no_failed_call(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url])
    watched = await starved(chain, pen)
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
    views = await looks(pen, watched, 2)
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
    chain: Chain, pen: Pen, key: str
) -> None:
    watched = await pen.sign()
    await copy_call(chain, watched)
    assert (await pen.look(watched)).state is RoundState.MISSING
    await use_nonce(chain, key, watched)
    await chain.mine(FINAL)
    assert (await pen.target.fate(watched.reservation, watched.tx_refs)).shown == ""
    views = await looks(pen, watched, 2)
    assert [view.state for view in views] == [RoundState.DISPLACED, RoundState.LOST]


async def test_another_ledger_with_the_same_chain_id_undoes_no_anchor(
    chain: Chain, pen: Pen, make_pen: MakePen
) -> None:
    watched = await pen.anchor()
    await chain.mine(FINAL)
    included = remembered(watched, await pen.look(watched))
    async with Chain("--timestamp", "1700000000") as other:
        await other.mine(2 * FINAL)
        moved = await make_pen([other.url])
        for known in (watched, included):
            with pytest.raises(ValidationFailure, match="another ledger with the same chain id"):
                await moved.look(known)
        both = await make_pen([other.url, chain.url])
        assert (await both.look(included)).final


async def test_a_finalized_tag_that_lags_leaves_no_final_receipt_that_contradicts_itself(
    chain: Chain, proxy: LyingProvider, make_pen: MakePen
) -> None:
    pen = await make_pen([proxy.url])
    earlier = await chain.rpc("eth_getBlockByNumber", "latest", False)
    watched = await pen.anchor()
    await chain.mine(FINAL)
    view = await pen.look(watched)
    assert view.final
    raw = pen.raw_of(watched, view.tx_ref)
    proxy.forge("eth_getBlockByNumber", lambda p, told: earlier if p[0] == "finalized" else told)  # type: ignore[index]
    with pytest.raises(NetworkFailure, match="looking again"):
        await pen.target.evidence(watched, view, raw)
    proxy.obey()
    evidence = await pen.target.evidence(watched, view, raw)
    assert evidence.scheme["finality"]["tagBlock"] >= evidence.block_number  # type: ignore[index, call-overload, operator]
