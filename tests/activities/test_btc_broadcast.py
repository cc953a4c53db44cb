"""Sending to a Bitcoin node: each answer has its verdict, an unknown one is looked up, and nothing is signed twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from devnet.bitcoind import Bitcoind
from tests.activities.btc_chain import BtcPen, network, open_pen, remembered
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.failures import (
    AnchorError,
    AuthFailure,
    FailureKind,
    NetworkFailure,
    ValidationFailure,
)
from vaultmesh.domain.ledger import RoundState, Verdict

pytestmark = pytest.mark.btc

SEND = "sendrawtransaction"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    with network(tmp_path_factory.mktemp("bitcoin")) as started:
        yield started


@pytest_asyncio.fixture
async def proxy(node: Bitcoind) -> AsyncIterator[LyingProvider]:
    node.mine()
    node.wallet("lockunspent", True)  # what other tests signed and never sent
    async with LyingProvider(node.url) as started:
        yield started


@pytest.fixture
def pen(proxy: LyingProvider) -> BtcPen:
    return open_pen(proxy.url.replace("://", "://user:hunter2secret@"))


async def test_sending_again_is_accepted_in_the_pool_and_in_a_block(
    node: Bitcoind, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    assert await pen.rebroadcast(watched) == Verdict.ACCEPTED
    node.mine()
    assert await pen.rebroadcast(watched) == Verdict.ACCEPTED
    node.mine_with()
    assert (await pen.look(watched)).depth == 2


@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        (-27, "Transaction outputs already in utxo set", Verdict.ACCEPTED),
        (-27, "transaction already in block chain", Verdict.ACCEPTED),
        (-26, "txn-already-in-mempool", Verdict.ACCEPTED),
        (-26, "txn-already-known", Verdict.ACCEPTED),
        (-26, "txn-same-nonwitness-data-in-mempool", Verdict.ACCEPTED),
        (-26, "insufficient fee, rejecting replacement ab; new feerate 1", Verdict.FEE_TOO_LOW),
        (-26, "mempool min fee not met, 155 < 310", Verdict.FEE_TOO_LOW),
        (-26, "min relay fee not met, 0 < 155", Verdict.FEE_TOO_LOW),
        (-26, "mempool full", Verdict.FEE_TOO_LOW),
    ],
)
async def test_each_text_of_the_table_is_its_verdict(
    proxy: LyingProvider, pen: BtcPen, code: int, text: str, verdict: Verdict
) -> None:
    watched = await pen.sign()
    proxy.refuse(SEND, text, code=code)
    assert await pen.rebroadcast(watched) == verdict


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-26, "scriptpubkey", FailureKind.VALIDATION),
        (-26, "dust", FailureKind.VALIDATION),
        (
            -25,
            "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
            FailureKind.AUTH,
        ),
        (-28, "Loading block index…", FailureKind.NETWORK),
        (-26, "the moon is full", FailureKind.UNKNOWN),
        (-26, "txn-mempool-conflict", FailureKind.UNKNOWN),  # no bid of ours replaces it
        (-25, "bad-txns-inputs-missingorspent", FailureKind.UNKNOWN),
    ],
)
async def test_each_other_text_has_its_kind(
    proxy: LyingProvider, pen: BtcPen, code: int, text: str, kind: FailureKind
) -> None:
    watched = await pen.sign()
    proxy.refuse(SEND, text, code=code)
    with pytest.raises(AnchorError) as failure:
        await pen.rebroadcast(watched)
    assert failure.value.kind is kind
    assert "hunter2" not in str(failure.value)


async def test_an_unknown_text_about_bytes_that_arrived_is_accepted(
    proxy: LyingProvider, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    proxy.refuse(SEND, "the moon is full", code=-1)
    assert await pen.rebroadcast(watched) == Verdict.ACCEPTED


async def test_a_lost_answer_is_looked_up(
    node: Bitcoind, proxy: LyingProvider, pen: BtcPen
) -> None:
    watched = await pen.sign()
    proxy.lose_reply(SEND)
    assert await pen.rebroadcast(watched) == Verdict.ACCEPTED
    assert proxy.calls[SEND] == 1
    assert node.rpc("getrawmempool") == watched.tx_refs


async def test_a_node_that_hangs_costs_a_time_out(proxy: LyingProvider, pen: BtcPen) -> None:
    watched = await pen.sign()
    hurried = open_pen(proxy.url, call_seconds=0.5)
    hurried.candidates = pen.candidates
    proxy.hang("*")
    started = time.monotonic()
    for step in (hurried.rebroadcast(watched), hurried.look(watched), hurried.reserve()):
        with pytest.raises(NetworkFailure, match="no answer in time"):
            await step
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthFailure), (503, NetworkFailure), (404, ValidationFailure)]
)
async def test_each_http_status_has_its_kind(
    proxy: LyingProvider, pen: BtcPen, status: int, kind: type[AnchorError]
) -> None:
    proxy.fail_with_status("*", status)
    with pytest.raises(kind, match=str(status)) as failure:
        await pen.reserve()
    assert "hunter2" not in str(failure.value)


async def test_answers_of_another_form_are_failures_of_the_network(
    proxy: LyingProvider, pen: BtcPen
) -> None:
    for method in (
        "getwalletinfo",
        "listunspent",
        "getmempoolinfo",
        "signrawtransactionwithwallet",
    ):
        proxy.forge(method, lambda _, __: [5])
        with pytest.raises(NetworkFailure):
            await pen.reserve()
        proxy.obey()
    watched = await pen.anchor()
    proxy.forge("gettransaction", lambda _, __: {"confirmations": "many"})
    with pytest.raises(NetworkFailure, match="has no confirmations"):
        await pen.look(watched)


async def test_a_wallet_that_signs_something_else_is_caught(
    proxy: LyingProvider, pen: BtcPen
) -> None:
    reservation, terms = await pen.reserve(b"\x01" * 32)
    other, _ = await pen.reserve(b"\x02" * 32)
    raw = (await asyncio.to_thread(pen.target.sign, other, terms, 0)).raw
    proxy.forge("signrawtransactionwithwallet", lambda _, __: {"complete": True, "hex": raw})
    with pytest.raises(ValidationFailure, match="signed another transaction"):
        await asyncio.to_thread(pen.target.sign, reservation, terms, 0)


async def test_a_node_that_names_another_id_is_not_believed(
    proxy: LyingProvider, pen: BtcPen
) -> None:
    watched = await pen.sign()
    proxy.forge(SEND, lambda _, __: "11" * 32)
    with pytest.raises(ValidationFailure, match="named another id"):
        await pen.rebroadcast(watched)


async def test_a_syncing_node_reserves_nothing_and_a_node_behind_denies_nothing(
    node: Bitcoind, proxy: LyingProvider, pen: BtcPen
) -> None:
    watched = await pen.anchor()
    node.mine()
    known = remembered(watched, await pen.look(watched))
    behind = {"blocks": 20, "headers": 500, "bestblockhash": node.rpc("getblockhash", 20)}
    proxy.forge("getblockchaininfo", lambda _, told: {**told, **behind})  # type: ignore[dict-item]
    with pytest.raises(NetworkFailure, match="still syncing, at block 20"):
        await pen.reserve()
    proxy.forge("getblockheader", lambda _, __: None)
    view = await pen.look(known)
    assert (view.state, view.depth, view.final) == (RoundState.INCLUDED, 0, False)
    assert "is behind block" in view.message


async def test_another_network_behind_the_url_gets_no_bytes(
    proxy: LyingProvider, pen: BtcPen
) -> None:
    watched = await pen.sign()
    proxy.forge("getblockhash", lambda _, __: "22" * 32)
    with pytest.raises(ValidationFailure, match="not btc:regtest"):
        await pen.rebroadcast(watched)
    assert proxy.calls[SEND] == 0


async def test_without_an_estimate_the_fee_is_what_is_relayed_and_with_one_it_is_that(
    proxy: LyingProvider, pen: BtcPen
) -> None:
    reservation, terms = await pen.reserve()
    vsize = int(str(reservation.fields["vsize"]))
    assert terms == {"feeSats": vsize}
    proxy.forge("estimatesmartfee", lambda _, __: {"feerate": 0.00012345, "blocks": 6})
    _, terms = await pen.reserve()
    assert terms == {"feeSats": -(-12345 * vsize // 1000)}
    proxy.forge("estimatesmartfee", lambda _, __: {"feerate": 0.5, "blocks": 6})
    _, terms = await pen.reserve()
    assert terms == {"feeSats": 100 * vsize}
