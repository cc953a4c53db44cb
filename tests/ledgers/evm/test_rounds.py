"""What becomes of a round on a real chain: included, dropped, stuck, bumped, reverted, displaced, reorganised."""

import secrets
import signal
from pathlib import Path

import pytest

from activities.anchoring.observe import differing
from tests.ledgers.evm.chain import (
    HUSH,
    MUTE_CODE,
    Chain,
    Submitter,
    foreign_transfer,
    open_submitter,
    remembered,
)
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict, WatchedRound
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure

pytestmark = pytest.mark.evm


async def included(chain: Chain, submitter: Submitter) -> WatchedRound:
    """Anchor a round and see it in a block."""
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    assert view.state is RoundState.INCLUDED
    return remembered(watched, view)


async def test_a_round_is_pending_then_included_then_final(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.anchor()
    assert (await submitter.look(watched)).state is RoundState.PENDING
    await chain.mine()
    view = await submitter.look(watched)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 0, False)
    assert view.block is not None
    assert view.block.number == await chain.height()
    assert view.tx_ref == watched.tx_refs[0]
    await chain.mine(3)
    assert not (await submitter.look(remembered(watched, view))).irrevocable
    await chain.mine(1)
    final = await submitter.look(remembered(watched, view))
    assert (final.depth, final.irrevocable, final.final) == (4, True, True)


async def test_finality_waits_for_the_deepest_requirement(
    chain: Chain, submitter: Submitter
) -> None:
    watched = (await included(chain, submitter)).model_copy(update={"depths": [2, 9]})
    await chain.mine(8)
    view = await submitter.look(watched)
    assert (view.irrevocable, view.final, view.depth) == (True, False, 8)
    await chain.mine()
    assert (await submitter.look(watched)).final


async def test_depth_alone_decides_where_it_is_configured(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(finality="depth", confirmations=1)
    watched = await included(chain, submitter)
    await chain.mine()
    view = await submitter.look(watched)
    assert (view.irrevocable, view.final) == (True, True)


async def test_the_same_bytes_may_be_sent_again_at_any_time(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.anchor()
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED


async def test_the_same_record_gives_the_same_bytes(submitter: Submitter) -> None:
    watched = await submitter.sign()
    first = submitter.candidates[watched.round_id][0]
    assert await submitter.target.sign(watched.reservation, first.terms, 0) == first


async def test_a_dropped_round_is_missing_and_the_same_bytes_bring_it_back(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.anchor()
    await chain.rpc("anvil_dropTransaction", watched.tx_refs[0])
    assert (await submitter.look(watched)).state is RoundState.MISSING
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_round_below_the_base_fee_is_bumped_in(chain: Chain, submitter: Submitter) -> None:
    watched = await submitter.sign()
    await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(300 * 10**9))
    await chain.mine()
    assert await submitter.rebroadcast(watched) == Verdict.FEE_TOO_LOW
    watched = await submitter.bump(watched)
    await chain.mine()
    view = await submitter.look(watched)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[-1])


async def test_a_round_dropped_by_a_fee_spike_is_bumped_in(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.anchor()
    await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(300 * 10**9))
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.MISSING
    assert await submitter.rebroadcast(watched) == Verdict.FEE_TOO_LOW
    watched = await submitter.bump(watched)
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_round_that_waits_for_blocks_is_stuck_and_a_higher_bid_replaces_it(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.anchor()
    first_look = await submitter.look(watched)
    watched = watched.model_copy(update={"first_seen_block": first_look.height})
    await chain.rpc("evm_setBlockGasLimit", hex(22_000))
    await chain.mine(2)
    assert (await submitter.look(watched)).state is RoundState.PENDING
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.STUCK
    await chain.rpc("evm_setBlockGasLimit", hex(30_000_000))
    watched = await submitter.bump(watched)
    await chain.mine()
    view = await submitter.look(watched)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[1])


async def test_the_older_candidate_may_win(chain: Chain, submitter: Submitter) -> None:
    watched = await submitter.anchor()
    first = watched.tx_refs[0]
    await chain.rpc("evm_setBlockGasLimit", hex(22_000))
    await chain.mine()
    await chain.rpc("evm_setBlockGasLimit", hex(30_000_000))
    watched = await submitter.bump(watched)
    await chain.reorganise(1, [[submitter.raw_of(watched, first), 0]])
    view = await submitter.look(watched)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, first)


@pytest.mark.parametrize("depth", [1, 2, 12, 64])
async def test_a_reorganised_round_comes_back_with_the_same_bytes(
    chain: Chain, submitter: Submitter, depth: int
) -> None:
    await chain.mine(depth)
    watched = await included(chain, submitter)
    await chain.mine(depth - 1)
    await chain.reorganise(depth)
    view = await submitter.look(watched)
    assert view.state is RoundState.MISSING
    watched = remembered(watched, view)
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    again = await submitter.look(watched)
    assert (again.state, again.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_round_that_moved_to_another_block_is_included_there(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await included(chain, submitter)
    await chain.mine(2)
    await chain.reorganise(3, [[submitter.raw_of(watched, watched.tx_ref), 2]])
    view = await submitter.look(watched)
    assert view.state is RoundState.INCLUDED
    assert view.block is not None
    assert watched.block is not None
    assert view.block.number == watched.block.number + 2


async def test_a_provider_behind_the_block_changes_nothing(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await included(chain, submitter)
    await chain.rpc("anvil_rollback", 1)
    view = await submitter.look(watched)
    assert (view.state, view.block) == (RoundState.INCLUDED, watched.block)
    assert not view.irrevocable
    await chain.mine()
    assert (await submitter.look(watched)).state is not RoundState.INCLUDED


async def test_a_foreign_transaction_displaces_a_round_and_once_final_loses_it(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    watched = await included(chain, submitter)
    conflict = foreign_transfer(chain, key, watched.reservation.sequence or 0)
    await chain.reorganise(1, [[conflict, 0]])
    view = await submitter.look(watched)
    assert (view.state, view.foreign) == (RoundState.DISPLACED, True)
    assert await submitter.rebroadcast(watched) == Verdict.CONSUMED
    await chain.mine(4)
    view = await submitter.look(remembered(watched, view))
    assert (view.state, view.foreign) == (RoundState.LOST, True)


async def test_one_look_alone_never_loses_a_round(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    watched = await submitter.sign()
    nonce = watched.reservation.sequence or 0
    await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, nonce))
    await chain.mine(6)
    view = await submitter.look(watched)
    assert (view.state, view.foreign) == (RoundState.DISPLACED, True)
    known = remembered(watched, view)
    view = await submitter.look(known)
    assert (view.state, view.foreign, view.irrevocable) == (RoundState.LOST, True, True)
    assert differing([known], [view]) == [view], "the observation reports it at once"


async def test_a_call_that_ran_out_of_gas_is_displaced_by_ourselves_and_then_lost(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.sign()
    starved = watched.reservation.fields | {"gas": 24_900}
    reservation = watched.reservation.model_copy(update={"fields": starved})
    terms = submitter.candidates[watched.round_id][0].terms
    candidate = await submitter.target.sign(reservation, terms, 0)
    await submitter.target.broadcast(reservation, candidate)
    await chain.mine()
    watched = watched.model_copy(update={"tx_refs": [candidate.tx_ref]})
    view = await submitter.look(watched)
    assert (view.state, view.foreign) == (RoundState.DISPLACED, False)
    assert "reverted" in view.message
    await chain.mine(4)
    view = await submitter.look(remembered(watched, view))
    assert (view.state, view.foreign) == (RoundState.LOST, False)


async def test_a_transaction_without_our_event_never_counts_as_inclusion(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(contract=await chain.deploy(MUTE_CODE))
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    assert (view.state, view.foreign) == (RoundState.DISPLACED, False)


async def test_a_call_that_would_revert_gets_no_nonce(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    mute = await chain.deploy(MUTE_CODE)
    await chain.rpc("eth_sendTransaction", {"from": chain.dev, "to": mute, "data": HUSH})
    await chain.mine()
    submitter = await make_submitter(contract=mute)
    with pytest.raises(ValidationFailure, match="refuses the call"):
        await submitter.sign()


async def test_fifteen_watched_rounds_cost_at_most_twenty_calls(
    chain: Chain, make_submitter: MakeSubmitter
) -> None:
    async with LyingProvider(chain.url) as counted:
        submitter = await make_submitter([counted.url])
        rounds = [await included(chain, submitter) for _ in range(15)]
        counted.calls.clear()
        views = await submitter.target.look(rounds)
        assert [view.state for view in views] == [RoundState.INCLUDED] * 15
        assert counted.calls.total() <= 20


async def test_a_node_that_lost_its_newest_blocks_gets_the_same_bytes_again(
    tmp_path: Path, key: str
) -> None:
    kept = ("--state", str(tmp_path / "state.json"), "--preserve-historical-states")
    async with Chain(*kept) as chain:
        await chain.fund(key)
        await chain.end(signal.SIGTERM)
        await chain.start()
        submitter = open_submitter([chain.url], chain.contract, key)
        watched = await included(chain, submitter)
        await chain.end(signal.SIGKILL)
        await chain.start()
        assert (await submitter.look(watched)).state is RoundState.INCLUDED
        await chain.mine()
        view = await submitter.look(watched)
        assert view.state is RoundState.MISSING
        watched = remembered(watched, view)
        assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
        await chain.mine()
        assert (await submitter.look(watched)).tx_ref == watched.tx_refs[0]
        await submitter.target.close()


async def test_evidence_of_a_reorganised_block_is_refused(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    raw = submitter.raw_of(watched, view.tx_ref)
    evidence = await submitter.target.evidence(watched, view, raw)
    assert view.block is not None
    assert evidence.block_number == view.block.number
    assert evidence.scheme["blockHash"] == view.block.hash
    assert evidence.scheme["rawTransaction"] == raw
    assert evidence.scheme["quorum"] == 1
    await chain.reorganise(1)
    with pytest.raises(NetworkFailure, match="not canonical"):
        await submitter.target.evidence(watched, view, raw)


async def test_evidence_is_rebuilt_from_the_chain_alone(chain: Chain, submitter: Submitter) -> None:
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    known = await submitter.target.evidence(watched, view, submitter.raw_of(watched, view.tx_ref))
    assert await submitter.target.evidence(None, view, "") == known


async def test_evidence_of_other_bytes_is_refused(chain: Chain, submitter: Submitter) -> None:
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    with pytest.raises(ValidationFailure, match="not those of"):
        await submitter.target.evidence(watched, view, "0x" + secrets.token_hex(100))
