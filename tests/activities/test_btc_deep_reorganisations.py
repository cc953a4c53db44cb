"""Bitcoin blocks that leave the chain deeper than what counts as final: closed rounds are found, and driven as they were."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.reorganised import ClosedBlock, left_the_chain
from devnet.bitcoind import WALLET, Bitcoind
from tests.activities.btc_chain import BtcPen, network, open_pen
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.ledger import RoundState, WatchedRound, refutes

pytestmark = pytest.mark.btc


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bitcoind]:
    with network(tmp_path) as started:
        yield started


@pytest.fixture
def pen(node: Bitcoind) -> BtcPen:
    return open_pen(node.url)


async def final_round(node: Bitcoind, pen: BtcPen) -> tuple[WatchedRound, ClosedBlock]:
    """Anchor a round until it is final, and return it with what its end and its receipts say."""
    watched = await pen.anchor()
    node.mine(3)
    view = await pen.look(watched)
    assert view.final
    assert view.block is not None
    return watched, ClosedBlock(watched.round_id, view.block.number, view.block.hash)


async def test_a_final_round_whose_block_left_the_chain_is_found_and_driven_with_the_same_bytes(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched, closed = await final_round(node, pen)
    assert await left_the_chain(pen.target, [closed]) == []
    node.reorg(5)
    assert await left_the_chain(pen.target, [closed]) == [watched.round_id]
    # Opened again, it is what recovery knows of it: its bytes, and the block that its receipts claim.
    again = watched.model_copy(update={"claimed_block": closed.number})
    view = await pen.look(again)
    assert view.state in {RoundState.PENDING, RoundState.MISSING}
    assert refutes(view, closed.number)
    assert await pen.rebroadcast(again) == "accepted"
    assert node.rpc("getrawmempool") == watched.tx_refs
    node.mine(3)
    view = await pen.look(again)
    assert (view.state, view.tx_ref, view.final) == (
        RoundState.INCLUDED,
        watched.tx_refs[0],
        True,
    )
    assert view.block is not None
    assert view.block.hash != closed.block_hash


async def test_a_deep_reorganisation_opens_all_rounds_above_the_fork_and_none_below(
    node: Bitcoind, pen: BtcPen
) -> None:
    rounds = [await final_round(node, pen) for _ in range(4)]
    newest_first = [closed for _, closed in reversed(rounds)]
    node.reorg(8)
    left = await left_the_chain(pen.target, newest_first)
    assert left == [newest_first[0].round_id, newest_first[1].round_id]


async def test_a_node_that_is_behind_or_knows_no_header_opens_no_closed_round(
    node: Bitcoind, pen: BtcPen
) -> None:
    _, closed = await final_round(node, pen)
    async with LyingProvider(node.url) as proxy:
        other = open_pen(proxy.url.replace("://", "://user:any@"), wallet=WALLET)
        proxy.refuse("getblockheader", "Block not found", code=-5)
        assert await other.target.is_canonical(closed.number, closed.block_hash) is True
        proxy.forge("getblockchaininfo", lambda _, told: {**told, "blocks": closed.number - 1})  # type: ignore[dict-item]
        assert await other.target.is_canonical(closed.number, closed.block_hash) is None
        proxy.forge("getblockchaininfo", lambda _, told: {**told, "headers": 10**6})  # type: ignore[dict-item]
        assert await other.target.is_canonical(closed.number, "11" * 32) is None
        assert await left_the_chain(other.target, [closed]) == []


async def test_a_round_that_a_deep_reorganisation_gave_to_a_thief_is_lost_by_evidence_only(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched, closed = await final_round(node, pen)
    fork = node.rpc("getblockhash", closed.number)
    spent = [
        {"txid": watched.reservation.fields["txid"], "vout": watched.reservation.fields["vout"]}
    ]
    amount = int(str(watched.reservation.fields["amountSats"])) - 50_000
    pays = {node.wallet("getnewaddress"): f"{amount / 10**8:.8f}"}
    raw = node.rpc("createrawtransaction", spent, pays)
    node.rpc("invalidateblock", fork)
    thief = node.wallet("signrawtransactionwithwallet", raw)["hex"]
    node.mine_with(thief)
    node.mine_with()
    view = await pen.look(watched)
    assert view.state is RoundState.DISPLACED
    node.mine_with()
    assert (await pen.look(watched)).state is RoundState.LOST
