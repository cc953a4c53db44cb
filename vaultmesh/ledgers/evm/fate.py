"""Finds out for an operator what became of a reserved nonce, and reads a transaction that is to be adopted.

1. Every configured provider has to answer: who is silent may know the transaction that the others forgot.
2. A transaction is adopted for what its bytes say: hash, signature, chain, nonce, contract, call. No node can invent that.
"""

import rlp
from hexbytes import HexBytes
from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import Reservation, SignedCandidate
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.ledgers.driver import Fate
from vaultmesh.ledgers.evm.anchor_contract import SELECTOR
from vaultmesh.ledgers.evm.block_encoding import encode_transaction, keccak_hex
from vaultmesh.ledgers.evm.fees import MAX_FEE, MAX_TIP, Bid
from vaultmesh.ledgers.evm.libraries import Account, TypedTransaction
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.observe import nonce_of
from vaultmesh.ledgers.evm.outcome import OwnCall
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import (
    ChainTip,
    Rules,
    count_at,
    is_known,
    logs_of,
    quantity,
    raw_transaction,
    read_tip,
    require_chain,
    tx_receipt,
)
from vaultmesh.ledgers.evm.witness import is_of_another

_WORD = 32
_TX_TYPE = 2


async def fate_of(
    providers: Providers, rules: Rules, reservation: Reservation, tx_refs: tuple[str, ...]
) -> Fate:
    """Say what every provider shows of a nonce and of the candidates that were signed for it.

    Raises:
        NetworkFailure: a provider did not answer.
        ValidationFailure: one serves another chain.
    """
    signed_under = rules.signed_under(reservation.fields)

    async def ask(provider: Provider) -> Fate:
        tip = await read_tip(provider, signed_under)
        return await _shown_by(provider, tip, reservation, tx_refs)

    answers, failures = await providers.attempt(ask, providers.all)
    if failures:
        reasons = "; ".join(map(str, failures))
        message = f"every provider must answer before this is decided; mend them, or take those that are gone out of rpcUrls: {reasons}"
        raise NetworkFailure(message)
    return Fate(
        shown_by="; ".join(answer.shown_by for answer in answers if answer.shown_by),
        unused="; ".join(answer.unused for answer in answers if answer.unused),
        lines=tuple(line for answer in answers for line in answer.lines),
    )


async def _shown_by(
    provider: Provider, tip: ChainTip, reservation: Reservation, tx_refs: tuple[str, ...]
) -> Fate:
    account = reservation.account
    nonce = nonce_of(reservation)
    count = await count_at(provider, account, "latest")
    known = [tx_ref for tx_ref in tx_refs if await _knows(provider, tx_ref)]
    events, line = await _events(provider, reservation)
    transactions = list(dict.fromkeys((*known, *events)))
    unused = f"nonce {nonce} of {account} is unused at {provider.label}" if count <= nonce else ""
    return Fate(
        shown_by=f"{provider.label} shows {', '.join(transactions)}" if transactions else "",
        unused=unused or await _undoable(provider, tip, account, nonce),
        lines=(f"{provider.label} counts {count} transactions of {account}", line),
    )


async def _undoable(provider: Provider, tip: ChainTip, account: str, nonce: int) -> str:
    """Return why the use of a nonce can still be undone; empty where it can't, or the node does not keep such old state."""
    if tip.settled_number is None:
        return ""
    try:
        count = await count_at(provider, account, hex(tip.settled_number))
    except NodeError as error:
        if error.meaning is Meaning.BUSY:
            raise
        return ""
    if count > nonce:
        return ""
    return f"the use of nonce {nonce} of {account} is not final yet at {provider.label}"


async def _knows(provider: Provider, tx_ref: str) -> bool:
    return await is_known(provider, tx_ref) or await tx_receipt(provider, tx_ref) is not None


async def _events(provider: Provider, reservation: Reservation) -> tuple[list[str], str]:
    """Return which transactions logged the round's event since it was signed, and what to note of the search.

    Those that another account signed are left out: anybody may call the contract as we did.
    """
    fields = reservation.fields
    data, since = str(fields.get("data", "")), fields.get("blockNumber")
    call = data.removeprefix("0x")
    start = 2 * len(SELECTOR)
    if not isinstance(since, int) or len(call) < start + 4 * _WORD:
        return [], f"{provider.label} was not asked for the event: the reservation does not name it"
    root, batch_id = (call[start + at : start + at + 2 * _WORD] for at in (0, 2 * _WORD))
    event = OwnCall(str(fields.get("to")).lower(), bytes.fromhex(root), bytes.fromhex(batch_id))
    try:
        logs = await logs_of(provider, event.contract, event.topics, since)
    except NodeError as error:
        return [], f"{provider.label} did not search for the event: {error}"
    tx_hashes = [
        log.tx_hash
        for log in logs
        if event.is_event(log)
        and not await is_of_another(provider, log.tx_hash, reservation.account)
    ]
    return (
        tx_hashes,
        f"{provider.label} shows {len(tx_hashes)} events of the round since block {since}",
    )


# --- adoption ----------------------------------------------------------------------------------


async def adoptable(
    providers: Providers, rules: Rules, reservation: Reservation, tx_ref: str
) -> SignedCandidate:
    """Return a transaction that spends the reservation and carries its commitment; its number is the caller's to choose.

    Raises:
        ValidationFailure: no provider shows it, or it is not what the round signed.
        NetworkFailure: no provider answered.
    """

    async def read(provider: Provider) -> bytes:
        require_chain(provider, await quantity(provider, "eth_chainId"), rules)
        return await _bytes_of(provider, tx_ref)

    answers, failures = await providers.attempt(read, providers.all)
    if not answers:
        raise NetworkFailure("; ".join(map(str, failures)))
    raw = next(filter(None, answers), b"")
    if not raw:
        message = (
            f"no provider shows {tx_ref}: only a transaction that is in the ledger can be adopted"
        )
        raise ValidationFailure(message)
    return _candidate(raw, reservation, tx_ref)


async def _bytes_of(provider: Provider, tx_ref: str) -> bytes:
    """Return the transaction's bytes; empty when the provider does not show it, or shows another one."""
    transaction = await provider.call("eth_getTransactionByHash", tx_ref)
    if not isinstance(transaction, dict):
        return b""
    try:
        raw = encode_transaction(transaction)
    except InvalidValue:
        raw = b""
    if keccak_hex(raw) != tx_ref:
        raw = bytes.fromhex((await raw_transaction(provider, tx_ref)).removeprefix("0x"))
    return raw if keccak_hex(raw) == tx_ref else b""


def _candidate(raw: bytes, reservation: Reservation, tx_ref: str) -> SignedCandidate:
    if raw[:1] != bytes([_TX_TYPE]):
        message = f"{tx_ref} is no transaction of type {_TX_TYPE}; the round's are"
        raise ValidationFailure(message)
    try:
        signed = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        sender = str(Account.recover_transaction(raw))
    except (ValueError, TypeError, rlp.exceptions.RLPException) as error:
        message = f"{tx_ref} can't be read as a transaction: {error}"
        raise ValidationFailure(message) from None
    differing = [
        name
        for name, is_same in {
            "sender": sender.lower() == reservation.account.lower(),
            **{name: _same(reservation.fields.get(name), signed.get(name)) for name in _COVERED},
        }.items()
        if not is_same
    ]
    if differing:
        message = f"{tx_ref} does not spend the round's reservation for its commitment: it differs in {', '.join(differing)}"
        raise ValidationFailure(message)
    bid = Bid.from_terms(
        {MAX_FEE: _as_int(signed.get(MAX_FEE)), MAX_TIP: _as_int(signed.get(MAX_TIP))}
    )
    return SignedCandidate(n=0, tx_ref=tx_ref, raw=f"0x{raw.hex()}", terms=bid.terms)


_COVERED = ("chainId", "nonce", "to", "value", "data")


def _same(recorded: JsonValue, signed: object) -> bool:
    if isinstance(signed, bytes):
        return isinstance(recorded, str) and recorded.lower() == f"0x{signed.hex()}"
    return recorded == signed


def _as_int(value: object) -> int:
    return value if isinstance(value, int) else 0
