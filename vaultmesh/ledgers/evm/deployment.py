"""Deploys the anchor contract once, before the first anchor.

A deployment takes a nonce that no aggregator reserved; a nonce that another transaction took ends it at once.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import JsonValue

from contracts.artifact import load_artifact
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.evm.fees import Caps, opening_bid
from vaultmesh.ledgers.evm.libraries import Account, LocalAccount
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.providers import Providers
from vaultmesh.ledgers.evm.reads import count_at, quantity
from vaultmesh.ledgers.evm.reserve import read_market, require_funds
from vaultmesh.ledgers.evm.settings import EvmSettings

HOW_TO_MEND = "stop the workers, wait until status shows no open round, and deploy again; or deploy with the key of another account"
INCLUDED_WITHIN_SECONDS = 300.0
POLL_SECONDS = 0.5
LOOKS_IN_VAIN = 3
"""Looks that find the nonce used and no receipt: the nodes behind one address lag behind each other."""
_TX_TYPE = 2
_SUCCESS = "0x1"


class NotDeployed(DomainError):
    """The contract can't be deployed as things are."""


class BeforeContract(EvmSettings):
    """A target's settings, whatever they say of a contract: there is none yet."""

    SIGNING_ONLY: ClassVar[frozenset[str]] = frozenset({"contract"})

    contract: str = ""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A contract that is in a block."""

    address: str
    tx_ref: str
    block: int


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signed deployment."""

    account: str
    nonce: int
    raw: str
    tx_ref: str

    def taken(self) -> NotDeployed:
        """Return the complaint that another transaction used its nonce."""
        return NotDeployed(
            f"nonce {self.nonce} of {self.account} was taken by another transaction, so that the deployment {self.tx_ref} can't be "
            f"included any more: is an aggregator running with the same key? {HOW_TO_MEND[0].upper()}{HOW_TO_MEND[1:]}"
        )


def account_of(key: str) -> LocalAccount:
    """Return the account of a private key.

    Raises:
        NotDeployed: it is none.
    """
    try:
        account: LocalAccount = Account.from_key(key)
    except ValueError as error:
        message = "the key is not a valid private key of this curve; correct key or keyFile"
        raise NotDeployed(message) from error
    return account


async def deploy(target: Target, settings: BeforeContract, account: LocalAccount) -> Deployed:
    """Sign a deployment, send it and wait until it is in a block.

    Raises:
        AnchorError: no funds, a fee above the cap, the chain did not answer, or it is in no block in time.
        NotDeployed: the endpoint serves another chain, the deployment reverted, or its nonce was taken.
    """
    providers = Providers([url.get_secret_value() for url in settings.endpoints], settings.quorum)
    try:
        return await _included(providers, await _signed(providers, settings, target, account))
    finally:
        await providers.close()


async def _signed(
    providers: Providers, settings: BeforeContract, target: Target, account: LocalAccount
) -> _Signed:
    """Decide nonce, gas and fees, and return the signed bytes.

    Raises:
        AnchorError: no funds, a fee above the cap, or the chain did not answer.
        NotDeployed: the endpoint serves another chain.
    """
    chain_id = await providers.first(lambda provider: quantity(provider, "eth_chainId"))
    if chain_id != int(target.reference):
        message = f"the endpoint serves eip155:{chain_id}, not {target}; correct rpcUrl or --target"
        raise NotDeployed(message)
    code = str(load_artifact()["bytecode"])
    call: dict[str, JsonValue] = {"from": account.address, "data": code}
    market, _ = await read_market(providers)
    bid = opening_bid(
        market, Caps.of(settings.max_fee_per_gas_wei, settings.max_priority_fee_wei, market)
    )
    nonce = await providers.first(lambda provider: count_at(provider, account.address, "pending"))
    gas = await providers.first(lambda provider: quantity(provider, "eth_estimateGas", call))
    await require_funds(providers, account.address, gas, bid)
    signed = account.sign_transaction(
        {
            "type": _TX_TYPE, "chainId": chain_id, "nonce": nonce, "gas": gas, "value": 0, "data": bytes.fromhex(code[2:]),
            "maxFeePerGas": bid.max_fee_wei, "maxPriorityFeePerGas": bid.tip_wei,
        }
    )  # fmt: skip
    raw, tx_ref = "0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex()
    return _Signed(account.address, nonce, raw, tx_ref)


async def _included(providers: Providers, deployment: _Signed) -> Deployed:
    """Send the bytes and wait until they are in a block; the same bytes may be sent again at will.

    Raises:
        NetworkFailure: they are in no block in time.
        NotDeployed: the transaction reverted, or another one took its nonce.
    """
    sent = deployment.tx_ref
    await _send(providers, deployment)
    deadline = time.monotonic() + INCLUDED_WITHIN_SECONDS
    looks_in_vain = 0
    while time.monotonic() < deadline:
        receipt = await providers.first(
            lambda provider: provider.call("eth_getTransactionReceipt", sent)
        )
        if isinstance(receipt, dict) and receipt.get("blockNumber"):
            return _outcome(sent, receipt)
        if looks_in_vain >= LOOKS_IN_VAIN:
            raise deployment.taken()
        await asyncio.sleep(POLL_SECONDS)
        looks_in_vain = looks_in_vain + 1 if await _is_used(providers, deployment) else 0
    message = (
        f"{sent} is in no block after {INCLUDED_WITHIN_SECONDS:g} s; look for it before you deploy again, "
        "or raise maxFeePerGasGwei"
    )
    raise NetworkFailure(message)


async def _send(providers: Providers, deployment: _Signed) -> None:
    try:
        await providers.first(
            lambda provider: provider.call("eth_sendRawTransaction", deployment.raw)
        )
    except NodeError as error:
        if error.meaning in (Meaning.CONSUMED, Meaning.FEE_TOO_LOW):  # another one is in its place
            raise deployment.taken() from error
        if error.meaning is not Meaning.KNOWN:
            raise


async def _is_used(providers: Providers, deployment: _Signed) -> bool:
    """Say whether every provider that answers counts its nonce as used."""
    counts = await providers.every(
        lambda provider: count_at(provider, deployment.account, "latest")
    )
    return min(counts) > deployment.nonce


def _outcome(sent: str, receipt: Mapping[str, JsonValue]) -> Deployed:
    if receipt.get("status") != _SUCCESS:
        message = (
            f"the deployment {sent} reverted; does the chain know the opcodes of the contract?"
        )
        raise NotDeployed(message)
    return Deployed(
        str(receipt["contractAddress"]).lower(), sent, int(str(receipt["blockNumber"]), 16)
    )
