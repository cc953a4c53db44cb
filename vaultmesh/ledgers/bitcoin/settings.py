"""Defines the settings of a `btc` target."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.setting_values import Amount, Count, Duration, Url
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.ledgers.bitcoin.core.blocks import Network

SATS_PER_KVB = 1_000
"""Rates are kept as whole satoshis for 1,000 vB, as nodes count them; settings give them for one."""


def _check_rate(rate: Decimal) -> Decimal:
    if rate <= 0 or rate * SATS_PER_KVB % 1:
        message = "is not a fee rate - write a number of sat/vB above 0 with at most 3 decimals"
        raise InvalidValue(message)
    return rate


def _check_wait(wait: timedelta) -> timedelta:
    if wait <= timedelta(0):
        message = "is no wait - write a duration such as 30m"
        raise InvalidValue(message)
    return wait


Rate = Annotated[Amount, AfterValidator(_check_rate)]


class BtcSettings(CommonSettings):
    """Settings of one Bitcoin network."""

    ENVIRONMENT: ClassVar[Mapping[str, str]] = {
        "rpcUrl": "BTC_RPC",
        "network": "BTC_NETWORK",
        "confirmations": "BTC_CONFIRMATIONS",
    }

    rpc_url: Url
    """Of the node, with user and password; without a wallet's path."""
    network: Annotated[Network, Field(strict=False)] | None = None
    wallet: str | None = None
    """Name of the wallet that pays; without it the only one that the node has loaded."""
    confirmations: Annotated[Count, Field(ge=1)] = 6
    """Blocks from the one that holds the transaction on, that one included."""
    fee_floor_sat_vb: Rate = Decimal(1)
    """No bid is lower."""
    fee_cap_sat_vb: Rate = Decimal(100)
    """No bid is higher."""
    bump_after: Annotated[Duration, AfterValidator(_check_wait)] = timedelta(minutes=30)
    """Time without inclusion after which a higher bid is made: about three blocks."""
    conf_target: Annotated[Count, Field(ge=1, le=1008)] = 6
    """Blocks within which the first bid should suffice, as the node estimates."""

    @model_validator(mode="after")
    def _fees_fit(self) -> Self:
        if self.fee_floor_sat_vb > self.fee_cap_sat_vb:
            message = "feeFloorSatVb is above feeCapSatVb - lower it, or raise the other"
            raise InvalidValue(message)
        return self

    @property
    def floor_per_kvb(self) -> int:
        """The least rate of a bid, in satoshis for 1,000 vB."""
        return int(self.fee_floor_sat_vb * SATS_PER_KVB)

    @property
    def cap_per_kvb(self) -> int:
        """The highest rate of a bid, in satoshis for 1,000 vB."""
        return int(self.fee_cap_sat_vb * SATS_PER_KVB)

    @override
    def disagreements(self, target: Target) -> Mapping[str, str]:
        """Return what contradicts the target: the network must be its reference (B14)."""
        if self.network is None or self.network == target.reference:
            return {}
        problem = f"is {self.network}, but the target is {target} - correct one of them"
        return {"network": problem}
