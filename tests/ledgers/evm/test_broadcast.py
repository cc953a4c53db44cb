"""What becomes of a broadcast, whatever a node answers: each text, status and lost reply has its verdict or its kind."""

import pytest

from tests.ledgers.evm.chain import SECRETS, Chain, with_credentials
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.failures import (
    AnchorError,
    AuthFailure,
    FailureKind,
    NetworkFailure,
    ValidationFailure,
)

pytestmark = pytest.mark.evm


async def test_a_lost_reply_is_looked_up_and_found(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    proxy.lose_reply("eth_sendRawTransaction")
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_an_unknown_text_is_never_a_verdict(
    proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([with_credentials(proxy.url)])
    watched = await submitter.sign()
    raw = submitter.raw_of(watched, watched.tx_refs[0])
    text = f"the moon is full {raw} at {with_credentials(proxy.url)}"
    proxy.refuse("eth_sendRawTransaction", text)
    with pytest.raises(AnchorError, match="the moon is full") as failure:
        await submitter.rebroadcast(watched)
    assert failure.value.kind is FailureKind.UNKNOWN
    assert raw[2:40] not in str(failure.value)
    assert not any(secret in str(failure.value) for secret in SECRETS)


async def test_other_bytes_at_our_nonce_do_not_pass_for_ours(
    proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    text = "tx with the same nonce already exists in the pool"
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    proxy.refuse("eth_sendRawTransaction", text)
    with pytest.raises(AnchorError, match=text) as failure:
        await submitter.rebroadcast(watched)
    assert failure.value.kind is FailureKind.UNKNOWN


async def test_an_unknown_text_about_bytes_that_arrived_is_accepted(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([chain.url])
    watched = await submitter.anchor()
    through = await make_submitter([proxy.url])
    through.candidates = submitter.candidates
    proxy.refuse("eth_sendRawTransaction", "the moon is full")
    assert await through.rebroadcast(watched) == Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("already known", Verdict.ACCEPTED),
        ("AlreadyKnown", Verdict.ACCEPTED),
        ("Known transaction", Verdict.ACCEPTED),
        ("OwnNonceAlreadyUsed", Verdict.ACCEPTED),
        ("nonce too low: next nonce 5, tx nonce 4", Verdict.CONSUMED),
        ("OldNonce", Verdict.CONSUMED),
        ("NonceGap", Verdict.GAP),
        ("nonce too high", Verdict.GAP),
        ("replacement transaction underpriced", Verdict.FEE_TOO_LOW),
        ("transaction underpriced: tip needed 1", Verdict.FEE_TOO_LOW),
        ("FeeTooLow, EffectivePriorityFeePerGas too low", Verdict.FEE_TOO_LOW),
        ("max fee per gas less than block base fee: address 0x1", Verdict.FEE_TOO_LOW),
    ],
)
async def test_each_text_of_the_table_is_its_verdict(
    proxy: LyingProvider, make_submitter: MakeSubmitter, text: str, verdict: Verdict
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    proxy.refuse("eth_sendRawTransaction", text)
    assert await submitter.rebroadcast(watched) == verdict


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("insufficient funds for gas * price + value", AuthFailure),
        ("tx fee (1.20 ether) exceeds the configured cap (1.00 ether)", AuthFailure),
        ("invalid sender: invalid chain id for signer: have 1 want 2", ValidationFailure),
        ("intrinsic gas too low", ValidationFailure),
        ("txpool is full", NetworkFailure),
        ("Too many requests", NetworkFailure),
    ],
)
async def test_each_text_that_holds_the_aggregator_has_its_kind(
    proxy: LyingProvider, make_submitter: MakeSubmitter, text: str, kind: type[AnchorError]
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    proxy.refuse("eth_sendRawTransaction", text)
    with pytest.raises(kind):
        await submitter.rebroadcast(watched)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthFailure), (403, NetworkFailure), (429, NetworkFailure), (503, AnchorError)],
)
async def test_each_http_status_has_its_kind(
    proxy: LyingProvider, make_submitter: MakeSubmitter, status: int, kind: type[AnchorError]
) -> None:
    submitter = await make_submitter([with_credentials(proxy.url)])
    proxy.fail_with_status("*", status)
    with pytest.raises(kind, match=str(status)) as failure:
        await submitter.sign()
    wanted = FailureKind.AUTH if status == 401 else FailureKind.NETWORK
    assert failure.value.kind is wanted
    assert not any(secret in str(failure.value) for secret in SECRETS)


async def test_a_provider_that_names_another_hash_is_not_believed(
    proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched = await submitter.sign()
    proxy.forge("eth_sendRawTransaction", lambda _, __: "0x" + "11" * 32)
    proxy.forge("eth_getTransactionByHash", lambda _, __: None)
    with pytest.raises(AnchorError, match="another hash"):
        await submitter.rebroadcast(watched)
