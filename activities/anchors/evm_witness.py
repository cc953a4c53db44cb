"""The place where every provider is asked what it knows for or against a round, also those that no quorum needs.

A provider that shows a candidate of ours in a block, or our event since the block of signing, speaks for the round,
whatever all others say. Silence is no consent: who did not answer in full is named.
"""

import asyncio
from dataclasses import dataclass, replace

from eth_utils.crypto import keccak

from activities.anchors.evm_encoding import encode_transaction
from activities.anchors.evm_errors import NodeError
from activities.anchors.evm_horizon import Horizon, Rules
from activities.anchors.evm_notes import EventProgress, Notes, signed_at_block
from activities.anchors.evm_observe import KnownOnly, Sight, look_from, nonce_of
from activities.anchors.evm_outcome import OwnCall
from activities.anchors.evm_reads import FoundLog, block_at, logs_of
from activities.anchors.evm_rpc import Provider, Providers
from activities.anchors.evm_signer import signer_of
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.ledger import RoundState, WatchedRound

MOST_QUESTIONS = 50
"""For events, that one provider is asked in one look; the progress is kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one provider knows of a round."""

    provider: Provider
    name: str
    """Its label; numbered where several have the same."""
    horizon: Horizon
    sight: Sight
    elsewhere: str = ""
    """A transaction that holds our event and is no candidate of ours."""
    events: EventProgress | None = None
    unread: str = ""
    """Why its events were not read up to its newest block; empty when they were."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A provider that did not answer."""

    name: str
    reason: str
    veto: str = ""
    """What it shows for the round all the same."""


async def ask_all(
    providers: Providers, rules: Rules, watched: WatchedRound, notes: Notes
) -> tuple[list[Answer], list[Silence]]:
    """Ask every configured provider, also those that rest."""
    names = _names(providers)
    asked = (
        _ask(one, name, rules, watched, notes)
        for one, name in zip(providers.all, names, strict=True)
    )
    told = await asyncio.gather(*asked)
    answers = [one for one in told if isinstance(one, Answer)]
    return answers, [one for one in told if isinstance(one, Silence)]


async def _ask(
    provider: Provider, name: str, rules: Rules, watched: WatchedRound, notes: Notes
) -> Answer | Silence:
    try:
        horizon, (sight,) = await look_from(provider, rules, [watched])
    except KnownOnly as known:
        return Silence(name, str(known), veto=str(known))
    except AnchorError as error:
        return Silence(name, str(error))
    answer = Answer(provider, name, horizon, sight)
    if sight.state is RoundState.INCLUDED:
        return answer
    return await _with_events(answer, OwnCall.of(watched, rules.contract), watched, notes)


async def _with_events(
    answer: Answer, call: OwnCall, watched: WatchedRound, notes: Notes
) -> Answer:
    """Add what the provider's events say; a candidate of ours among them is included."""
    first = signed_at_block(watched)
    before = notes.events.get(answer.name)
    try:
        logs, events, unread = await _events(answer, call, first, before)
        ours = [log for log in logs if call.is_event(log)]
        live = [log for log in ours if await _is_canonical(answer.provider, log)]
    except AnchorError as error:
        return replace(answer, events=before, unread=str(error))
    answer = replace(answer, events=events, unread=unread)
    candidate = next((log for log in live if log.tx_hash in watched.tx_refs), None)
    if candidate is not None:
        return await _included(answer, candidate)
    for log in live:
        if not await is_of_another(answer.provider, log.tx_hash, watched.reservation.account):
            return replace(answer, elsewhere=log.tx_hash)
    return answer


async def is_of_another(provider: Provider, tx_ref: str, account: str) -> bool:
    """Whether a transaction's own bytes show that another account signed it: anybody may call the contract as we did.

    False where the bytes can't be had: then it may be ours.
    """
    try:
        shown = await provider.call("eth_getTransactionByHash", tx_ref)
        raw = encode_transaction(shown if isinstance(shown, dict) else {})
        signer = signer_of(raw)
    except (InvalidValue, AnchorError):
        return False
    return "0x" + keccak(raw).hex() == tx_ref and signer.account != account.lower()


async def _included(answer: Answer, log: FoundLog) -> Answer:
    block = await block_at(answer.provider, hex(log.block_number))
    if block is None or block.hash != log.block_hash:
        return replace(answer, unread=f"block {log.block_number} changed meanwhile")
    settled = answer.horizon.settles(block.number)
    sight = Sight(
        RoundState.INCLUDED, answer.horizon.height, log.tx_hash, block.ref, settled=settled
    )
    return replace(answer, sight=sight)


async def _events(
    answer: Answer, call: OwnCall, first: int, before: EventProgress | None
) -> tuple[list[FoundLog], EventProgress, str]:
    """Ask for our event in ranges that the provider allows: each that is too wide is halved."""
    at, last = max(first, before.through + 1 if before else 0), answer.horizon.height
    span = before.span if before else max(last - at + 1, 1)
    found: list[FoundLog] = []
    for _ in range(MOST_QUESTIONS):
        if at > last:
            break
        end = min(at + span - 1, last)
        try:
            found += await logs_of(answer.provider, call.contract, call.topics, at, end)
        except NodeError:
            if span == 1:
                raise
            span = max(span // 2, 1)
            continue
        at = end + 1
    final = answer.horizon.settled_number
    through = min(at - 1, final if final is not None else first - 1)
    unread = f"its events were read up to block {at - 1} of {last}" if at <= last else ""
    return found, EventProgress(through=max(through, first - 1), span=span), unread


async def _is_canonical(provider: Provider, log: FoundLog) -> bool:
    if log.removed:
        return False
    block = await block_at(provider, hex(log.block_number))
    return block is not None and block.hash == log.block_hash


def _names(providers: Providers) -> list[str]:
    labels = [one.label for one in providers.all]
    return [
        label if labels.count(label) == 1 else f"{label} ({place + 1})"
        for place, label in enumerate(labels)
    ]


def counts_free(answer: Answer) -> bool:
    """Whether a provider counts the nonce as free, and so neither confirms nor denies its use."""
    return answer.sight.state in (RoundState.PENDING, RoundState.MISSING)


def nonce_text(watched: WatchedRound) -> str:
    """Return how the round's nonce is named."""
    return f"nonce {nonce_of(watched)} of {watched.reservation.account}"
