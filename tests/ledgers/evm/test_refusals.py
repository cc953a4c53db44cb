"""Endpoints that limit, refuse and leave out: none of that costs an anchor, a fee or the truth (E2, E5, E7, E9)."""

import pytest
from pydantic import JsonValue

from tests.ledgers.evm.chain import Chain, Submitter, remembered
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.ledgers.evm.test_evidence import looks
from tests.simulators.evm import Forge, LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound
from vaultmesh.domain.failures import AuthFailure, FailureKind, NetworkFailure
from vaultmesh.ledgers.evm import reads
from vaultmesh.ledgers.evm.node_errors import NodeError
from vaultmesh.process.version import VERIFIER

pytestmark = pytest.mark.evm
TIP = "eth_maxPriorityFeePerGas"
LEAST_TIP, USUAL_TIP = "1", "1000000000"
FINAL = 6


# --- tips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-32007, "50/second request limit reached"),  # wevm/viem#5082
        (-32012, "credits limited to 6000/sec"),
        (19, "Temporary internal error. Please retry"),
        (-32603, "Internal error"),
        (-32005, "daily request count exceeded"),
        (429, "compute units per second"),
        (-32000, "something that nobody has seen yet"),
    ],
)
async def test_a_tip_that_was_refused_once_is_asked_for_again_and_never_taken_as_one_wei(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, code: int, text: str
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.refuse(TIP, text, code=code)
    with pytest.raises(NodeError, match="eth_maxPriorityFeePerGas") as failure:
        await submitter.sign()
    assert failure.value.kind is (FailureKind.UNKNOWN if code == -32000 else FailureKind.NETWORK)
    proxy.obey()
    watched = await submitter.sign()
    assert submitter.candidates[watched.round_id][0].terms["maxPriorityFeePerGas"] == USUAL_TIP


async def test_a_tip_that_one_node_refuses_and_another_does_not_offer_is_not_one_wei(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    async with LyingProvider(chain.url) as second:
        submitter = await make_submitter([proxy.url, second.url])
        proxy.refuse(TIP, "method not found", code=-32601)
        second.refuse(TIP, "50/second request limit reached", code=-32007)
        with pytest.raises(NodeError, match="request limit"):
            await submitter.sign()
        second.obey()
        watched = await submitter.sign()
        assert submitter.candidates[watched.round_id][0].terms["maxPriorityFeePerGas"] == USUAL_TIP


async def test_a_tip_that_one_node_refuses_is_taken_from_the_other_one(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url])
    proxy.refuse(TIP, "50/second request limit reached", code=-32007)
    with pytest.raises(NodeError, match="request limit"):
        await (await make_submitter([proxy.url, chain.url], quorum=2)).sign()
    watched = await submitter.sign()
    assert submitter.candidates[watched.round_id][0].terms["maxPriorityFeePerGas"] == USUAL_TIP


@pytest.mark.parametrize("code", [-32601, -32604, -32000])
async def test_a_method_that_is_not_offered_costs_no_anchor(
    proxy: LyingProvider, make_submitter: MakeSubmitter, code: int
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.refuse(TIP, "the method eth_x does not exist/is not available", code=code)
    watched = await submitter.sign()
    assert submitter.candidates[watched.round_id][0].terms["maxPriorityFeePerGas"] == LEAST_TIP


@pytest.mark.parametrize("nothing", ["0x", None])
async def test_a_tip_that_a_node_does_not_name_costs_no_anchor(
    proxy: LyingProvider, make_submitter: MakeSubmitter, nothing: JsonValue
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.forge(TIP, lambda _, __: nothing)
    await submitter.sign()


@pytest.mark.parametrize("nothing", ["0x", None])
@pytest.mark.parametrize("method", ["eth_estimateGas", "eth_getBalance"])
async def test_a_quantity_that_one_node_does_not_name_is_asked_of_the_next_one(
    chain: Chain,
    proxy: LyingProvider,
    make_submitter: MakeSubmitter,
    method: str,
    nothing: JsonValue,
) -> None:
    alone = await make_submitter([proxy.url])
    both = await make_submitter([proxy.url, chain.url])
    proxy.forge(method, lambda _, __: nothing)
    with pytest.raises(NetworkFailure, match="no value where a quantity is due"):
        await alone.sign()
    await both.sign()


# --- proxies and credentials -------------------------------------------------------------------------------------


async def test_a_page_with_status_403_is_of_a_proxy_and_another_endpoint_goes_on(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.fail_with_status("*", 403)
    with pytest.raises(NetworkFailure, match="a proxy or a firewall in front of it"):
        await submitter.sign()
    await (await make_submitter([proxy.url, chain.url])).sign()


async def test_a_document_with_status_403_is_about_credentials(
    proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.fail_with_status("*", 403, {"error": {"code": -32000, "message": "invalid key"}})
    with pytest.raises(AuthFailure, match="credentials"):
        await submitter.sign()


async def test_every_call_names_this_product(
    proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    await (await make_submitter([proxy.url])).sign()
    assert proxy.agents == {VERIFIER}


# --- logs and receipts of others ---------------------------------------------------------------------------------


def with_logs(*more: JsonValue) -> Forge:
    """Return what puts logs of others before those of a receipt."""
    return lambda _, receipt: {**receipt, "logs": [*more, *receipt["logs"]]}  # type: ignore[dict-item, index, list-item, misc, call-overload]


OTHERS: tuple[JsonValue, ...] = (
    {"address": "0x" + "77" * 20, "topics": ["0x"], "data": "0x"},
    {"address": "0x", "topics": [], "data": None},
    {"address": None, "topics": None},
    {"topics": [7]},
    "nothing",
)


async def included(chain: Chain, submitter: Submitter) -> tuple[WatchedRound, RoundView]:
    watched = await submitter.anchor()
    await chain.mine(FINAL)
    return watched, await submitter.look(watched)


async def test_malformed_logs_of_others_in_our_receipt_hide_no_anchor(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.forge("eth_getTransactionReceipt", with_logs(*OTHERS))
    watched, view = await included(chain, submitter)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)
    raw = submitter.raw_of(watched, view.tx_ref)
    assert (await submitter.target.evidence(watched, view, raw)).tx_ref == view.tx_ref


async def test_malformed_receipts_of_others_in_our_block_hide_no_anchor(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, view = await included(chain, submitter)
    proxy.forge("eth_getTransactionReceipt", lambda _, __: None)
    proxy.forge("eth_getBlockReceipts", lambda _, receipts: [{"status": "0x"}, 7, *receipts])  # type: ignore[list-item, misc]
    raw = submitter.raw_of(watched, view.tx_ref)
    evidence = await submitter.target.evidence(watched, view, raw)
    assert (evidence.tx_ref, evidence.block_number) == (
        view.tx_ref,
        view.block and view.block.number,
    )


async def test_a_status_that_is_empty_does_not_hide_the_event(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.forge(
        "eth_getTransactionReceipt",
        lambda _, receipt: receipt and {**receipt, "status": "0x", "to": "0x"},  # type: ignore[dict-item]
    )
    _, view = await included(chain, submitter)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)


# --- finality ----------------------------------------------------------------------------------------------------


def refuse_tag(proxy: LyingProvider, text: str, code: int = -32602) -> None:
    """Have a node answer for the tag with an error: moonbeam-foundation/moonbeam#1863, tronprotocol/java-tron#5953."""
    proxy.refuse("eth_getBlockByNumber", text, code=code, unless=lambda p: p[0] != "finalized")  # type: ignore[index, call-overload]


async def test_a_refused_tag_is_said_with_what_to_do_and_never_only_waited_for(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    refuse_tag(proxy, "invalid argument 0: hex string without 0x prefix")
    _, view = await included(chain, submitter)
    assert (view.state, view.final) == (RoundState.INCLUDED, False)
    assert "refuses the tag 'finalized'" in view.message
    assert "`finality: depth`" in view.message
    assert await submitter.target.unsettling() == [view.message]
    proxy.obey()
    assert await submitter.target.unsettling() == []


async def test_a_chain_that_names_nothing_final_is_said_once_it_is_not_new(
    chain: Chain,
    proxy: LyingProvider,
    make_submitter: MakeSubmitter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitter = await make_submitter([proxy.url])
    proxy.forge(
        "eth_getBlockByNumber",
        lambda params, block: None if params[0] == "finalized" else block,  # type: ignore[index, call-overload]
    )
    _, view = await included(chain, submitter)
    assert (view.final, view.message, await submitter.target.unsettling()) == (False, "", [])
    monkeypatch.setattr(reads, "YOUNG_BLOCKS", 1)
    (line,) = await submitter.target.unsettling()
    assert "names no finalized block" in line


@pytest.mark.parametrize("silent", ["hang", "refuse"])
async def test_an_endpoint_that_does_not_answer_says_nothing_about_finality(
    proxy: LyingProvider, make_submitter: MakeSubmitter, silent: str
) -> None:
    submitter = await make_submitter([proxy.url], call_seconds=0.5)
    if silent == "hang":
        proxy.hang("*")
    else:
        refuse_tag(proxy, "Internal error", code=-32603)
    assert await submitter.target.unsettling() == []


async def test_by_depth_no_tag_is_asked_for(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url], finality="depth")
    refuse_tag(proxy, "no such tag")
    _, view = await included(chain, submitter)
    assert view.final
    assert await submitter.target.unsettling() == []


# --- what nodes have pruned --------------------------------------------------------------------------------------


def prune(proxy: LyingProvider) -> None:
    """Have a node answer as EIP-4444 says, for all but the newest headers."""
    for method in ("eth_getTransactionReceipt", "eth_getBlockReceipts"):
        proxy.refuse(method, "pruned history unavailable", code=4444)


async def test_a_pruned_receipt_at_finality_is_completed_from_what_is_known(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, view = await included(chain, submitter)
    watched = remembered(watched, view)
    prune(proxy)
    view = await submitter.look(watched)
    assert view.final
    evidence = await submitter.target.evidence(
        watched, view, submitter.raw_of(watched, view.tx_ref)
    )
    assert evidence.tx_ref == view.tx_ref


@pytest.mark.parametrize("how", ["null", "error"])
async def test_a_block_that_a_node_no_longer_shows_is_not_said_to_have_left_the_chain(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, how: str
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, view = await included(chain, submitter)
    assert view.block is not None
    method, wanted = "eth_getBlockByNumber", hex(view.block.number)
    if how == "null":
        proxy.forge(method, lambda params, block: None if params[0] == wanted else block)  # type: ignore[index, call-overload]
    else:
        text = "pruned history unavailable"
        proxy.refuse(method, text, code=4444, unless=lambda params: params[0] != wanted)  # type: ignore[index, call-overload]
    raw = submitter.raw_of(watched, view.tx_ref)
    with pytest.raises(NetworkFailure, match="does not show that block") as failure:
        await submitter.target.evidence(watched, view, raw)
    assert "canonical" not in str(failure.value)


async def test_a_node_that_pruned_everything_of_a_round_loses_it_no_round(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, _ = await included(chain, submitter)
    prune(proxy)
    proxy.refuse("eth_getTransactionByHash", "pruned history unavailable", code=4444)
    proxy.refuse("eth_getLogs", "pruned history unavailable", code=4444)
    for view in await looks(submitter, watched):
        assert view.state not in (RoundState.LOST, RoundState.DISPLACED)
