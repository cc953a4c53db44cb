"""What blocks show counts when an operator decides about a round, whatever the wallet knows: nothing is paid twice by decision."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.anchors.btc_search import MOST_BLOCKS
from devnet.bitcoind import Bitcoind
from tests.activities.btc_chain import BtcPen, network, open_pen, spend
from tests.activities.test_btc_absence import FRESH, look_on, replace_wallet
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.bitcoin import Transaction

pytestmark = pytest.mark.btc


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bitcoind]:
    with network(tmp_path) as started:
        yield started


@pytest.fixture
def pen(node: Bitcoind) -> BtcPen:
    return open_pen(node.url)


async def test_a_round_that_only_a_block_shows_is_not_given_up_for_lost(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine(5)
    stranger = replace_wallet(node)
    fate = await stranger.target.fate(watched.reservation, watched.tx_refs)
    assert watched.tx_refs[0] in fate.shown


async def test_a_young_theft_is_not_decided_when_the_wallet_does_not_know_its_depth(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.mine_with(thief)
    fate = await stranger.target.fate(watched.reservation, watched.tx_refs)
    assert "1 of 3 blocks deep" in fate.unused
    node.mine(2)
    fate = await stranger.target.fate(watched.reservation, watched.tx_refs)
    assert (fate.shown, fate.unused) == ("", "")
    assert Transaction.parse_hex(thief).txid in fate.lines[0]


async def test_only_blocks_that_are_not_shown_leave_a_loss_to_the_operator(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.sign()
    thief = spend(node, watched.reservation)
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        stranger = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.forge("gettxout", lambda _, __: None)
        fate = await stranger.target.fate(watched.reservation, watched.tx_refs)
        assert "nor a block that spends it" in fate.unused
        proxy.obey()
        node.mine_with(thief)
        node.mine(2)
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        fate = await stranger.target.fate(watched.reservation, watched.tx_refs)
        assert (fate.shown, fate.unused) == ("", "")
        assert "are not shown" in fate.lines[0]


async def test_a_decision_reads_on_where_the_looks_stopped(node: Bitcoind, pen: BtcPen) -> None:
    watched = await pen.anchor()
    node.mine(MOST_BLOCKS + 10)
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        stranger = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        watched, _ = await look_on(stranger, watched)
        proxy.calls.clear()
        await stranger.target.fate(watched.reservation, watched.tx_refs, watched.notes)
        assert proxy.calls["getblock"] <= MOST_BLOCKS
