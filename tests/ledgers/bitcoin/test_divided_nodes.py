"""A Bitcoin node that is behind, on another branch or one of several behind an address gives no round up (B10)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.bitcoind import WALLET, Bitcoind
from tests.ledgers.bitcoin.chain import (
    BitcoinSubmitter,
    network,
    observed,
    open_submitter,
    replace_wallet,
    spend,
)
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, WatchedRound
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.ledgers.bitcoin.search import MOST_BLOCKS

pytestmark = pytest.mark.btc


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[tuple[Bitcoind, Bitcoind]]:
    """Two nodes with the same chain and wallet that never hear of each other."""
    with network(tmp_path / "one") as first:
        first.save()
        first.stop()
        shutil.copytree(first.data, tmp_path / "two" / "bitcoind")
        first.start()
        with network(tmp_path / "two") as second:
            yield first, second


async def young(submitter: BitcoinSubmitter, node: Bitcoind) -> WatchedRound:
    """Sign a round whose output was made by the newest block."""
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    return await submitter.sign()


async def test_a_node_that_was_put_back_does_not_make_an_output_vanish(
    twins: tuple[Bitcoind, Bitcoind],
) -> None:
    first, second = twins
    watched = await young(open_submitter(first.url), first)
    behind = open_submitter(second.url)
    view = await behind.look(watched)
    assert view.state is RoundState.PENDING
    assert "has not caught up with its chain" in view.undecided


async def test_headers_ahead_of_blocks_are_no_evidence_and_the_bytes_are_kept_for_later(
    twins: tuple[Bitcoind, Bitcoind],
) -> None:
    first, second = twins
    submitter = open_submitter(first.url)
    watched = await young(submitter, first)
    first.mine(4)
    second.mine(1)  # a branch of its own, until it has the other's blocks
    for height in range(second.height(), first.height() + 1):
        second.rpc("submitheader", first.rpc("getblockheader", at(first, height), False))
    info = second.rpc("getblockchaininfo")
    assert info["headers"] > info["blocks"] + 1
    behind = open_submitter(second.url)
    behind.candidates = submitter.candidates
    view = await behind.look(watched)
    assert view.state is RoundState.PENDING
    assert "has not caught up with its chain" in view.undecided
    with pytest.raises(NetworkFailure, match="still syncing"):
        await behind.rebroadcast(watched)


def at(node: Bitcoind, height: int) -> str:
    return str(node.rpc("getblockhash", height))


async def test_a_node_on_another_branch_gives_no_round_up(
    twins: tuple[Bitcoind, Bitcoind],
) -> None:
    first, second = twins
    watched = await young(open_submitter(first.url), first)
    second.mine(MOST_BLOCKS)
    astray = open_submitter(second.url)
    for _ in range(5):
        watched, view = await observed(astray, watched)
        assert view.state is RoundState.PENDING
    assert "nobody can tell" in view.undecided
    for height in range(second.height() - MOST_BLOCKS + 1, first.height() + 1):
        second.rpc("submitblock", first.rpc("getblock", at(first, height), 0))
    first.mine(MOST_BLOCKS)
    for height in range(1, first.height() + 1):
        second.rpc("submitblock", first.rpc("getblock", at(first, height), 0))
    assert second.rpc("getbestblockhash") == first.rpc("getbestblockhash")
    _, view = await observed(astray, watched)
    assert (view.state, view.undecided) == (RoundState.MISSING, "")


async def test_a_spend_below_a_block_that_another_node_named_is_found_all_the_same(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.anchor()
    node.mine(4)
    newest = {"height": node.height(), "hash": node.rpc("getbestblockhash")}
    watched = watched.model_copy(update={"notes": {"unspentAt": newest}})
    stranger = replace_wallet(node)
    for _ in range(3):
        watched, view = await observed(stranger, watched)
        if view.state is RoundState.INCLUDED:
            break
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])
    assert not view.undecided


async def test_a_miscounted_height_makes_nothing_final_and_no_theft_a_loss(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    ours, stolen = await submitter.anchor(), await submitter.sign()
    node.mine()
    node.mine_with(spend(node, stolen.reservation))
    async with LyingProvider(node.url) as proxy:
        deceived = open_submitter(proxy.url, wallet=WALLET)
        miscounted = {"blocks": node.height() + 6}
        proxy.forge("getblockchaininfo", lambda _, true: {**true, **miscounted})  # type: ignore[dict-item]
        for watched in (ours, stolen):
            with pytest.raises(NetworkFailure, match="contradicts itself"):
                await deceived.look(watched)
        proxy.obey()
        assert (await deceived.look(ours)).depth == 2
        assert (await deceived.look(stolen)).state is RoundState.DISPLACED
