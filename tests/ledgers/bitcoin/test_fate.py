"""What a Bitcoin node shows of a round when an operator is to decide, and what may be adopted."""

import asyncio
import json

import pytest

from devnet.bitcoind import Bitcoind
from tests.ledgers.bitcoin.chain import BitcoinSubmitter, open_submitter, spend
from vaultmesh.domain.aggregator.ledger_messages import WatchedRound
from vaultmesh.domain.failures import ValidationFailure

pytestmark = pytest.mark.btc


@pytest.fixture
def node(shared_node: Bitcoind) -> Bitcoind:
    return shared_node


async def fate(submitter: BitcoinSubmitter, watched: WatchedRound) -> tuple[str, str]:
    decision = await submitter.target.fate(watched.reservation, watched.tx_refs)
    assert decision.lines
    return decision.shown_by, decision.unused


async def test_an_unspent_output_means_that_the_bytes_could_still_be_mined(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    visible, unused = await fate(submitter, watched)
    assert (visible, "is unspent" in unused) == ("", True)
    await submitter.rebroadcast(watched)
    visible, _ = await fate(submitter, watched)
    assert watched.tx_refs[0] in visible
    await asyncio.to_thread(node.mine, 1)
    visible, _ = await fate(submitter, watched)
    assert watched.tx_refs[0] in visible


async def test_an_output_that_a_foreign_transaction_spent_is_used_up(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    foreign = await asyncio.to_thread(spend, node, watched.reservation)
    await asyncio.to_thread(node.rpc, "sendrawtransaction", foreign)
    _, unused = await fate(submitter, watched)
    assert unused, "in the pool alone nothing is used up"
    await asyncio.to_thread(node.mine, 1)
    await submitter.rebroadcast(watched)
    await asyncio.to_thread(node.mine, 2)
    assert await fate(submitter, watched) == ("", "")


async def test_a_spend_that_can_be_undone_uses_nothing_up(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    foreign = await asyncio.to_thread(spend, node, watched.reservation)
    await asyncio.to_thread(node.rpc, "generateblock", node.wallet("getnewaddress"), [foreign])
    visible, unused = await fate(submitter, watched)
    assert (visible, "1 of 3 blocks deep" in unused) == ("", True)
    await asyncio.to_thread(node.mine, 2)
    assert await fate(submitter, watched) == ("", "")


async def test_a_bid_that_no_file_has_is_adopted_and_a_foreign_spend_is_not(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    bumped = await submitter.bump(watched)
    wanted = submitter.candidates[watched.round_id][1]
    adopted = await submitter.target.adoptable(watched.reservation, bumped.tx_refs[1])
    assert (adopted.tx_ref, adopted.raw, adopted.terms) == (wanted.tx_ref, wanted.raw, wanted.terms)
    other = await submitter.sign()
    foreign = await asyncio.to_thread(spend, node, other.reservation)
    txid = await asyncio.to_thread(node.rpc, "sendrawtransaction", foreign)
    with pytest.raises(ValidationFailure, match="does not carry its commitment"):
        await submitter.target.adoptable(other.reservation, str(txid))
    with pytest.raises(ValidationFailure, match="does not spend the round's output"):
        await submitter.target.adoptable(other.reservation, bumped.tx_refs[1])
    with pytest.raises(ValidationFailure, match="does not show"):
        await submitter.target.adoptable(other.reservation, "ab" * 32)


async def test_a_round_is_final_at_the_depth_that_it_was_signed_under(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = (await submitter.anchor()).model_copy(update={"depths": []})
    await asyncio.to_thread(node.mine, 3)
    deeper = open_submitter(node.url, confirmations=50)
    assert json.loads(json.dumps(watched.reservation.fields))["confirmations"] == 3
    assert (await deeper.look(watched)).final
