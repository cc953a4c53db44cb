"""Bitcoin blocks that leave the chain deeper than what counts as final: a look at a closed round shows it, and nothing else does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.reopening import has_left
from devnet.bitcoind import WALLET, Bitcoind
from tests.activities.btc_chain import BtcPen, network, open_pen, remembered
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.ledger import RoundState, WatchedRound, refutes

pytestmark = pytest.mark.btc


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bitcoind]:
    with network(tmp_path) as started:
        started.mine(
            10
        )  # else a reorganisation makes the wallet's rewards immature, and their spends leave the pool
        yield started


@pytest.fixture
def pen(node: Bitcoind) -> BtcPen:
    return open_pen(node.url)


async def final_round(node: Bitcoind, pen: BtcPen) -> WatchedRound:
    """Anchor a round until it is final, and return it as one that was closed in its block."""
    watched = await pen.anchor()
    node.mine(3)
    view = await pen.look(watched)
    assert view.final
    return remembered(watched, view)


async def test_a_final_round_whose_block_left_the_chain_is_driven_with_the_same_bytes(
    node: Bitcoind, pen: BtcPen
) -> None:
    closed = await final_round(node, pen)
    assert closed.block is not None
    assert (await pen.look(closed)).block == closed.block
    node.reorg(5)
    view = await pen.look(closed)
    assert (view.state, view.tx_ref) == (RoundState.PENDING, closed.tx_ref)
    # Opened again, it is what recovery knows of it: its bytes, and the block that its receipts claim.
    fresh = {"state": RoundState.PENDING, "block": None, "tx_ref": ""}
    again = closed.model_copy(update=fresh | {"claimed_block": closed.block.number})
    assert refutes(await pen.look(again), closed.block.number)
    assert await pen.rebroadcast(again) == "accepted"
    assert node.rpc("getrawmempool") == closed.tx_refs
    node.mine(3)
    view = await pen.look(again)
    assert (view.state, view.tx_ref, view.final) == (RoundState.INCLUDED, closed.tx_ref, True)
    assert view.block != closed.block


async def test_a_node_that_is_behind_or_knows_no_header_opens_no_closed_round(
    node: Bitcoind, pen: BtcPen
) -> None:
    closed = await final_round(node, pen)
    assert closed.block is not None
    number = closed.block.number
    async with LyingProvider(node.url) as proxy:
        other = open_pen(proxy.url.replace("://", "://user:any@"), wallet=WALLET)
        proxy.refuse("getblockheader", "Block not found", code=-5)
        assert (await other.look(closed)).block == closed.block
        behind = {"blocks": number - 1, "bestblockhash": node.rpc("getblockhash", number - 1)}
        proxy.forge("getblockchaininfo", lambda _, told: {**told, **behind})  # type: ignore[dict-item]
        view = await other.look(closed)
        assert (view.state, view.block, view.final) == (RoundState.INCLUDED, closed.block, False)
        elsewhere = closed.block.model_copy(update={"hash": "11" * 32})
        stale = closed.model_copy(update={"block": elsewhere})
        proxy.forge("getblockchaininfo", lambda _, told: {**told, "headers": 10**6})  # type: ignore[dict-item]
        view = await other.look(stale)
        assert (view.state, view.block) == (RoundState.INCLUDED, elsewhere)


async def test_a_round_that_a_deep_reorganisation_gave_to_a_thief_is_lost_by_evidence_only(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await final_round(node, pen)
    assert watched.block is not None
    fork = watched.block.hash
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


async def test_a_final_receipt_is_not_left_wrong_because_nobody_can_tell_what_became_of_the_round(
    node: Bitcoind, pen: BtcPen
) -> None:
    closed = await final_round(node, pen)
    assert closed.block is not None
    raw = pen.raw_of(closed, closed.tx_ref)
    node.rpc("invalidateblock", closed.block.hash)
    node.mine_with()
    node.mine_with(raw)
    node.mine(4)
    node.rpc("unloadwallet", WALLET)
    node.rpc("createwallet", "fresh")
    async with LyingProvider(f"{node.url}/wallet/fresh") as proxy:
        other = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        view = await other.look(closed)
        assert "are not shown" in view.undecided
        assert has_left(closed, view)
        # Opened again, it is what recovery knows of it: the block that its receipts claim is refuted.
        claim = {"claimed_block": closed.block.number, "claimed_hash": closed.block.hash}
        fresh = {"state": RoundState.PENDING, "block": None, "tx_ref": ""}
        view = await other.look(closed.model_copy(update=fresh | claim))
        assert refutes(view, closed.block.number)
        assert "are not shown" in view.undecided
        true = {"claimed_hash": node.rpc("getblockhash", closed.block.number)}
        view = await other.look(closed.model_copy(update=fresh | claim | true))
        assert not refutes(view, closed.block.number)


async def test_a_node_that_contradicts_its_own_header_opens_no_closed_round(
    node: Bitcoind, pen: BtcPen
) -> None:
    closed = await final_round(node, pen)
    async with LyingProvider(node.url) as proxy:
        other = open_pen(proxy.url.replace("://", "://user:any@"), wallet=WALLET)
        number = closed.block.number if closed.block else 0
        proxy.forge("getblockhash", lambda asked, true: "11" * 32 if asked == [number] else true)
        proxy.forge("gettransaction", lambda _, __: None)
        view = await other.look(closed)
        assert not has_left(closed, view)
