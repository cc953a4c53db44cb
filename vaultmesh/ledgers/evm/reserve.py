"""Decides what an EVM signature will cover: chain, nonce, contract, call, gas, fees (E1, E2, E4).

1. No nonce is given out before every provider that answers serves the configured chain, from the same genesis.
2. The next nonce is one above the highest that the caller or the storage knows; the chain's count only checks it.
3. A call that would revert, that we cannot pay, or that is above our fee cap gets no nonce.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median_low

from vaultmesh.domain.aggregator.ledger_messages import Reservation, Terms
from vaultmesh.domain.failures import (
    AnchorError,
    AuthFailure,
    NetworkFailure,
    ValidationFailure,
)
from vaultmesh.ledgers.driver import StaleCaller, UnknownRounds
from vaultmesh.ledgers.evm.anchor_contract import anchor_call, batch_id_of, calldata_floor
from vaultmesh.ledgers.evm.fees import Bid, Caps, Market, gwei, opening_bid
from vaultmesh.ledgers.evm.foreign import ForeignUse
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.providers import Provider, Providers, supported_by
from vaultmesh.ledgers.evm.reads import (
    GENESIS,
    Rules,
    block_at,
    code_of,
    count_at,
    latest_block,
    maybe_quantity,
    quantity,
    require_chain,
    require_genesis,
)
from vaultmesh.ledgers.evm.search import Use

MOST_GAS = 2**24
"""EIP-7825: no transaction may have a higher gas limit."""
_GAS_MARGIN_NUMERATOR, _GAS_MARGIN_DENOMINATOR = 6, 5
"""+20 %: on rollups the part for L1 data moves between estimate and inclusion; unused gas is not paid."""
_TX_TYPE = 2
_WEI_PER_ETHER = 10**18
_MOST_SHOWN = 10
"""Foreign transactions that a log line names."""
_MARGIN = 8
"""Blocks below the last reservation's that are searched as well: nodes lag behind each other."""
_NO_CODE = "0x"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What a round wants from the chain, and from which account."""

    account: str
    contract: str
    commitment: bytes
    label: str
    persist: bool

    @property
    def data(self) -> bytes:
        """The calldata."""
        return anchor_call(self.commitment, batch_id_of(self.label), persist=self.persist)


def require_current_caller(
    account: str, last: Reservation | None, stored_sequence: int | None
) -> int | None:
    """Return the highest nonce ever reserved for the account; raise `StaleCaller` when the caller does not know it.

    A caller whose last reservation is by another account knows none of this one's: the key was changed. That is
    taken, since nothing is reserved while a round of the former key is un-included, and it is logged; the storage
    alone then tells what was reserved.
    """
    if last is not None and last.account != account:
        _log.warning("key changed", extra={"account": account, "former": last.account})
        return stored_sequence
    known = last.sequence if last is not None and last.sequence is not None else -1
    if stored_sequence is not None and stored_sequence > known:
        message = f"the storage holds nonce {stored_sequence}, the caller knows {known}"
        raise StaleCaller(message)
    return known if known >= 0 else None


async def check_ledger(providers: Providers, rules: Rules, last: Reservation | None) -> str:
    """Return the genesis hash, once every provider that answers has shown the configured chain (E1)."""
    pinned = last.fields.get("genesis") if last is not None else None

    async def identity(provider: Provider) -> tuple[Provider, int, str]:
        chain_id, genesis = await asyncio.gather(
            quantity(provider, "eth_chainId"), block_at(provider, GENESIS)
        )
        if genesis is None:
            message = f"{provider.label} has no genesis block"
            raise NetworkFailure(message)
        return provider, chain_id, genesis.hash

    seen = await providers.every(identity)
    for provider, chain_id, _ in seen:
        require_chain(provider, chain_id, rules)
    expected = pinned if isinstance(pinned, str) else seen[0][2]
    for provider, _, genesis in seen:
        require_genesis(provider, genesis, expected)
    return expected


async def choose_nonce(
    providers: Providers,
    foreign: ForeignUse,
    account: str,
    highest: int | None,
    last: Reservation | None,
    *,
    known: Callable[[bytes], bool] | None = None,
) -> int:
    """Return the next nonce (E4); `highest` is the highest ever reserved for the account, if any was.

    Raises:
        UnknownRounds: nonces above it were used by anchors of ours that are not `known`.
        AuthFailure: somebody else seems to have used the account, and that is not proven, or can still be undone.
        NetworkFailure: the chain knows fewer transactions than were included, or the first count is disputed.
    """
    counts = await providers.every(lambda provider: count_at(provider, account, "latest"))
    count = supported_by(counts, providers.quorum)
    if highest is None:
        if len(set(counts)) > 1:
            message = f"the providers count {sorted(set(counts))} transactions of {account}; waiting until they agree"
            raise NetworkFailure(message)
        return count
    following = highest + 1
    if count < following:
        message = (
            f"the providers count {count} transactions of {account}, but nonce {highest} was included: "
            "a stale node, or a reorganisation; waiting"
        )
        raise NetworkFailure(message)
    if count > following:
        uses = await _require_explained(foreign, account, range(following, count), last, known)
        about = {"account": account, "expected_nonce": following, "nonce": count}
        tx_refs = ", ".join(use.tx_ref for use in uses[:_MOST_SHOWN])
        _log.warning("foreign use of the key accepted once final", extra={**about, "txs": tx_refs})
    return count


async def _require_explained(
    foreign: ForeignUse,
    account: str,
    nonces: range,
    last: Reservation | None,
    known: Callable[[bytes], bool] | None,
) -> list[Use]:
    """Return who used the nonces above our record, as blocks show it; raises as `choose_nonce` does."""
    height = last.fields.get("blockNumber") if last is not None else None
    since = max(height - _MARGIN, 0) if isinstance(height, int) else 0
    uses = await foreign.require(account, nonces.start, nonces.stop, since)
    anchors = [bytes.fromhex(use.anchored) for use in uses if use.anchored]
    unknown = await asyncio.to_thread(_unknown, anchors, known)
    if unknown:
        raise UnknownRounds(unknown)
    return uses


def _unknown(anchors: Iterable[bytes], known: Callable[[bytes], bool] | None) -> list[bytes]:
    return [] if known is None else [anchor for anchor in anchors if not known(anchor)]


async def require_contract(providers: Providers, contract: str) -> None:
    """Raise `ValidationFailure` unless there is code at the contract's address."""
    if await providers.first(lambda provider: code_of(provider, contract)) == _NO_CODE:
        message = f"no contract at {contract}: correct `contract`, or deploy it with `starter.py contract deploy`"
        raise ValidationFailure(message)


async def gas_limit_for(providers: Providers, call: Call) -> int:
    """Return the gas limit: the estimate and the calldata floor, with a margin (E13)."""
    data = call.data
    wanted = {"from": call.account, "to": call.contract, "data": "0x" + data.hex(), "value": "0x0"}
    try:
        estimate = await providers.first(lambda node: quantity(node, "eth_estimateGas", {**wanted}))
    except NodeError as error:
        if error.meaning is not Meaning.REVERTED:
            raise
        message = f"the contract {call.contract} refuses the call, nothing was sent: {error}"
        raise ValidationFailure(message) from error
    needed = max(estimate, calldata_floor(data))
    if needed > MOST_GAS:
        message = f"the call needs {needed} gas, more than a transaction may have ({MOST_GAS})"
        raise ValidationFailure(message)
    return min(-(-needed * _GAS_MARGIN_NUMERATOR // _GAS_MARGIN_DENOMINATOR), MOST_GAS)


async def read_market(providers: Providers) -> tuple[Market, int]:
    """Return what the chain asks now, and the height at which it was read.

    Base fee and height are those of the first provider that answers. The tip is the lower median of what all
    suggest: it is paid in full, so no provider alone, nor half of them, may raise it.

    Raises:
        AnchorError: fewer than the quorum name a tip, and somebody who did not answer may have one.
    """

    async def ask(provider: Provider) -> tuple[int, int, int | AnchorError | None]:
        block, tip = await asyncio.gather(latest_block(provider), _tip(provider))
        if block.base_fee_wei is None:
            message = (
                f"{provider.label} serves a chain without base fee: type-2 transactions are needed"
            )
            raise ValidationFailure(message)
        return block.number, block.base_fee_wei, tip

    seen = await providers.every(ask)
    height, base_fee, _ = seen[0]
    tips = [tip for _, _, tip in seen if isinstance(tip, int)]
    unanswered = next((tip for _, _, tip in seen if isinstance(tip, AnchorError)), None)
    if unanswered is not None and len(tips) < providers.quorum:
        raise unanswered
    return Market(base_fee, median_low(tips) if tips else 0), height


async def _tip(provider: Provider) -> int | AnchorError | None:
    """Return the suggested tip, or why there is no answer; None where none is offered or named.

    Without any, bumps raise the least tip. A node that is asked too often, or fails inside, may well have one.
    """
    try:
        return await maybe_quantity(provider, "eth_maxPriorityFeePerGas")
    except NodeError as error:
        return None if error.meaning is Meaning.MISSING else error
    except AnchorError as error:
        return error


async def require_funds(providers: Providers, account: str, gas: int, bid: Bid) -> None:
    """Raise `AuthFailure` when the account cannot pay the bid."""
    message = await shortfall(providers, account, gas, bid)
    if message:
        raise AuthFailure(message)


async def shortfall(providers: Providers, account: str, gas: int, bid: Bid) -> str:
    """Return what the account lacks to pay the bid, and what to do; empty when it can pay."""
    balance = await providers.first(
        lambda node: quantity(node, "eth_getBalance", account, "latest")
    )
    needed = gas * bid.max_fee_wei
    if balance >= needed:
        return ""
    return (
        f"insufficient funds: {account} holds {_ether(balance)} ether, an anchor may need {_ether(needed)} "
        f"({gas} gas at {gwei(bid.max_fee_wei)} gwei); top it up"
    )


async def decide(
    providers: Providers,
    rules: Rules,
    caps: tuple[int | None, int | None],
    call: Call,
    *,
    foreign: ForeignUse,
    last: Reservation | None,
    highest: int | None,
    known: Callable[[bytes], bool] | None = None,
) -> tuple[Reservation, Bid]:
    """Decide everything but the key's part; each check raises before a nonce is given out.

    `last` is the caller's last reservation, of whatever account; `highest` the account's highest nonce so far.
    """
    genesis = await check_ledger(providers, rules, last)
    nonce, _, gas, (market, height) = await asyncio.gather(
        choose_nonce(providers, foreign, call.account, highest, last, known=known),
        require_contract(providers, call.contract),
        gas_limit_for(providers, call),
        read_market(providers),
    )
    bid = opening_bid(market, Caps.of(*caps, market))
    await require_funds(providers, call.account, gas, bid)
    fields: Terms = {
        "type": _TX_TYPE,
        "chainId": rules.chain_id,
        "genesis": genesis,
        "nonce": nonce,
        "to": call.contract,
        "value": 0,
        "gas": gas,
        "data": "0x" + call.data.hex(),
        "blockNumber": height,
        "persist": call.persist,
        **rules.recorded,
    }
    return Reservation(account=call.account, sequence=nonce, fields=fields), bid


def _ether(wei: int) -> str:
    whole, rest = divmod(wei, _WEI_PER_ETHER)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")
