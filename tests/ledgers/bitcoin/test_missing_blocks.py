"""Blocks that a node reads slowly, has pruned or makes up hold a Bitcoin round open, and take no receipt back (B10)."""

from pathlib import Path

import pytest

from devnet.bitcoind import Bitcoind
from tests.ledgers.bitcoin.chain import (
    FRESH,
    PRUNING,
    BitcoinSubmitter,
    observed,
    open_submitter,
    prune,
    replace_wallet,
    spend,
)
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, refutes
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, prove
from vaultmesh.ledgers.bitcoin.core.transaction import Transaction
from vaultmesh.ledgers.bitcoin.search import MOST_BLOCKS

pytestmark = pytest.mark.btc


async def test_a_long_search_goes_on_where_the_look_before_it_stopped(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    thief = spend(node, watched.reservation)
    replace_wallet(node)
    node.mine(2 * MOST_BLOCKS + 10)
    node.mine_with(thief)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        stranger = open_submitter(proxy.url)
        states = []
        for _ in range(3):
            watched, view = await observed(stranger, watched)
            states.append(view.state)
            assert not view.undecided
        assert states == [RoundState.PENDING, RoundState.PENDING, RoundState.DISPLACED]
        assert proxy.calls["getblock"] == 2 * MOST_BLOCKS + 11
        await observed(stranger, watched)
        assert proxy.calls["getblock"] == 2 * MOST_BLOCKS + 11


async def test_pruned_blocks_hold_the_round_until_a_node_shows_them(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.mine(3)
    node.mine_with(thief)
    node.mine(5)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        pruned = open_submitter(proxy.url)
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        watched, view = await observed(pruned, watched)
        assert view.state is RoundState.PENDING
        last = node.height()
        assert f"blocks from {last - 8} to {last} that may spend it are not shown" in view.undecided
        assert "rpcUrl" in view.undecided
        first_calls = proxy.calls["getblock"]
        watched, again = await observed(pruned, watched)
        assert again.undecided == view.undecided
        assert proxy.calls["getblock"] == first_calls + 1
    _, view = await observed(stranger, watched)
    assert (view.state, view.undecided) == (RoundState.LOST, "")
    assert Transaction.parse_hex(thief).txid in view.message


async def test_a_block_that_is_made_up_is_no_evidence_of_a_thief(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    thief = spend(node, watched.reservation)
    node.mine(4)
    true = node.rpc("getblock", node.rpc("getbestblockhash"), 0)
    count = 160  # hex digits of the header
    made_up = true[:count] + "02" + true[count + 2 :] + thief
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        lying = open_submitter(proxy.url)
        proxy.forge("getblock", lambda _, block: made_up if block == true else block)
        proxy.forge("gettxout", lambda _, __: None)
        _, view = await observed(lying, watched)
    assert view.state is RoundState.PENDING
    assert f"blocks from {node.height()} to {node.height()} that" in view.undecided


async def test_receipts_of_an_included_round_stay_while_nobody_can_tell(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.mine(2)
    claimed = node.height() - 1
    recovered = watched.model_copy(update={"claimed_block": claimed})
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        pruned = open_submitter(proxy.url)
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        recovered, view = await observed(pruned, recovered)
        assert view.undecided
        assert not refutes(view, claimed)
        proxy.obey()
        assert (await pruned.look(recovered)).state is RoundState.INCLUDED


async def test_a_block_that_receipts_name_is_read_first(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    node.mine(3 * MOST_BLOCKS)
    node.mine_with(submitter.raw_of(watched, watched.tx_refs[0]))
    claimed = node.height()
    stranger = replace_wallet(node)
    view = await stranger.look(watched)
    assert (view.state, refutes(view, claimed)) == (RoundState.PENDING, False)
    view = await stranger.look(watched.model_copy(update={"claimed_block": claimed}))
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_really_pruned_node_gives_no_round_up(tmp_path: Path) -> None:
    with Bitcoind(tmp_path, txindex=False, options=PRUNING) as node:
        submitter = open_submitter(node.url)
        watched = await submitter.anchor()
        node.mine_with(spend(node, watched.reservation))
        stranger = replace_wallet(node)
        prune(node)
        for _ in range(60):
            watched, view = await observed(stranger, watched)
            assert view.state is RoundState.PENDING
            if view.undecided:
                break
        assert "are not shown (pruned?)" in view.undecided


async def test_a_receipt_becomes_final_although_block_and_wallet_are_gone(tmp_path: Path) -> None:
    with Bitcoind(tmp_path, txindex=False, options=PRUNING) as node:
        submitter = open_submitter(node.url)
        for _ in range(3):
            node.wallet("sendtoaddress", node.wallet("getnewaddress"), 0.5)
        watched = await submitter.anchor()
        node.mine()
        known, view = await observed(submitter, watched)
        raw = submitter.raw_of(watched, view.tx_ref)
        stored = dict((await submitter.target.evidence(watched, view, raw)).scheme)
        stranger = replace_wallet(node)
        prune(node)
        known, view = await observed(stranger, known)
        assert (view.state, view.final) == (RoundState.INCLUDED, True)
        with pytest.raises(NetworkFailure, match="use a node that keeps it"):
            await stranger.target.evidence(known, view, raw)
        closed = known.model_copy(update={"stored": stored})
        for sent in (raw, ""):
            evidence = await stranger.target.evidence(closed, view, sent)
            proven = prove(BitcoinEvidence.read(evidence.scheme))
            assert (proven.transaction.txid, proven.depth) == (watched.tx_refs[0], 3)


async def test_a_round_that_its_receipt_proves_is_not_held_when_node_wallet_and_history_forgot_it(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.mine(3)
    view = await submitter.look(watched)
    assert view.block is not None
    raw, commitment = submitter.raw_of(watched, view.tx_ref), watched.commitment.digest
    stored = (await submitter.target.evidence(watched, view, raw)).scheme
    assert submitter.target.proven(commitment, stored) == view.tx_ref
    assert submitter.target.proven(b"\1" * 32, stored) == ""
    assert submitter.target.proven(commitment, {**stored, "merkleBranch": ["11" * 32]}) == ""
    claim = {
        "claimed_block": view.block.number,
        "claimed_hash": view.block.hash,
        "claimed_tx": view.tx_ref,
    }
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        pruned = open_submitter(proxy.url)
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        seen = await pruned.look(watched.model_copy(update=claim))
        assert (seen.state, seen.block, seen.final) == (RoundState.INCLUDED, view.block, True)
        node.reorg(4)
        seen = await pruned.look(watched.model_copy(update=claim))
        assert refutes(seen, view.block.number)


@pytest.mark.parametrize("changed", ["merkleBranch", "blockHash", "coinbase"])
async def test_stored_evidence_that_proves_nothing_is_read_anew(
    node: Bitcoind, submitter: BitcoinSubmitter, changed: str
) -> None:
    watched = await submitter.anchor()
    node.mine()
    view = await submitter.look(watched)
    raw = submitter.raw_of(watched, view.tx_ref)
    right = (await submitter.target.evidence(watched, view, raw)).scheme
    wrong = {**right, changed: ["11" * 32] if changed == "merkleBranch" else "11" * 32}
    misled = watched.model_copy(update={"stored": wrong})
    assert (await submitter.target.evidence(misled, view, raw)).scheme == right


async def test_a_header_that_is_not_shown_reorganises_no_receipt(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.mine()
    known, view = await observed(submitter, watched)
    async with LyingProvider(node.url) as proxy:
        proxy.refuse("getblockheader", "Block not found", code=-5)
        forgetful = open_submitter(proxy.url)
        again = await forgetful.look(known)
    assert (again.state, again.block) == (RoundState.INCLUDED, view.block)
