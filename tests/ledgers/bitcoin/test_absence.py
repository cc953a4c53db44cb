"""What a Bitcoin node or wallet does not show is never read as a loss: only a spender in a block is (X6, B10).

Each test is named for the harm: a root that is paid for twice, a round that is given up, or blame without a proof.
"""

import pytest

from devnet.bitcoind import Bitcoind
from tests.ledgers.bitcoin.chain import (
    FRESH,
    BitcoinSubmitter,
    observed,
    open_submitter,
    replace_wallet,
    spend,
)
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, prove
from vaultmesh.ledgers.bitcoin.core.transaction import Transaction

pytestmark = pytest.mark.btc


def is_quiet(view: RoundView) -> bool:
    """Whether a look claims neither a loss nor that somebody has to decide."""
    return view.state in {RoundState.PENDING, RoundState.MISSING} and not view.undecided


async def test_a_mined_round_that_a_fresh_wallet_does_not_know_is_not_blamed_on_others(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.mine()
    view = await replace_wallet(node).look(watched)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_thief_is_found_in_the_blocks_when_the_wallet_knows_neither_side(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.mine_with(thief)
    watched, view = await observed(stranger, watched)
    assert (view.state, view.foreign, view.depth) == (RoundState.DISPLACED, True, 1)
    assert Transaction.parse_hex(thief).txid in view.message
    node.mine()
    watched, view = await observed(stranger, watched)
    assert view.state is RoundState.DISPLACED
    node.mine()
    _, view = await observed(stranger, watched)
    assert (view.state, view.depth, view.irrevocable) == (RoundState.LOST, 3, True)


async def test_a_wallet_that_claims_a_conflict_which_no_block_shows_costs_no_second_payment(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    conflict = {"confirmations": -40, "hex": "", "walletconflicts": ["11" * 32]}
    async with LyingProvider(node.url) as proxy:
        deceived = open_submitter(proxy.url)
        proxy.forge("gettxout", lambda _, __: None)
        proxy.forge("gettransaction", lambda _, __: conflict)
        proxy.refuse("getmempoolentry", "Transaction not in mempool", code=-5)
        watched, view = await observed(deceived, watched)
        assert view.state is RoundState.PENDING
        assert "nobody can tell" in view.undecided
        node.mine(5)
        _, again = await observed(deceived, watched)
        assert (again.state, again.undecided) == (RoundState.PENDING, view.undecided)


async def test_a_bid_that_a_caller_put_back_does_not_know_is_not_paid_for_again(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    first = await submitter.anchor()
    both = await submitter.bump(first)
    node.mine(3)
    view = await submitter.look(first)
    assert (view.state, view.tx_ref, view.final) == (RoundState.INCLUDED, both.tx_refs[1], True)
    evidence = await submitter.target.evidence(first, view, submitter.raw_of(both, view.tx_ref))
    assert prove(BitcoinEvidence.read(evidence.scheme)).transaction.txid == both.tx_refs[1]


async def test_a_displaced_round_gets_its_output_back_when_the_block_leaves_the_chain(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    block = node.mine_with(thief)
    watched, view = await observed(stranger, watched)
    assert view.state is RoundState.DISPLACED
    node.rpc("invalidateblock", block)
    node.mine_with()
    node.mine_with()
    watched, view = await observed(stranger, watched)
    assert is_quiet(view)
    node.mine_with(thief)
    watched, view = await observed(stranger, watched)
    assert (view.state, view.depth) == (RoundState.DISPLACED, 1)
    node.rpc("invalidateblock", node.rpc("getbestblockhash"))
    node.mine_with(submitter.raw_of(watched, watched.tx_refs[0]))
    assert (await open_submitter(node.url, wallet=FRESH).look(watched)).state is RoundState.INCLUDED


async def test_a_child_of_an_output_that_ceased_to_exist_is_lost_by_what_a_block_shows(
    node: Bitcoind,
) -> None:
    submitter = open_submitter(node.url, confirmations=2)
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    parent = await submitter.anchor()
    rival = spend(node, parent.reservation)
    node.mine()
    child = await submitter.anchor()
    block = (await submitter.look(parent)).block
    assert block is not None
    node.rpc("invalidateblock", block.hash)
    node.mine_with(rival)
    node.mine()
    view = await submitter.look(child)
    assert (view.state, view.foreign) == (RoundState.LOST, True)
    assert f"ceased to exist since {parent.reservation.fields['txid']}" in view.message
    assert Transaction.parse_hex(rival).txid in view.message


async def test_without_the_bytes_of_its_parent_a_child_is_not_given_up(node: Bitcoind) -> None:
    submitter = open_submitter(node.url, confirmations=2)
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    parent = await submitter.anchor()
    rival = spend(node, parent.reservation)
    node.mine()
    child = await submitter.anchor()
    block = (await submitter.look(parent)).block
    assert block is not None
    stranger = replace_wallet(node)
    node.rpc("invalidateblock", block.hash)
    node.mine_with(rival)
    node.mine(3)
    view = await stranger.look(child)
    assert view.state is RoundState.PENDING
    assert "no block since it was unspent spends it" in view.undecided


async def test_a_foreign_bid_in_the_pool_is_not_taken_for_a_loss(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.rpc("sendrawtransaction", thief)
    view = await stranger.look(watched)
    assert is_quiet(view)
    assert "a foreign transaction in the pool" in view.message
