"""Decides an EVM transaction's two fee fields, in wei (E2, E3).

1. The first bid covers a doubling of the base fee: `maxFeePerGas >= 2 * base fee + tip`.
2. Each later bid raises both fields by an eighth, rounded up, or to what the market wants if that is more.
3. No field ever exceeds its cap. A later bid that cannot rise by an eighth within the caps is not made.
4. Where no cap is configured, one follows the market, so that a chain that stands still cannot make bids grow for ever.
   The tip is what a provider suggests, and is paid in full: without a cap it is bounded by the base fee.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import Terms
from vaultmesh.domain.failures import AuthFailure, ValidationFailure

LEAST_TIP_WEI = 1
"""A tip of 0 cannot be raised by a share of itself."""
_RAISE_NUMERATOR, _RAISE_DENOMINATOR = 9, 8
"""+12.5 %: geth wants 10 %, the parity family an eighth."""
_BASE_FEE_HEADROOM = 2
"""The base fee rises by at most an eighth per block: twice the base fee lasts six full blocks."""
_UNSET_CAP_MARKETS = 10
"""Without a cap: bids may reach ten times the market, some twenty raises, then wait for the market to follow."""
_UNSET_TIP_BASE_FEES = 10
"""Without a cap: the highest tip, in base fees; above that it is a provider's mistake, or somebody's to allow."""
_GWEI = 10**9
_UNSET_TIP_LEAST_WEI = 100 * _GWEI
"""Where the base fee is near nothing the tip alone is the price: chains want up to some 30 gwei of it."""
MAX_FEE, MAX_TIP = "maxFeePerGas", "maxPriorityFeePerGas"


@dataclass(frozen=True, slots=True)
class Bid:
    """The two fee fields of a type-2 transaction."""

    max_fee_wei: int
    tip_wei: int

    @property
    def terms(self) -> Terms:
        """The bid as a JSON object; decimal text, because JSON readers round integers above 2^53."""
        return {MAX_FEE: str(self.max_fee_wei), MAX_TIP: str(self.tip_wei)}

    @classmethod
    def from_terms(cls, terms: Mapping[str, JsonValue]) -> "Bid":
        """Read what `terms` wrote."""
        try:
            return cls(int(str(terms[MAX_FEE])), int(str(terms[MAX_TIP])))
        except (KeyError, ValueError) as error:
            message = (
                f"fee fields of a recorded decision can't be read: want {MAX_FEE} and {MAX_TIP}"
            )
            raise ValidationFailure(message) from error


@dataclass(frozen=True, slots=True)
class Market:
    """What the ledger asks at the moment."""

    base_fee_wei: int
    tip_wei: int


@dataclass(frozen=True, slots=True)
class Caps:
    """The most we pay per unit of gas."""

    max_fee_wei: int
    tip_wei: int

    @classmethod
    def of(cls, max_fee_wei: int | None, tip_wei: int | None, market: Market) -> "Caps":
        """Take what is configured, and for the rest a multiple of what the market asks."""
        if max_fee_wei is not None:
            return cls(
                max_fee_wei, min(tip_wei, max_fee_wei) if tip_wei is not None else max_fee_wei
            )
        if tip_wei is None:
            tip_wei = max(_UNSET_TIP_BASE_FEES * market.base_fee_wei, _UNSET_TIP_LEAST_WEI)
        tip = min(max(market.tip_wei, LEAST_TIP_WEI), tip_wei)
        asked = _BASE_FEE_HEADROOM * market.base_fee_wei + tip
        cap = max(_UNSET_CAP_MARKETS * asked, _GWEI)
        return cls(cap, min(tip_wei, cap))


def opening_bid(market: Market, caps: Caps) -> Bid:
    """Return the first bid.

    Raises:
        AuthFailure: not even the current base fee and tip fit below our cap.
    """
    tip = _tip(market, caps)
    if market.base_fee_wei + tip > caps.max_fee_wei:
        message = (
            f"fee above our cap: base fee {gwei(market.base_fee_wei)} and tip {gwei(tip)} gwei exceed maxFeePerGasGwei "
            f"{gwei(caps.max_fee_wei)}; waiting for it to fall, or raise the cap"
        )
        raise AuthFailure(message)
    return Bid(min(_BASE_FEE_HEADROOM * market.base_fee_wei + tip, caps.max_fee_wei), tip)


def next_bid(highest: Bid, market: Market, caps: Caps) -> Bid | None:
    """Return a bid that replaces `highest` everywhere, or None when the caps leave no room for one."""
    least = Bid(_raised(highest.max_fee_wei), max(_raised(highest.tip_wei), LEAST_TIP_WEI))
    if least.max_fee_wei > caps.max_fee_wei or least.tip_wei > caps.tip_wei:
        return None
    tip = max(least.tip_wei, _tip(market, caps))
    wanted = max(least.max_fee_wei, _BASE_FEE_HEADROOM * market.base_fee_wei + tip)
    return Bid(max(min(wanted, caps.max_fee_wei), least.max_fee_wei), min(tip, caps.max_fee_wei))


def gwei(wei: int) -> str:
    """Write wei as gwei without rounding."""
    whole, rest = divmod(wei, _GWEI)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _tip(market: Market, caps: Caps) -> int:
    return min(max(market.tip_wei, LEAST_TIP_WEI), caps.tip_wei, caps.max_fee_wei)


def _raised(wei: int) -> int:
    return -(-wei * _RAISE_NUMERATOR // _RAISE_DENOMINATOR)
