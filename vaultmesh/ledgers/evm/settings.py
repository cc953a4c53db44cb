"""Defines the settings of an `eip155` target."""

import re
import stat
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, AuthFailure, NetworkFailure
from vaultmesh.domain.setting_values import Amount, Count, Duration, Flag, Url
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings, OpenedFiles

WEI_PER_GWEI = 10**9
WIDEST_KEY_MODE = 0o640
"""Of a key's file: its owner and one group may read it, as with a secret that Kubernetes mounts."""
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def _check_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        message = "is not an address - write 0x and 40 hex digits; contract deploy prints one"
        raise InvalidValue(message)
    return text


def _check_key(key: SecretStr) -> SecretStr:
    if not _KEY.fullmatch(key.get_secret_value()):
        message = "is not a private key - write 64 hex digits, or use keyFile"
        raise InvalidValue(message)
    return key


def _check_fee(gwei: Decimal) -> Decimal:
    if gwei <= 0 or gwei * WEI_PER_GWEI % 1:
        message = "is not a fee - write a number above 0 with at most 9 decimals"
        raise InvalidValue(message)
    return gwei


Fee = Annotated[Amount, AfterValidator(_check_fee)]


class EvmFinality(StrEnum):
    """When an included transaction counts as final, besides its depth."""

    FINALIZED = "finalized"
    """Its block is at or below the chain's `finalized` tag."""
    SAFE = "safe"
    """Its block is at or below the chain's `safe` tag."""
    DEPTH = "depth"
    """Depth alone, for chains without tags."""


class EvmSettings(CommonSettings):
    """Settings of one EVM chain."""

    ENVIRONMENT: ClassVar[Mapping[str, str]] = {
        "rpcUrl": "EVM_RPC",
        "chainId": "EVM_CHAIN_ID",
        "contract": "EVM_CONTRACT",
        "key": "EVM_ANCHOR_KEY",
        "persist": "EVM_PERSIST",
        "confirmations": "EVM_CONFIRMATIONS",
    }
    ALTERNATIVES: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("rpcUrl", "rpcUrls"),
        ("key", "keyFile"),
    )
    SIGNING_ONLY: ClassVar[frozenset[str]] = frozenset({"key", "keyFile"})
    SECRETS: ClassVar[frozenset[str]] = frozenset({"key"})

    rpc_url: Url | None = None
    """The one endpoint; `endpoints` holds it as well."""
    rpc_urls: list[Url] = Field(default_factory=list)
    quorum: Annotated[Count, Field(ge=1)] = 1
    """How many endpoints must agree on inclusion and finality."""
    chain_id: Count | None = None
    contract: Annotated[str, AfterValidator(_check_address)]
    key: Annotated[SecretStr, AfterValidator(_check_key)] | None = None
    key_file: str | None = None
    """File that holds the key; relative to the root folder."""
    persist: Flag = False
    """Whether the contract also stores the root."""
    confirmations: Count = 12
    finality: Annotated[EvmFinality, Field(strict=False)] = EvmFinality.FINALIZED
    max_fee_per_gas_gwei: Fee | None = None
    """The cap of every bid; none means ten times what the chain asks at the time."""
    max_priority_fee_gwei: Fee | None = None
    """The cap of the tip; none means `max_fee_per_gas_gwei`, or without that ten base fees or 100 gwei, the larger."""
    bump_after_blocks: Annotated[Count, Field(ge=1)] = 3
    """Blocks without inclusion after which a higher bid is made (E3)."""
    gap_fill: Duration = timedelta(minutes=10)
    """How long nothing may be owed before free nonces below a round are used up by transactions to ourselves (E4)."""
    evidence_wait: Duration = timedelta(hours=1)
    """How long a silent provider is asked again for what became of a round, before the round is held (X6)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.endpoints:
            message = "has no endpoint - add rpcUrl or rpcUrls, or set EVM_RPC"
            raise InvalidValue(message)
        if self.quorum > len(self.endpoints):
            message = (
                f"quorum is above the number of endpoints, {len(self.endpoints)}"
                " - lower it, or add rpcUrls"
            )
            raise InvalidValue(message)
        cap, tip = self.max_fee_per_gas_gwei, self.max_priority_fee_gwei
        if cap is not None and tip is not None and tip > cap:
            message = "maxPriorityFeeGwei is above maxFeePerGasGwei - lower it, or raise the other"
            raise InvalidValue(message)
        return self

    @property
    def endpoints(self) -> tuple[SecretStr, ...]:
        """Every RPC endpoint, in the order written."""
        return (self.rpc_url,) if self.rpc_url is not None else tuple(self.rpc_urls)

    @property
    def max_fee_per_gas_wei(self) -> int | None:
        """The cap of every bid, in wei."""
        return _wei(self.max_fee_per_gas_gwei)

    @property
    def max_priority_fee_wei(self) -> int | None:
        """The cap of the tip, in wei."""
        return _wei(self.max_priority_fee_gwei)

    @override
    def disagreements(self, target: Target) -> Mapping[str, str]:
        """Return what contradicts the target: the chain id must be its reference (E1)."""
        if self.chain_id is None or str(self.chain_id) == target.reference:
            return {}
        return {"chainId": f"is {self.chain_id}, but the target is {target} - correct one of them"}

    @override
    def opened_files(self, root: Path) -> OpenedFiles:
        """Look for the key, and at who else may read its file."""
        try:
            self.signing_key(root)
        except AnchorError as error:
            return OpenedFiles(problems=(str(error),))
        if self.key is not None or self.key_file is None:
            return OpenedFiles()
        path = root / self.key_file
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & ~WIDEST_KEY_MODE:
            return OpenedFiles()
        warning = (
            f"keyFile {path} has mode {mode:04o}, so that others may read or change the key"
            f" - chmod {WIDEST_KEY_MODE:o}, or 600"
        )
        return OpenedFiles(warnings=(warning,))

    def signing_key(self, root: Path) -> SecretStr:
        """Return the private key, from the settings or from its file.

        Raises:
            AuthFailure: there is none, or the file holds none.
            NetworkFailure: the file cannot be read.
        """
        if self.key is not None:
            return self.key
        if self.key_file is None:
            message = "no key to sign with: set key or keyFile in anchors.yaml, or EVM_ANCHOR_KEY"
            raise AuthFailure(message)
        path = root / self.key_file
        try:
            return _check_key(SecretStr(path.read_text(encoding="ascii").strip()))
        except OSError as error:
            message = f"keyFile {path} cannot be read ({error.strerror}): check path and rights"
            raise NetworkFailure(message) from None
        except ValueError:
            message = f"keyFile {path} holds no private key: write 64 hex digits, nothing else"
            raise AuthFailure(message) from None


def _wei(gwei: Decimal | None) -> int | None:
    return None if gwei is None else int(gwei * WEI_PER_GWEI)
