"""Nodes that forget and lie never make us pay twice; a true foreign transaction is found all the same (X6, E7)."""

from collections.abc import Callable

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from pydantic import JsonValue

from activities.anchoring.reopen import has_left
from tests.ledgers.evm.chain import Chain, Submitter, foreign_transfer, remembered
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound

pytestmark = [pytest.mark.evm, pytest.mark.timeout(700)]
DEAD = "http://127.0.0.1:9"
FINAL = 6
"""Blocks after which a transaction is final here."""
FORGOTTEN = ("eth_getTransactionReceipt", "eth_getTransactionByHash")


async def looks(submitter: Submitter, watched: WatchedRound, count: int = 4) -> list[RoundView]:
    """Look several times, as an observation does: each look gets what the one before noted."""
    views = []
    for _ in range(count):
        submitter.target._held.clear()
        views.append(await submitter.look(watched))
        watched = remembered(watched, views[-1])
    return views


def never_lost(views: list[RoundView]) -> None:
    assert not {view.state for view in views} & {RoundState.LOST, RoundState.DISPLACED}


def forget(proxy: LyingProvider, *more: str) -> None:
    """Have a node show neither receipts nor transactions by hash, nor what else is named."""
    for method in (*FORGOTTEN, *more):
        answer: JsonValue = [] if method == "eth_getLogs" else None
        proxy.forge(method, lambda _, __, told=answer: told)


def keep_no_old_state(proxy: LyingProvider) -> None:
    proxy.refuse(
        "eth_getTransactionCount", "missing trie node 1234", unless=lambda p: p[1] == "latest"
    )


def cap_ranges(proxy: LyingProvider, blocks: int = 100) -> None:
    def fits(params: JsonValue) -> bool:
        wanted = params[0]  # type: ignore[index]
        return int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) < blocks  # type: ignore[index, call-overload]

    proxy.refuse("eth_getLogs", f"query exceeds max block range {blocks}", unless=fits)


async def use_nonce(chain: Chain, key: str, watched: WatchedRound) -> None:
    """Have somebody else use the round's nonce."""
    nonce = watched.reservation.sequence or 0
    await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, nonce))
    await chain.mine()


# --- forgetting --------------------------------------------------------------------------------------------------


async def test_a_node_without_old_transactions_loses_nothing_its_events_show_the_anchor(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    forget(proxy)
    view = (await looks(submitter, watched))[-1]
    assert (view.state, view.tx_ref, view.final) == (RoundState.INCLUDED, watched.tx_refs[0], True)


async def test_the_blocks_show_our_own_call_where_nothing_else_does(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs")
    view = (await looks(submitter, watched, 1))[-1]
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_node_without_any_receipt_holds_the_round_and_never_loses_it(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs", "eth_getBlockReceipts")
    views = await looks(submitter, watched)
    never_lost(views)
    assert "no longer shows the receipt" in views[-1].undecided
    assert "resolve" in views[-1].undecided
    again = watched.model_copy(update={"claimed_block": await chain.height() - FINAL + 1})
    assert (await submitter.look(again)).state is not RoundState.LOST
    proxy.obey()
    assert (await looks(submitter, watched, 1))[0].state is RoundState.INCLUDED


async def test_a_final_round_whose_block_left_the_chain_is_opened_though_nobody_can_tell_its_fate(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    """The harm: its receipts said `finalized` for good, since no look could say what became of it."""
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    closed = remembered(watched, await submitter.look(watched))
    assert not has_left(closed, await submitter.look(closed))
    await chain.reorganise(FINAL + 1)
    forget(proxy, "eth_getLogs", "eth_getBlockReceipts")
    proxy.forge("eth_getTransactionCount", lambda _, true: hex(int(str(true), 16) + 1))
    first, *_, last = await looks(submitter, closed)
    assert last.undecided
    assert first.left_block
    assert has_left(closed, first)


async def test_what_our_own_receipts_say_of_the_block_is_enough_where_nodes_forgot(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine()
    claimed = await chain.height()
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs", "eth_getBlockReceipts")
    view = await submitter.look(watched.model_copy(update={"claimed_block": claimed}))
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_a_second_provider_is_asked_at_quorum_one(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs", "eth_getBlockReceipts")
    view = (await looks(submitter, watched, 1))[0]
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, watched.tx_refs[0])


async def test_what_was_included_and_is_final_stays_so_and_its_receipt_is_completed(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine()
    watched = remembered(watched, await submitter.look(watched))
    await chain.mine(FINAL)
    forget(proxy, "eth_getLogs", "eth_getBlockReceipts")
    view = await submitter.look(watched)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)
    raw = submitter.raw_of(watched, view.tx_ref)
    evidence = await submitter.target.evidence(watched, view, raw)
    assert view.block is not None
    assert evidence.scheme["blockHash"] == view.block.hash
    assert evidence.scheme["rawTransaction"] == raw


# --- lying -------------------------------------------------------------------------------------------------------


def dropped(name: str, value: JsonValue) -> Callable[[JsonValue, JsonValue], JsonValue]:
    """Return a forge that replaces one part of a receipt, or of each in a list."""

    def forge(_: JsonValue, told: JsonValue) -> JsonValue:
        if isinstance(told, list):
            return [forge(_, one) for one in told]
        return {**told, name: value} if isinstance(told, dict) else told

    return forge


@pytest.mark.parametrize("part", [("logs", []), ("status", None), ("to", None)])
async def test_a_receipt_without_a_part_never_loses_a_round(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, part: tuple[str, JsonValue]
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    proxy.forge("eth_getTransactionReceipt", dropped(*part))
    views = await looks(submitter, watched)
    assert {view.state for view in views} == {RoundState.INCLUDED}


@pytest.mark.parametrize("part", [("logs", []), ("status", "0x0")])
async def test_a_failure_that_only_one_node_shows_is_held(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, part: tuple[str, JsonValue]
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    for method in ("eth_getTransactionReceipt", "eth_getBlockReceipts"):
        proxy.forge(method, dropped("logs", []))
    proxy.forge("eth_getTransactionReceipt", dropped(*part) if part[0] == "logs" else _reverted)
    proxy.forge("eth_getLogs", lambda _, __: [])
    views = await looks(submitter, watched)
    never_lost(views)
    assert "do not prove it" in views[-1].undecided


def _reverted(_: JsonValue, told: JsonValue) -> JsonValue:
    return {**told, "status": "0x0", "logs": []} if isinstance(told, dict) else told


async def test_two_nodes_that_drop_the_event_are_refuted_by_the_block_itself(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    async with LyingProvider(chain.url) as other:
        submitter = await make_submitter([proxy.url, other.url])
        watched = await submitter.anchor()
        await chain.mine(FINAL)
        for one in (proxy, other):
            for method in ("eth_getTransactionReceipt", "eth_getBlockReceipts"):
                one.forge(method, dropped("logs", []))
            one.forge("eth_getLogs", lambda _, __: [])
        never_lost(await looks(submitter, watched))


async def test_a_failure_that_two_hosts_show_counts_where_blocks_cannot_be_rebuilt(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    async with LyingProvider(chain.url) as other:
        submitter = await make_submitter([proxy.url, other.url])
        watched = await starved(chain, submitter)
        await chain.mine(FINAL)
        for one in (proxy, other):
            one.forge("eth_getBlockReceipts", dropped("cumulativeGasUsed", "0x1"))
        views = await looks(submitter, watched)
        states = [view.state for view in views]
        assert states[:2] == [RoundState.DISPLACED, RoundState.LOST]
        assert not views[1].foreign
        alone = await make_submitter([proxy.url])
        alone.candidates = submitter.candidates
        views = await looks(alone, watched)
        never_lost(views)
        assert views[-1].undecided


async def starved(chain: Chain, submitter: Submitter) -> WatchedRound:
    """Have a call of ours run out of gas in a block."""
    watched = await submitter.sign()
    fields = watched.reservation.fields | {"gas": 24_900}
    reservation = watched.reservation.model_copy(update={"fields": fields})
    candidate = await submitter.target.sign(
        reservation, submitter.candidates[watched.round_id][0].terms, 0
    )
    await submitter.target.broadcast(reservation, candidate)
    await chain.mine()
    return watched.model_copy(update={"tx_refs": [candidate.tx_ref], "reservation": reservation})


async def test_a_transaction_that_a_node_invents_loses_nothing(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    await chain.mine(FINAL)
    stranger = Account.create()
    account = watched.reservation.account
    await chain.fund(stranger.key.hex())
    await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, stranger.key.hex(), 0))
    await chain.mine(FINAL)

    def ours(_: JsonValue, block: JsonValue) -> JsonValue:
        if not isinstance(block, dict) or not isinstance(block["transactions"], list):
            return block
        told = [
            {**one, "from": account} if isinstance(one, dict) else one
            for one in block["transactions"]
        ]
        return {**block, "transactions": told}

    proxy.forge("eth_getBlockByNumber", ours)
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x1")
    views = await looks(submitter, watched)
    never_lost(views)
    assert "no longer shows what used nonce 0" in views[-1].undecided


# --- a true foreign transaction ------------------------------------------------------------------------------------


Faults = tuple[Callable[[LyingProvider], None], ...]


@pytest.mark.parametrize(
    "away",
    [
        (FINAL, ()),
        (FINAL, (keep_no_old_state,)),
        (FINAL, (cap_ranges,)),
        pytest.param((5_000, (keep_no_old_state, cap_ranges)), marks=pytest.mark.slow),
    ],
)
async def test_a_foreign_transaction_is_found_and_loses_the_round(
    chain: Chain,
    proxy: LyingProvider,
    make_submitter: MakeSubmitter,
    key: str,
    away: tuple[int, Faults],
) -> None:
    blocks, faults = away
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    await chain.mine(blocks // 2)
    await use_nonce(chain, key, watched)
    await chain.mine(max(blocks // 2, FINAL))
    for fault in faults:
        fault(proxy)
    states = []
    while RoundState.LOST not in states and len(states) < 120:
        before = proxy.calls["eth_getBlockByNumber"]
        view = await submitter.look(watched)
        assert proxy.calls["eth_getBlockByNumber"] - before < 70
        watched = remembered(watched, view)
        states.append(view.state)
    assert states[-2:] == [RoundState.DISPLACED, RoundState.LOST]
    assert set(states[:-2]) <= {RoundState.PENDING}
    assert view.foreign


async def test_the_count_is_bisected_where_the_node_answers_for_old_blocks(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, key: str
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    await chain.mine(500)
    await use_nonce(chain, key, watched)
    used_at = await chain.height()
    await chain.mine(1_000)

    def count(params: JsonValue, told: JsonValue) -> JsonValue:
        at = params[1]  # type: ignore[index]
        return told if at == "latest" else hex(int(int(at, 16) >= used_at))  # type: ignore[arg-type]

    proxy.forge("eth_getTransactionCount", count)
    before = proxy.calls["eth_getBlockByNumber"]
    assert (await submitter.look(watched)).state is RoundState.DISPLACED
    assert proxy.calls["eth_getBlockByNumber"] - before < 10
    wrong = 300
    proxy.forge(
        "eth_getTransactionCount",
        lambda params, told: (
            told if params[1] == "latest" else hex(int(int(params[1], 16) >= wrong))
        ),  # type: ignore[index, arg-type]
    )
    views = await looks(submitter, watched, 14)
    assert views[-1].state is RoundState.LOST, "a count that is wrong only costs time"


async def test_an_outage_is_searched_only_from_where_the_nonce_was_free(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, key: str
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    await chain.mine(1_000)
    watched = remembered(watched, await submitter.look(watched))
    await use_nonce(chain, key, watched)
    await chain.mine(FINAL)
    keep_no_old_state(proxy)
    assert (await submitter.look(watched)).state is RoundState.DISPLACED


async def test_a_dead_provider_is_no_consent_and_is_named_until_it_answers(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, key: str
) -> None:
    async with LyingProvider(chain.url) as dead:
        urls = [proxy.url, chain.url, dead.url]
        submitter = await make_submitter(urls)
        watched = await submitter.sign()
        await use_nonce(chain, key, watched)
        await chain.mine(FINAL)
        dead.fail_with_status("*", 503)
        views = await looks(submitter, watched)
        assert {view.state for view in views} == {RoundState.DISPLACED}
        assert not views[-1].undecided
        assert dead.url in views[-1].message
        impatient = await make_submitter(urls, evidenceWait="0s")
        held = (await looks(impatient, watched))[-1]
        assert held.state is RoundState.DISPLACED
        assert f"{dead.url} did not answer" in held.undecided
        dead.obey()
        watched = remembered(watched, held)
        assert (await looks(impatient, watched, 1))[0].state is RoundState.LOST


async def test_a_provider_that_shows_our_candidate_vetoes_a_loss(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, key: str
) -> None:
    submitter = await make_submitter([chain.url, proxy.url])
    watched = await submitter.sign()
    await use_nonce(chain, key, watched)
    await chain.mine(FINAL)
    tx_ref = watched.tx_refs[0]
    proxy.forge("eth_getTransactionByHash", lambda _, __: {"hash": tx_ref})
    views = await looks(submitter, watched)
    never_lost(views)
    assert "knows" in views[-1].message


async def test_a_foreign_authorisation_that_used_the_nonce_is_found(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    watched = await submitter.sign()
    account, stranger = Account.from_key(key), Account.create()
    await chain.fund(stranger.key.hex())
    delegation = account.sign_authorization(
        {
            "chainId": chain.chain_id,
            "address": to_checksum_address(chain.dev),
            "nonce": watched.reservation.sequence or 0,
        }
    )
    signed = stranger.sign_transaction(
        {
            "type": 4,
            "chainId": chain.chain_id,
            "nonce": 0,
            "to": to_checksum_address(chain.dev),
            "value": 0,
            "gas": 100_000,
            "maxFeePerGas": 50 * 10**9,
            "maxPriorityFeePerGas": 10**9,
            "authorizationList": [delegation],
        }
    )
    await chain.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
    await chain.mine(FINAL)
    views = await looks(submitter, watched, 2)
    assert [view.state for view in views] == [RoundState.DISPLACED, RoundState.LOST]
    assert "authorisation" in views[0].message
