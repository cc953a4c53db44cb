"""What a Bitcoin node or wallet does not show is never read as a loss: only a spender in a block is (X6, B10).

Each test is named for the harm: a root that is paid for twice, a round that is given up, or blame without a proof.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.anchors.btc_search import MOST_BLOCKS
from devnet.bitcoind import WALLET, Bitcoind
from tests.activities.btc_chain import PRUNING, BtcPen, network, open_pen, prune, remembered, spend
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.bitcoin import Transaction
from vaultmesh.domain.bitcoin_proof import BitcoinEvidence, prove
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.ledger import RoundState, RoundView, WatchedRound, refutes

pytestmark = pytest.mark.btc

FRESH = "fresh"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bitcoind]:
    with network(tmp_path) as started:
        yield started


@pytest.fixture
def pen(node: Bitcoind) -> BtcPen:
    return open_pen(node.url)


def replace_wallet(node: Bitcoind) -> BtcPen:
    """Take the wallet away, and put one there that knows nothing of it."""
    node.rpc("unloadwallet", WALLET)
    node.rpc("createwallet", FRESH)
    return open_pen(node.url, wallet=FRESH)


async def look_on(pen: BtcPen, watched: WatchedRound) -> tuple[WatchedRound, RoundView]:
    """Look once, and return the round as the next look is told of it."""
    view = await pen.look(watched)
    kept = {"notes": watched.notes if view.notes is None else view.notes}
    return remembered(watched, view).model_copy(update=kept | {"undecided": view.undecided}), view


def is_quiet(view: RoundView) -> bool:
    """Whether a look claims neither a loss nor that somebody has to decide."""
    return view.state in {RoundState.PENDING, RoundState.MISSING} and not view.undecided


async def test_a_mined_round_that_a_fresh_wallet_does_not_know_is_not_blamed_on_others(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine()
    view = await replace_wallet(node).look(watched)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_thief_is_found_in_the_blocks_when_the_wallet_knows_neither_side(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.mine_with(thief)
    watched, view = await look_on(stranger, watched)
    assert (view.state, view.foreign, view.depth) == (RoundState.DISPLACED, True, 1)
    assert Transaction.parse_hex(thief).txid in view.message
    node.mine()
    watched, view = await look_on(stranger, watched)
    assert view.state is RoundState.DISPLACED
    node.mine()
    _, view = await look_on(stranger, watched)
    assert (view.state, view.depth, view.irrevocable) == (RoundState.LOST, 3, True)


async def test_a_wallet_that_claims_a_conflict_which_no_block_shows_costs_no_second_payment(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.sign()
    conflict = {"confirmations": -40, "hex": "", "walletconflicts": ["11" * 32]}
    async with LyingProvider(node.url) as proxy:
        told = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.forge("gettxout", lambda _, __: None)
        proxy.forge("gettransaction", lambda _, __: conflict)
        proxy.refuse("getmempoolentry", "Transaction not in mempool", code=-5)
        watched, view = await look_on(told, watched)
        assert view.state is RoundState.PENDING
        assert "nobody can tell" in view.undecided
        node.mine(5)
        _, again = await look_on(told, watched)
        assert (again.state, again.undecided) == (RoundState.PENDING, view.undecided)


async def test_a_bid_that_a_caller_put_back_does_not_know_is_not_paid_for_again(
    node: Bitcoind, pen: BtcPen
) -> None:
    first = await pen.anchor()
    both = await pen.bump(first)
    node.mine(3)
    view = await pen.look(first)
    assert (view.state, view.tx_ref, view.final) == (RoundState.INCLUDED, both.tx_refs[1], True)
    evidence = await pen.target.evidence(first, view, pen.raw_of(both, view.tx_ref))
    assert prove(BitcoinEvidence.read(evidence.scheme)).transaction.txid == both.tx_refs[1]


async def test_a_displaced_round_gets_its_output_back_when_the_block_leaves_the_chain(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    block = node.mine_with(thief)
    watched, view = await look_on(stranger, watched)
    assert view.state is RoundState.DISPLACED
    node.rpc("invalidateblock", block)
    node.mine_with()
    node.mine_with()
    watched, view = await look_on(stranger, watched)
    assert is_quiet(view)
    node.mine_with(thief)
    watched, view = await look_on(stranger, watched)
    assert (view.state, view.depth) == (RoundState.DISPLACED, 1)
    node.rpc("invalidateblock", node.rpc("getbestblockhash"))
    node.mine_with(pen.raw_of(watched, watched.tx_refs[0]))
    assert (await pen_of(node, FRESH).look(watched)).state is RoundState.INCLUDED


def pen_of(node: Bitcoind, wallet: str) -> BtcPen:
    return open_pen(node.url, wallet=wallet)


async def test_a_child_of_an_output_that_ceased_to_exist_is_lost_by_what_a_block_shows(
    node: Bitcoind,
) -> None:
    pen = open_pen(node.url, confirmations=2)
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    parent = await pen.anchor()
    rival = spend(node, parent.reservation)
    node.mine()
    child = await pen.anchor()
    block = (await pen.look(parent)).block
    assert block is not None
    node.rpc("invalidateblock", block.hash)
    node.mine_with(rival)
    node.mine()
    view = await pen.look(child)
    assert (view.state, view.foreign) == (RoundState.LOST, True)
    assert f"ceased to exist since {parent.reservation.fields['txid']}" in view.message
    assert Transaction.parse_hex(rival).txid in view.message


async def test_without_the_bytes_of_its_parent_a_child_is_not_given_up(node: Bitcoind) -> None:
    pen = open_pen(node.url, confirmations=2)
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    parent = await pen.anchor()
    rival = spend(node, parent.reservation)
    node.mine()
    child = await pen.anchor()
    block = (await pen.look(parent)).block
    assert block is not None
    stranger = replace_wallet(node)
    node.rpc("invalidateblock", block.hash)
    node.mine_with(rival)
    node.mine(3)
    view = await stranger.look(child)
    assert view.state is RoundState.PENDING
    assert "no block since it was unspent spends it" in view.undecided


async def test_a_long_search_goes_on_where_the_look_before_it_stopped(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.sign()
    thief = spend(node, watched.reservation)
    replace_wallet(node)
    node.mine(2 * MOST_BLOCKS + 10)
    node.mine_with(thief)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        stranger = open_pen(proxy.url.replace("://", "://user:any@"))
        states = []
        for _ in range(3):
            watched, view = await look_on(stranger, watched)
            states.append(view.state)
            assert not view.undecided
        assert states == [RoundState.PENDING, RoundState.PENDING, RoundState.DISPLACED]
        assert proxy.calls["getblock"] == 2 * MOST_BLOCKS + 11
        await look_on(stranger, watched)
        assert proxy.calls["getblock"] == 2 * MOST_BLOCKS + 11


async def test_pruned_blocks_hold_the_round_until_a_node_shows_them(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.sign()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.mine(3)
    node.mine_with(thief)
    node.mine(5)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        pruned = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        watched, view = await look_on(pruned, watched)
        assert view.state is RoundState.PENDING
        last = node.height()
        assert f"blocks from {last - 8} to {last} that may spend it are not shown" in view.undecided
        assert "rpcUrl" in view.undecided
        first_calls = proxy.calls["getblock"]
        watched, again = await look_on(pruned, watched)
        assert again.undecided == view.undecided
        assert proxy.calls["getblock"] == first_calls + 1
    _, view = await look_on(stranger, watched)
    assert (view.state, view.undecided) == (RoundState.LOST, "")
    assert Transaction.parse_hex(thief).txid in view.message


async def test_a_block_that_is_made_up_is_no_evidence_of_a_thief(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.sign()
    thief = spend(node, watched.reservation)
    node.mine(4)
    true = node.rpc("getblock", node.rpc("getbestblockhash"), 0)
    count = 160  # hex digits of the header
    made_up = true[:count] + "02" + true[count + 2 :] + thief
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        lying = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.forge("getblock", lambda _, told: made_up if told == true else told)
        proxy.forge("gettxout", lambda _, __: None)
        _, view = await look_on(lying, watched)
    assert view.state is RoundState.PENDING
    assert f"blocks from {node.height()} to {node.height()} that" in view.undecided


async def test_receipts_of_an_included_round_stay_while_nobody_can_tell(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine(2)
    claimed = node.height() - 1
    recovered = watched.model_copy(update={"claimed_block": claimed})
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        pruned = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        recovered, view = await look_on(pruned, recovered)
        assert view.undecided
        assert not refutes(view, claimed)
        proxy.obey()
        assert (await pruned.look(recovered)).state is RoundState.INCLUDED


async def test_a_block_that_receipts_name_is_read_first(node: Bitcoind, pen: BtcPen) -> None:
    watched = await pen.sign()
    node.mine(3 * MOST_BLOCKS)
    node.mine_with(pen.raw_of(watched, watched.tx_refs[0]))
    claimed = node.height()
    stranger = replace_wallet(node)
    view = await stranger.look(watched)
    assert (view.state, refutes(view, claimed)) == (RoundState.PENDING, False)
    view = await stranger.look(watched.model_copy(update={"claimed_block": claimed}))
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_really_pruned_node_gives_no_round_up(tmp_path: Path) -> None:
    with Bitcoind(tmp_path, txindex=False, options=PRUNING) as node:
        pen = open_pen(node.url)
        watched = await pen.anchor()
        node.mine_with(spend(node, watched.reservation))
        stranger = replace_wallet(node)
        prune(node)
        for _ in range(60):
            watched, view = await look_on(stranger, watched)
            assert view.state is RoundState.PENDING
            if view.undecided:
                break
        assert "are not shown (pruned?)" in view.undecided


async def test_a_receipt_becomes_final_although_block_and_wallet_are_gone(tmp_path: Path) -> None:
    with Bitcoind(tmp_path, txindex=False, options=PRUNING) as node:
        pen = open_pen(node.url)
        for _ in range(3):
            node.wallet("sendtoaddress", node.wallet("getnewaddress"), 0.5)
        watched = await pen.anchor()
        node.mine()
        known, view = await look_on(pen, watched)
        raw = pen.raw_of(watched, view.tx_ref)
        stored = dict((await pen.target.evidence(watched, view, raw)).scheme)
        stranger = replace_wallet(node)
        prune(node)
        known, view = await look_on(stranger, known)
        assert (view.state, view.final) == (RoundState.INCLUDED, True)
        with pytest.raises(NetworkFailure, match="use a node that keeps it"):
            await stranger.target.evidence(known, view, raw)
        told = known.model_copy(update={"stored": stored})
        for given in (raw, ""):
            evidence = await stranger.target.evidence(told, view, given)
            proven = prove(BitcoinEvidence.read(evidence.scheme))
            assert (proven.transaction.txid, proven.depth) == (watched.tx_refs[0], 3)


async def test_a_round_that_its_receipt_proves_is_not_held_when_node_wallet_and_history_forgot_it(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine(3)
    view = await pen.look(watched)
    assert view.block is not None
    raw, commitment = pen.raw_of(watched, view.tx_ref), bytes.fromhex(watched.commitment[2:])
    stored = (await pen.target.evidence(watched, view, raw)).scheme
    assert pen.target.proven(commitment, stored) == view.tx_ref
    assert pen.target.proven(b"\1" * 32, stored) == ""
    assert pen.target.proven(commitment, {**stored, "merkleBranch": ["11" * 32]}) == ""
    claim = {
        "claimed_block": view.block.number,
        "claimed_hash": view.block.hash,
        "claimed_tx": view.tx_ref,
    }
    replace_wallet(node)
    async with LyingProvider(f"{node.url}/wallet/{FRESH}") as proxy:
        pruned = open_pen(proxy.url.replace("://", "://user:any@"))
        proxy.refuse("getblock", "Block not available (pruned data)", code=-1)
        seen = await pruned.look(watched.model_copy(update=claim))
        assert (seen.state, seen.block, seen.final) == (RoundState.INCLUDED, view.block, True)
        node.reorg(4)
        seen = await pruned.look(watched.model_copy(update=claim))
        assert refutes(seen, view.block.number)


@pytest.mark.parametrize("changed", ["merkleBranch", "blockHash", "coinbase"])
async def test_stored_evidence_that_proves_nothing_is_read_anew(
    node: Bitcoind, pen: BtcPen, changed: str
) -> None:
    watched = await pen.anchor()
    node.mine()
    view = await pen.look(watched)
    raw = pen.raw_of(watched, view.tx_ref)
    right = (await pen.target.evidence(watched, view, raw)).scheme
    wrong = {**right, changed: ["11" * 32] if changed == "merkleBranch" else "11" * 32}
    told = watched.model_copy(update={"stored": wrong})
    assert (await pen.target.evidence(told, view, raw)).scheme == right


async def test_a_header_that_is_not_shown_reorganises_no_receipt(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine()
    known, view = await look_on(pen, watched)
    async with LyingProvider(node.url) as proxy:
        proxy.refuse("getblockheader", "Block not found", code=-5)
        forgetful = open_pen(proxy.url.replace("://", "://user:any@"))
        again = await forgetful.look(known)
    assert (again.state, again.block) == (RoundState.INCLUDED, view.block)


async def test_a_foreign_bid_in_the_pool_is_not_taken_for_a_loss(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.sign()
    thief = spend(node, watched.reservation)
    stranger = replace_wallet(node)
    node.rpc("sendrawtransaction", thief)
    view = await stranger.look(watched)
    assert is_quiet(view)
    assert "a foreign transaction in the pool" in view.message


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


async def young(pen: BtcPen, node: Bitcoind) -> WatchedRound:
    """Sign a round whose output was made by the newest block."""
    node.wallet("sendall", [node.wallet("getnewaddress")])
    node.mine()
    return await pen.sign()


async def test_a_node_that_was_put_back_does_not_make_an_output_vanish(
    twins: tuple[Bitcoind, Bitcoind],
) -> None:
    first, second = twins
    watched = await young(open_pen(first.url), first)
    behind = open_pen(second.url)
    view = await behind.look(watched)
    assert view.state is RoundState.PENDING
    assert "has not caught up with its chain" in view.undecided


async def test_headers_ahead_of_blocks_are_no_evidence_and_the_bytes_are_kept_for_later(
    twins: tuple[Bitcoind, Bitcoind],
) -> None:
    first, second = twins
    pen = open_pen(first.url)
    watched = await young(pen, first)
    first.mine(4)
    second.mine(1)  # a branch of its own, until it has the other's blocks
    for height in range(second.height(), first.height() + 1):
        second.rpc("submitheader", first.rpc("getblockheader", at(first, height), False))
    info = second.rpc("getblockchaininfo")
    assert info["headers"] > info["blocks"] + 1
    behind = open_pen(second.url)
    behind.candidates = pen.candidates
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
    watched = await young(open_pen(first.url), first)
    second.mine(MOST_BLOCKS)
    astray = open_pen(second.url)
    for _ in range(5):
        watched, view = await look_on(astray, watched)
        assert view.state is RoundState.PENDING
    assert "nobody can tell" in view.undecided
    for height in range(second.height() - MOST_BLOCKS + 1, first.height() + 1):
        second.rpc("submitblock", first.rpc("getblock", at(first, height), 0))
    first.mine(MOST_BLOCKS)
    for height in range(1, first.height() + 1):
        second.rpc("submitblock", first.rpc("getblock", at(first, height), 0))
    assert second.rpc("getbestblockhash") == first.rpc("getbestblockhash")
    _, view = await look_on(astray, watched)
    assert (view.state, view.undecided) == (RoundState.MISSING, "")


# --- nodes behind one address


async def test_a_spend_below_a_block_that_another_node_named_is_found_all_the_same(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine(4)
    newest = {"height": node.height(), "hash": node.rpc("getbestblockhash")}
    watched = watched.model_copy(update={"notes": {"unspentAt": newest}})
    stranger = replace_wallet(node)
    for _ in range(3):
        watched, view = await look_on(stranger, watched)
        if view.state is RoundState.INCLUDED:
            break
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])
    assert not view.undecided


async def test_a_miscounted_height_makes_nothing_final_and_no_theft_a_loss(
    node: Bitcoind, pen: BtcPen
) -> None:
    ours, stolen = await pen.anchor(), await pen.sign()
    node.mine()
    node.mine_with(spend(node, stolen.reservation))
    async with LyingProvider(node.url) as proxy:
        told = open_pen(proxy.url.replace("://", "://user:any@"), wallet=WALLET)
        miscounted = {"blocks": node.height() + 6}
        proxy.forge("getblockchaininfo", lambda _, true: {**true, **miscounted})  # type: ignore[dict-item]
        for watched in (ours, stolen):
            with pytest.raises(NetworkFailure, match="contradicts itself"):
                await told.look(watched)
        proxy.obey()
        assert (await told.look(ours)).depth == 2
        assert (await told.look(stolen)).state is RoundState.DISPLACED
