"""What a look makes of answers that do not fit together, as the nodes behind one address give them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    Reservation,
    RoundState,
    RoundView,
    WatchedRound,
)
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.ledgers.evm.anchor_contract import batch_id_of
from vaultmesh.ledgers.evm.observe import ProviderView, agreed_view, is_suspected, look_from
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import Rules
from vaultmesh.ledgers.evm.reserve import read_market
from vaultmesh.ledgers.evm.settings import EvmFinality

EVENT = "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2"
CONTRACT = "0x" + "11" * 20
NONCE, HEIGHT, OURS, TIME = 5, 100, 9, 1_700_000_000
GWEI = 10**9


def word(number: int) -> str:
    """Return a number as 32 bytes of hex."""
    return f"0x{number:064x}"


class Node(Provider):
    """A node at height 100 whose newest block holds our transaction; `answers` replaces what one method says."""

    def __init__(self, **answers: Callable[..., JsonValue]) -> None:
        """Answer without any connection."""
        super().__init__("http://127.0.0.1:9")
        self.settled = HEIGHT
        self.answers = answers

    @override
    async def call(self, method: str, *params: JsonValue) -> JsonValue:
        asked = self.answers.get(method) or getattr(self, method)
        answer: JsonValue = asked(*params)
        return answer

    def eth_chainId(self) -> JsonValue:  # noqa: N802 - the node's own name
        """Answer as the target's chain."""
        return "0x1"

    def eth_getBlockByNumber(self, number: str, *_: JsonValue) -> JsonValue:  # noqa: N802 - the node's own name
        """Return the header; one chain, whatever is asked."""
        named = {"latest": HEIGHT, "finalized": self.settled}
        return block(named[number] if number in named else int(number, 16))

    def eth_getTransactionCount(self, _: str, at: str) -> JsonValue:  # noqa: N802 - the node's own name
        """Count our transaction from its block on."""
        return hex(NONCE + 1 if at == "latest" or int(at, 16) >= HEIGHT else NONCE)

    def eth_getTransactionReceipt(self, tx_ref: str) -> JsonValue:  # noqa: N802 - the node's own name
        """Return our receipt."""
        return receipt(tx_ref)

    def eth_getTransactionByHash(self, tx_ref: str) -> JsonValue:  # noqa: N802 - the node's own name
        """Return our transaction."""
        return {"hash": tx_ref}


def block(number: int, branch: int = 0) -> JsonValue:
    """Return a header."""
    return {
        "number": hex(number),
        "hash": word(number + branch),
        "timestamp": hex(TIME),
        "baseFeePerGas": hex(GWEI),
    }


def receipt(tx_ref: str, branch: int = 0) -> JsonValue:
    """Return a receipt of our call in the newest block."""
    topics: list[JsonValue] = [EVENT, word(7), "0x" + batch_id_of("b").hex()]
    return {
        "transactionHash": tx_ref,
        "status": "0x1",
        "to": CONTRACT,
        "blockHash": word(HEIGHT + branch),
        "blockNumber": hex(HEIGHT),
        "logs": [{"address": CONTRACT, "topics": topics}],
    }


def round_of(state: RoundState = RoundState.PENDING, branch: int = 0) -> WatchedRound:
    """Return our round as its workflow knows it."""
    included = state is RoundState.INCLUDED
    seen = BlockRef(
        number=HEIGHT, hash=word(HEIGHT + branch), time=datetime.fromtimestamp(TIME, UTC)
    )
    return WatchedRound(
        round_id="r",
        commitment=word(7),
        label="b",
        reservation=Reservation(account="0x" + "22" * 20, sequence=NONCE, fields={}),
        tx_refs=[word(OURS)],
        signed_at=datetime.fromtimestamp(TIME, UTC),
        state=state,
        tx_ref=word(OURS) if included else "",
        block=seen if included else None,
        depths=[1],
    )


def rules(quorum: int = 1) -> Rules:
    """Return the target's rules."""
    return Rules(1, CONTRACT, EvmFinality.FINALIZED, 1, 3, quorum)


def look(node: Node, watched: WatchedRound) -> RoundView:
    """Look once."""
    _, provider_views = asyncio.run(look_from(node, rules(), [watched]))
    return agreed_view(watched, provider_views, rules())


def once(first: JsonValue, node_answer: Callable[..., JsonValue]) -> Callable[..., JsonValue]:
    """Return an answer that is `first` when the newest block is asked for by number, and right from then on."""
    left = [first]

    def answer(number: str, *rest: JsonValue) -> JsonValue:
        return left.pop() if left and number == hex(HEIGHT) else node_answer(number, *rest)

    return answer


@pytest.mark.parametrize("state", [RoundState.PENDING, RoundState.INCLUDED, RoundState.DISPLACED])
@pytest.mark.parametrize("answer", [None, block(HEIGHT, branch=1)], ids=["lags", "another branch"])
@pytest.mark.parametrize("settled", [HEIGHT, 36])
def test_a_node_that_lags_behind_its_address_neither_undoes_nor_loses_a_round(
    state: RoundState, answer: JsonValue, settled: int
) -> None:
    node = Node()
    node.settled = settled
    node.answers["eth_getBlockByNumber"] = once(answer, node.eth_getBlockByNumber)
    with pytest.raises(NetworkFailure, match="contradicts itself"):
        look(node, round_of(state))
    assert look(node, round_of(state)).state is RoundState.INCLUDED


def test_receipts_that_lag_behind_the_count_do_not_make_us_pay_again() -> None:
    node = Node(eth_getTransactionReceipt=lambda _: None)
    with pytest.raises(NetworkFailure, match="shows no receipt"):
        look(node, round_of(RoundState.DISPLACED))


def test_a_node_that_knows_nothing_of_our_call_is_only_a_suspicion() -> None:
    blind = Node(eth_getTransactionReceipt=lambda _: None, eth_getTransactionByHash=lambda _: None)
    for state in (RoundState.PENDING, RoundState.DISPLACED):
        view = look(blind, round_of(state))
        assert view.state is RoundState.PENDING
        assert not view.irrevocable
    _, provider_views = asyncio.run(look_from(blind, rules(), [round_of()]))
    assert is_suspected(provider_views, look(blind, round_of()), rules())
    assert look(Node(), round_of(RoundState.DISPLACED)).state is RoundState.INCLUDED


def test_a_receipt_of_another_branch_is_never_foreign_use() -> None:
    node = Node(eth_getTransactionReceipt=lambda ref: receipt(ref, branch=1))
    for state in (RoundState.PENDING, RoundState.DISPLACED, RoundState.INCLUDED):
        with pytest.raises(NetworkFailure, match="not canonical"):
            look(node, round_of(state, branch=1))


def test_a_receipt_of_a_dead_branch_does_not_keep_a_round_from_being_sent_again() -> None:
    node = Node(
        eth_getTransactionReceipt=lambda ref: receipt(ref, branch=1),
        eth_getTransactionCount=lambda *_: hex(NONCE),
        eth_getTransactionByHash=lambda _: None,
    )
    node.settled = HEIGHT - 1
    with pytest.raises(NetworkFailure, match="not canonical"):
        look(node, round_of(RoundState.INCLUDED, branch=1))
    node.settled = HEIGHT
    assert look(node, round_of(RoundState.INCLUDED, branch=1)).state is RoundState.MISSING


def test_one_provider_that_shows_foreign_use_does_not_keep_a_quorum_from_sending_again() -> None:
    missing = ProviderView(RoundState.MISSING, HEIGHT)
    foreign = ProviderView(RoundState.DISPLACED, HEIGHT, settled=True, foreign=True)
    view = agreed_view(round_of(), [foreign, missing, missing], rules(2))
    assert view.state is RoundState.MISSING
    assert "do not agree" in view.message
    assert agreed_view(round_of(), [foreign, missing], rules(2)).state is RoundState.PENDING


@pytest.mark.parametrize(
    ("suggested", "tip"),
    [([2], 2), ([50_000, 2], 2), ([2, 50_000], 2), ([2, 50_000, 3], 3), ([50_000, 0, 3], 3)],
)
@pytest.mark.parametrize("quorum", [1, 2])
def test_no_provider_alone_makes_the_first_bid_high(
    suggested: list[int], tip: int, quorum: int
) -> None:
    providers = Providers([], min(quorum, len(suggested)))
    providers.all = tuple(
        Node(eth_maxPriorityFeePerGas=lambda wei=one * GWEI: hex(wei)) for one in suggested
    )
    market, height = asyncio.run(read_market(providers))
    assert (market.base_fee_wei, market.tip_wei, height) == (GWEI, tip * GWEI, HEIGHT)
