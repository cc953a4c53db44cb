"""Reads what metrics show of an EVM account: its balance, the current bid, how many anchors that pays for, and fees."""

from vaultmesh.domain.failures import AuthFailure
from vaultmesh.domain.tally import TargetFigures
from vaultmesh.ledgers.evm.fees import Caps, opening_bid
from vaultmesh.ledgers.evm.providers import Providers
from vaultmesh.ledgers.evm.reads import quantity
from vaultmesh.ledgers.evm.reserve import read_market

USUAL_GAS = 60_000
"""What an anchor takes without `persist`; only for telling how many the balance pays."""
_L1_FEE = "l1Fee"
"""What rollups of one family take for L1 data, beside gas."""


async def read_figures(
    providers: Providers, account: str, caps: tuple[int | None, int | None]
) -> TargetFigures:
    """Return balance, bid and runway of an account.

    Raises:
        AnchorError: no provider answers.
    """
    balance = await providers.first(
        lambda provider: quantity(provider, "eth_getBalance", account, "latest")
    )
    market, _ = await read_market(providers)
    try:
        bid = opening_bid(market, Caps.of(*caps, market)).max_fee_wei
    except AuthFailure:  # the cap is too low for the market: the bid would be the market's
        asked = max(market.base_fee_wei + market.tip_wei, 1)
        return TargetFigures(balance, asked, balance // (USUAL_GAS * asked), is_cap_reached=True)
    return TargetFigures(balance, bid, balance // (USUAL_GAS * bid))


async def read_fee(providers: Providers, tx_ref: str) -> int | None:
    """Return what a mined transaction paid, in wei; None if its receipt does not say.

    Raises:
        AnchorError: no provider answers.
    """
    receipt = await providers.first(
        lambda provider: provider.call("eth_getTransactionReceipt", tx_ref)
    )
    if not isinstance(receipt, dict):
        return None
    try:
        gas, price = (int(str(receipt[key]), 16) for key in ("gasUsed", "effectiveGasPrice"))
        return gas * price + int(str(receipt.get(_L1_FEE) or "0x0"), 16)
    except (KeyError, ValueError):
        return None
