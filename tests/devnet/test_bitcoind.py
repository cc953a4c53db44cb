"""A local Bitcoin network obeys, keeps its blocks and its wallet, and comes back after it was killed."""

import time
from pathlib import Path

import pytest

from devnet.bitcoind import REWARDS, WALLET, Bitcoind
from devnet.jsonrpc import JsonRpcError

pytestmark = pytest.mark.btc

DEADLINE_SECONDS = 60


def test_the_first_start_makes_a_wallet_with_money(tmp_path: Path) -> None:
    with Bitcoind(tmp_path) as node:
        assert node.rpc("getblockchaininfo")["chain"] == "regtest"
        assert node.rpc("listwallets") == [WALLET]
        assert len(node.wallet("listunspent")) == REWARDS
        height = node.height()
        node.mine(3)
        assert node.height() == height + 3
        assert len(node.wallet("listunspent")) == REWARDS


def test_a_refused_call_carries_the_code_and_text_of_the_node(tmp_path: Path) -> None:
    with Bitcoind(tmp_path) as node, pytest.raises(JsonRpcError, match="-8: Block height"):
        node.rpc("getblockhash", 10_000)


def test_a_reorg_replaces_the_last_blocks(tmp_path: Path) -> None:
    with Bitcoind(tmp_path) as node:
        before = node.mine(4)
        height = node.height()
        node.reorg(2)
        after = [node.rpc("getblockhash", height - 3 + i) for i in range(4)]
        assert node.height() == height + 1
    assert after[:2] == before[:2]
    assert not set(after[2:]) & set(before[2:])


@pytest.mark.fault
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_network_goes_on_after_its_node_ended(tmp_path: Path, end: str) -> None:
    with Bitcoind(tmp_path) as node:
        node.mine(5)
        txid = node.wallet("sendtoaddress", node.wallet("getnewaddress"), 1)
        height, url = node.height(), node.url
        if end == "kill":
            node.save()
        getattr(node, end)()
        node.start()
        assert node.height() == height
        assert node.rpc("listwallets") == [WALLET]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while node.rpc("getrawmempool") != [txid]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert Bitcoind(tmp_path, port=node.port).url == url


@pytest.mark.fault
def test_blocks_by_the_clock_survive_a_kill(tmp_path: Path) -> None:
    with Bitcoind(tmp_path, block_seconds=0.2) as node:
        start, deadline = node.height(), time.monotonic() + DEADLINE_SECONDS
        while (seen := node.height()) < start + 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        node.kill()
        node.start()
        assert node.height() >= seen - 1
        while node.height() < seen + 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
