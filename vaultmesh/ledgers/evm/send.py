"""Sends signed bytes to the providers, and turns their answers into a verdict (E5, X4).

1. All providers get the bytes, except those that just failed to answer. One that accepts outweighs any other answer.
2. An answer that is not in the table is looked up by hash, and raised if that does not find the transaction.
"""

import asyncio

from vaultmesh.domain.aggregator.ledger_messages import (
    Broadcasted,
    Reservation,
    SignedCandidate,
    Verdict,
)
from vaultmesh.domain.failures import AnchorError, FailureKind
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import is_known, tx_receipt
from vaultmesh.ledgers.failures import failure_of, most_urgent

NO_ERROR_CODE = 0
"""Of an answer that is no error, but cannot be believed either."""
_VERDICTS = (
    (Meaning.CONSUMED, Verdict.CONSUMED),
    (Meaning.FEE_TOO_LOW, Verdict.FEE_TOO_LOW),
    (Meaning.GAP, Verdict.GAP),
)
_ADVICE = {
    Meaning.NO_FUNDS: "top up {account}",
    Meaning.NODE_CAP: "raise the node's cap for transaction fees, or lower ours",
}
_ADVICE_ELSE = {
    FailureKind.AUTH: "check the credentials in rpcUrl",
    FailureKind.VALIDATION: "check chain id, contract and the providers",
    FailureKind.UNKNOWN: "nobody knows it by its hash; the same bytes are sent again",
    FailureKind.NETWORK: "nobody knows it by its hash; the same bytes are sent again",
}


async def send(
    providers: Providers, reservation: Reservation, candidate: SignedCandidate
) -> Broadcasted:
    """Send to all providers; repeatable, keyed by the bytes themselves.

    Raises:
        AuthFailure: no provider takes it for want of funds or rights.
        ValidationFailure: no provider will ever take these bytes.
        NetworkFailure: nobody could be reached, and nobody knows the transaction.
        AnchorError: an answer we don't know, and nobody knows the transaction.
    """
    accepted, failures = await _offer(providers, candidate)
    if accepted:
        return Broadcasted(verdict=Verdict.ACCEPTED)
    refusals = {
        error.meaning: error for error in reversed(failures) if isinstance(error, NodeError)
    }
    if Meaning.KNOWN in refusals:
        return Broadcasted(verdict=Verdict.ACCEPTED, message="known already")
    verdict = next(((v, refusals[m]) for m, v in _VERDICTS if m in refusals), None)
    if verdict is None:
        return await _looked_up(providers, reservation, candidate, failures)
    if verdict[0] is Verdict.CONSUMED and await _is_mined(providers, candidate.tx_ref):
        return Broadcasted(verdict=Verdict.ACCEPTED, message="mined already")
    return Broadcasted(verdict=verdict[0], message=str(verdict[1]))


async def _offer(
    providers: Providers, candidate: SignedCandidate
) -> tuple[bool, list[AnchorError]]:
    """Send to all that do not rest, and to the resting ones when nobody else took it."""

    async def offer(provider: Provider) -> None:
        method = "eth_sendRawTransaction"
        answer = await provider.call(method, candidate.raw)
        if not isinstance(answer, str) or answer.lower() != candidate.tx_ref:
            raise NodeError(
                provider.label, method, NO_ERROR_CODE, "took it, but named another hash"
            )

    failures: list[AnchorError] = []
    resting = [provider for provider in providers.all if provider.rests]
    awake = [provider for provider in providers.all if not provider.rests]
    for asked in (awake, resting):
        accepted, refused = await providers.attempt(offer, asked)
        failures += refused
        if accepted:
            return True, failures
    return False, failures


async def _looked_up(
    providers: Providers,
    reservation: Reservation,
    candidate: SignedCandidate,
    failures: list[AnchorError],
) -> Broadcasted:
    """Find out what an answer did not say; the bytes may well have arrived."""
    known, _ = await providers.attempt(
        lambda provider: is_known(provider, candidate.tx_ref), providers.all
    )
    if any(known):
        return Broadcasted(verdict=Verdict.ACCEPTED, message="found by its hash")
    texts = "; ".join(map(str, failures))
    message = f"broadcast of {candidate.tx_ref} was not accepted: {texts}"
    raise _failure(message, failures, reservation)


def _failure(message: str, failures: list[AnchorError], reservation: Reservation) -> AnchorError:
    kind = most_urgent(failures)
    refusals = [failure.meaning for failure in failures if isinstance(failure, NodeError)]
    advice = next(filter(None, map(_ADVICE.get, refusals)), _ADVICE_ELSE[kind])
    return failure_of(kind, f"{message}; {advice.format(account=reservation.account)}")


async def _is_mined(providers: Providers, tx_ref: str) -> bool:
    async def ask(provider: Provider) -> bool:
        receipt, known = await asyncio.gather(
            tx_receipt(provider, tx_ref), is_known(provider, tx_ref)
        )
        return known and receipt is not None

    mined, _ = await providers.attempt(ask, providers.all)
    return any(mined)
