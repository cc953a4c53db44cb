"""A round on a real Bitcoin node: reserved, signed, mined, reorganised, displaced; without an index of transactions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devnet.bitcoind import WALLET, Bitcoind
from tests.ledgers.bitcoin.chain import BitcoinSubmitter, open_submitter, remembered, spend
from vaultmesh.domain.aggregator.ledger_messages import RoundState, WatchedRound
from vaultmesh.domain.failures import AnchorError, FailureKind, NetworkFailure
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.ledgers.bitcoin.core.blocks import Network
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, prove
from vaultmesh.ledgers.bitcoin.core.transaction import Transaction
from vaultmesh.ledgers.bitcoin.node import Rules
from vaultmesh.ledgers.bitcoin.observe import look_at
from vaultmesh.ledgers.bitcoin.rpc import Node

pytestmark = pytest.mark.btc


async def test_what_is_sent_is_one_input_one_payload_and_one_change(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    root = bytes.fromhex("50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e")
    watched = await submitter.sign(root)
    await submitter.rebroadcast(watched)
    seen = node.rpc("getrawtransaction", watched.tx_refs[0], 1)
    script = "6a22525650298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e"
    assert seen["vout"][0]["scriptPubKey"]["hex"] == script
    assert seen["vout"][0]["scriptPubKey"]["asm"] == "OP_RETURN 5256" + root.hex()
    assert [len(seen["vin"]), len(seen["vout"]), seen["vout"][0]["value"]] == [1, 2, 0]
    assert seen["vin"][0]["sequence"] == 0xFFFFFFFD
    entry = node.rpc("getmempoolentry", watched.tx_refs[0])
    fee = round(entry["fees"]["base"] * 10**8)
    assert fee == submitter.candidates[watched.round_id][0].terms["feeSats"]
    assert seen["vsize"] <= fee <= seen["vsize"] + 3
    own = Transaction.parse_hex(submitter.raw_of(watched, watched.tx_refs[0]))
    assert (own.txid, own.vsize, own.serialised().hex()) == (
        seen["txid"],
        seen["vsize"],
        seen["hex"],
    )


async def test_signing_twice_gives_the_same_bytes_also_when_the_output_is_spent(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    first = submitter.candidates[watched.round_id][0]
    again = [await submitter.target.sign(watched.reservation, first.terms, 0)]
    node.mine(2)
    again.append(await submitter.target.sign(watched.reservation, first.terms, 0))
    other = open_submitter(node.url)
    again.append(await other.target.sign(watched.reservation, first.terms, 0))
    assert again == [first] * 3


async def test_a_round_is_pending_then_included_then_final(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    assert (await submitter.look(watched)).state is RoundState.PENDING
    (block,) = node.mine()
    view = await submitter.look(watched)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 1, False)
    assert view.block is not None
    assert (view.block.hash, view.block.number) == (block, node.height())
    time = node.rpc("getblockheader", block)["time"]
    assert view.block.time == datetime.fromtimestamp(time, UTC)
    known = remembered(watched, view)
    node.mine()
    assert not (await submitter.look(known)).final
    node.mine()
    view = await submitter.look(known)
    assert (view.depth, view.irrevocable, view.final) == (3, True, True)
    deeper = known.model_copy(update={"depths": [3, 5]})
    assert not (await submitter.look(deeper)).final


async def test_the_receipt_proves_inclusion_without_a_node(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    for _ in range(5):
        node.wallet("sendtoaddress", node.wallet("getnewaddress"), 0.5)
    watched = await submitter.anchor()
    raw = submitter.raw_of(watched, watched.tx_refs[0])
    node.mine()
    at_first = await submitter.target.evidence(watched, await submitter.look(watched), raw)
    assert BitcoinEvidence.read(at_first.scheme).headers == []
    node.mine(4)
    view = await submitter.look(watched)
    evidence = await submitter.target.evidence(watched, view, raw)
    proof = BitcoinEvidence.read(evidence.scheme)
    proven = prove(proof)
    assert proven.transaction.commitments == [watched.commitment.digest]
    assert (len(proof.merkle_branch), proven.depth) == (3, 3)
    assert view.block is not None
    assert proven.header.hash == view.block.hash == proof.block_hash
    assert proven.hashes[-1] == node.rpc("getblockhash", view.block.number + 2)
    assert (evidence.tx_ref, evidence.tx_hash) == (watched.tx_refs[0], watched.tx_refs[0])
    assert evidence.block_number == view.block.number == proven.height
    assert evidence.anchor_ts == view.block.time
    other = watched.model_copy(update={"commitment": MerkleRoot(b"\x11" * 32)})
    with pytest.raises(Exception, match="does not commit"):
        await submitter.target.evidence(other, view, raw)


@pytest.mark.parametrize("depth", [1, 2, 6])
async def test_after_a_reorg_the_same_transaction_is_mined_again(
    node: Bitcoind, submitter: BitcoinSubmitter, depth: int
) -> None:
    watched = await submitter.anchor()
    node.mine(depth)
    old = await submitter.look(watched)
    known = remembered(watched, old)
    node.reorg(depth)
    view = await submitter.look(known)
    assert view.state is RoundState.PENDING
    with pytest.raises(NetworkFailure, match="not in the chain any more"):
        await submitter.target.evidence(watched, old, submitter.raw_of(watched, old.tx_ref))
    again = remembered(watched, view).model_copy(update={"first_seen_block": view.height})
    assert await submitter.rebroadcast(again) == "accepted"
    node.mine()
    view = await submitter.look(again)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, old.tx_ref)
    assert view.block != old.block


async def test_bytes_that_left_the_pool_are_missing_and_may_be_sent_again(
    node: Bitcoind, submitter: BitcoinSubmitter, tmp_path: Path
) -> None:
    watched = await submitter.sign()
    assert (await submitter.look(watched)).state is RoundState.MISSING
    node.stop()
    node.start()
    assert node.wallet("listlockunspent") == []
    assert (await submitter.look(watched)).state is RoundState.MISSING
    locked = node.wallet("listlockunspent")
    fields = watched.reservation.fields
    assert locked == [{"txid": fields["txid"], "vout": fields["vout"]}]
    assert await submitter.rebroadcast(watched) == "accepted"
    assert (await submitter.look(watched)).state is RoundState.PENDING


async def test_a_higher_bid_replaces_the_first_and_any_candidate_may_win(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.bump(await submitter.anchor())
    first, second = submitter.candidates[watched.round_id]
    assert node.rpc("getrawmempool") == [second.tx_ref]
    vsize = node.rpc("getmempoolentry", second.tx_ref)["vsize"]
    fees = [int(str(one.terms["feeSats"])) for one in (first, second)]
    assert fees[1] - fees[0] >= vsize
    assert await submitter.rebroadcast(watched, 0) == "fee_too_low"
    node.mine_with(first.raw)
    view = await submitter.look(watched)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, first.tx_ref)
    assert await submitter.rebroadcast(watched, 1) == "consumed"


async def test_a_round_is_stuck_after_its_time_and_counts_anew_after_a_reorg(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.mine_with()
    seen = watched.model_copy(update={"first_seen_block": node.height() - 1})
    signed = watched.signed_at
    assert await _state_at(submitter, seen, signed + timedelta(minutes=5)) is RoundState.PENDING
    assert await _state_at(submitter, seen, signed + timedelta(minutes=15)) is RoundState.STUCK
    assert await _state_at(submitter, watched, signed + timedelta(minutes=15)) is RoundState.PENDING
    long_ago = signed - timedelta(hours=1)
    reorganised = seen.model_copy(update={"signed_at": long_ago, "first_seen_block": node.height()})
    assert await _state_at(submitter, reorganised, datetime.now(UTC)) is RoundState.PENDING
    late = datetime.now(UTC) + timedelta(minutes=15)
    assert await _state_at(submitter, reorganised, late) is RoundState.STUCK


async def _state_at(
    submitter: BitcoinSubmitter, watched: WatchedRound, now: datetime
) -> RoundState:
    rules = Rules(Network.REGTEST, confirmations=3, bump_after_seconds=600.0)
    node = Node(submitter.url, WALLET)
    (view,) = await look_at(node, rules, [watched], now)
    await node.close()
    return view.state


async def test_a_foreign_spend_displaces_the_round_until_it_is_lost(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    foreign = spend(node, watched.reservation)
    node.mine_with(foreign)
    view = await submitter.look(watched)
    assert (view.state, view.foreign) == (RoundState.DISPLACED, True)
    assert Transaction.parse_hex(foreign).txid in view.message
    assert await submitter.rebroadcast(watched) == "consumed"
    node.mine()
    assert (await submitter.look(watched)).state is RoundState.DISPLACED
    node.mine()
    view = await submitter.look(watched)
    assert (view.state, view.irrevocable) == (RoundState.LOST, True)


async def test_a_foreign_spend_of_a_round_that_was_never_sent_is_found_too(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    foreign = spend(node, watched.reservation)
    node.mine_with(foreign)
    node.mine(2)
    view = await submitter.look(watched)
    assert (view.state, view.foreign) == (RoundState.LOST, True)
    assert Transaction.parse_hex(foreign).txid in view.message


async def test_a_round_that_was_mined_while_the_wallet_was_unloaded_is_not_taken_for_lost(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.rpc("unloadwallet", WALLET)
    node.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED
    with pytest.raises(AnchorError, match="load it with loadwallet") as failure:
        await submitter.reserve()
    assert failure.value.kind is FailureKind.AUTH
    node.rpc("loadwallet", WALLET)
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_displacement_that_is_undone_gives_the_round_back(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    block = node.mine_with(spend(node, watched.reservation))
    assert (await submitter.look(watched)).state is RoundState.DISPLACED
    node.rpc("invalidateblock", block)
    assert (await submitter.look(watched)).state in {RoundState.MISSING, RoundState.PENDING}
    node.mine_with(submitter.raw_of(watched, watched.tx_refs[0]))
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_a_round_whose_input_ceased_to_exist_is_lost(node: Bitcoind) -> None:
    submitter = open_submitter(node.url, confirmations=2)
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    parent = await submitter.anchor()
    rival = spend(node, parent.reservation)
    node.mine()
    child = await submitter.anchor()
    assert child.reservation.fields["txid"] == parent.tx_refs[0]
    assert child.reservation.sequence == 1
    block = (await submitter.look(parent)).block
    assert block is not None
    node.rpc("invalidateblock", block.hash)
    node.mine_with(rival)
    view = await submitter.look(child)
    assert (view.state, view.foreign) == (RoundState.DISPLACED, True)
    assert "ceased to exist" in view.message
    assert await submitter.rebroadcast(child) == "consumed"
    node.mine_with()
    assert [one.state for one in await submitter.target.look([parent, child])] == [
        RoundState.LOST
    ] * 2


async def test_a_child_waits_for_its_parent_to_be_sent_again(node: Bitcoind) -> None:
    submitter = open_submitter(node.url, confirmations=6)
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    parent = await submitter.anchor()
    node.mine()
    child = await submitter.sign()
    block = (await submitter.look(parent)).block
    assert block is not None
    node.rpc("invalidateblock", block.hash)
    assert await submitter.rebroadcast(child) == "accepted"
    assert {one.state for one in await submitter.target.look([parent, child])} == {
        RoundState.PENDING
    }
    with pytest.raises(RuntimeError, match="children"):
        await submitter.bump(parent)
