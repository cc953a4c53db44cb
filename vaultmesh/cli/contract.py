"""Adds `contract deploy`: puts the anchor contract on a chain once, before the first anchor.

The address alone goes to standard output. A deployment takes a nonce that no aggregator reserved. So it is refused while
a round of the same account is open below the root; and a nonce that another transaction took ends it at once.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import JsonValue

from vaultmesh.cli import output, temporal
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.target import Target
from vaultmesh.process.config_files import (
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
)
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.rounds import RoundStore

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from vaultmesh.ledgers.evm.providers import Providers
    from vaultmesh.ledgers.evm.settings import EvmSettings

SCHEME = "eip155"
"""Contracts are a matter of EVM chains alone."""
INCLUDED_WITHIN_SECONDS = 300.0
POLL_SECONDS = 0.5
LOOKS_IN_VAIN = 3
"""Looks that find the nonce used and no receipt: the nodes behind one address lag behind each other."""
_MEND = "stop the workers, wait until status shows no open round, and deploy again; or deploy with the key of another account"
_TX_TYPE = 2
_SUCCESS = "0x1"


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `contract deploy`."""
    parser = subparsers.add_parser(
        "contract",
        help="deploy the anchor contract",
        epilog="example: python starter.py contract deploy --target eip155:31337",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    deploy = actions.add_parser(
        "deploy",
        help="deploy the anchor contract, and print its address",
        description="Deploy the anchor contract with endpoint and key of the target's section in anchors.yaml, and print its "
        "address. Do it before a worker anchors with the same key: it is refused while a round of that key is on its way.",
        epilog="example: python starter.py contract deploy --target eip155:31337",
    )
    deploy.add_argument("--target", metavar="eip155:N", help="default: the one that is configured")
    deploy.add_argument("--json", action="store_true", help="print JSON")
    deploy.set_defaults(run=run_deploy)


def run_deploy(arguments: argparse.Namespace) -> int:
    """Deploy, wait until it is in a block, and print the address."""
    settings = Settings.from_environment(os.environ)
    target = _target(arguments.target, settings)
    deployed = temporal.run(_deploy(target, settings))
    if arguments.json:
        output.print_json(
            {
                "target": str(target),
                "address": deployed.address,
                "tx_ref": deployed.tx_ref,
                "block": deployed.block,
            }
        )
    else:
        print(deployed.address)
    return output.SUCCESS


def _target(given: str | None, settings: Settings) -> Target:
    """Return the chain that is meant.

    Raises:
        Usage: it is none of ours, or not one chain alone is configured.
    """
    try:
        target = Target.parse(given) if given is not None else _only_target(settings)
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    if target.scheme != SCHEME or not target.reference.isdecimal():
        message = f"{target} has no contracts; name an EVM chain, such as eip155:8453"
        raise output.Usage(message)
    return target


def _only_target(settings: Settings) -> Target:
    specs = load_namespaces(namespaces_path(settings)).specs.values()
    cadences = [cadence for spec in specs for cadence in spec.cadences.values()]
    found = {one.target for one in cadences if one.target.scheme == SCHEME}
    if len(found) != 1:
        there = ", ".join(map(str, sorted(found))) or "none"
        message = f"name the chain with --target; namespaces.yaml has: {there}"
        raise output.Usage(message)
    return found.pop()


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment made."""

    address: str
    tx_ref: str
    block: int


async def _deploy(target: Target, settings: Settings) -> Deployed:
    from eth_account import Account  # noqa: PLC0415 - loads client libraries

    from vaultmesh.ledgers.evm.providers import Providers  # noqa: PLC0415

    section = _section(target, settings)
    key = section.signing_key(settings.root)
    try:
        account: LocalAccount = Account.from_key(key.get_secret_value())
    except ValueError as error:
        message = "the key is not a valid private key of this curve; correct key or keyFile"
        raise output.Refusal(message) from error
    await asyncio.to_thread(_refuse_beside_open_rounds, target, settings, account.address)
    providers = Providers([url.get_secret_value() for url in section.endpoints], section.quorum)
    try:
        deployment = await _signed(providers, section, target, account)
        output.note(f"deploying to {target} from {account.address}")
        return await _included(providers, deployment)
    finally:
        await providers.close()


def _refuse_beside_open_rounds(target: Target, settings: Settings, account: str) -> None:
    """Raise `Refusal` while an aggregator has a transaction of this account on its way; blocks."""
    rounds = RoundStore(LocalStore(settings.root), target)
    try:
        for one in rounds.open_rounds():
            (*_, newest) = rounds.candidates(one)
            if newest.reservation.get("account") == account:
                nonce = newest.reservation.get("sequence")
                message = (
                    f"round {one} of {target} is on its way with nonce {nonce} of {account}: a deployment with the same key would "
                    f"get into its way; {_MEND}"
                )
                raise output.Refusal(message)
    except InvalidValue as error:
        raise output.Refusal(str(error)) from error


def _section(target: Target, settings: Settings) -> "EvmSettings":
    """Return the target's settings; whatever they say of a contract is not needed yet."""
    from vaultmesh.ledgers.evm.settings import EvmSettings  # noqa: PLC0415

    class BeforeContract(EvmSettings):
        SIGNING_ONLY: ClassVar[frozenset[str]] = frozenset({"contract"})

        contract: str = ""

    anchors = load_anchors(anchors_path(settings))
    return anchors.settings(target, BeforeContract, signing=False)


@dataclass(frozen=True, slots=True)
class _Deployment:
    """A signed deployment."""

    account: str
    nonce: int
    raw: str
    tx_ref: str

    def taken(self) -> output.Refusal:
        """Return the complaint that somebody else used its nonce."""
        return output.Refusal(
            f"nonce {self.nonce} of {self.account} was taken by another transaction, so that the deployment {self.tx_ref} can't be "
            f"included any more: is an aggregator running with the same key? {_MEND[0].upper()}{_MEND[1:]}"
        )


async def _signed(
    providers: "Providers", section: "EvmSettings", target: Target, account: "LocalAccount"
) -> _Deployment:
    """Decide nonce, gas and fees, and return the signed bytes.

    Raises:
        AnchorError: another chain, no funds, a fee above the cap, or the chain did not answer.
    """
    from contracts.check import load_artifact  # noqa: PLC0415
    from vaultmesh.ledgers.evm.fees import Caps, opening_bid  # noqa: PLC0415
    from vaultmesh.ledgers.evm.reads import count_at, quantity  # noqa: PLC0415
    from vaultmesh.ledgers.evm.reserve import read_market, require_funds  # noqa: PLC0415

    chain_id = await providers.first(lambda one: quantity(one, "eth_chainId"))
    if chain_id != int(target.reference):
        message = f"the endpoint serves eip155:{chain_id}, not {target}; correct rpcUrl or --target"
        raise output.Refusal(message)
    code = str(load_artifact()["bytecode"])
    call: dict[str, JsonValue] = {"from": account.address, "data": code}
    market, _ = await read_market(providers)
    bid = opening_bid(
        market, Caps.of(section.max_fee_per_gas_wei, section.max_priority_fee_wei, market)
    )
    nonce = await providers.first(lambda one: count_at(one, account.address, "pending"))
    gas = await providers.first(lambda one: quantity(one, "eth_estimateGas", call))
    await require_funds(providers, account.address, gas, bid)
    signed = account.sign_transaction(
        {
            "type": _TX_TYPE, "chainId": chain_id, "nonce": nonce, "gas": gas, "value": 0, "data": bytes.fromhex(code[2:]),
            "maxFeePerGas": bid.max_fee_wei, "maxPriorityFeePerGas": bid.tip_wei,
        }
    )  # fmt: skip
    raw, tx_ref = "0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex()
    return _Deployment(account.address, nonce, raw, tx_ref)


async def _included(providers: "Providers", deployment: _Deployment) -> Deployed:
    """Send the bytes and wait until they are in a block; the same bytes may be sent again at will.

    Raises:
        NetworkFailure: they are in no block in time.
        Refusal: the transaction reverted, or another one took its nonce.
    """
    sent = deployment.tx_ref
    await _send(providers, deployment)
    deadline = time.monotonic() + INCLUDED_WITHIN_SECONDS
    looks_in_vain = 0
    while time.monotonic() < deadline:
        found = await providers.first(lambda one: one.call("eth_getTransactionReceipt", sent))
        if isinstance(found, dict) and found.get("blockNumber"):
            return _outcome(sent, found)
        if looks_in_vain >= LOOKS_IN_VAIN:
            raise deployment.taken()
        await asyncio.sleep(POLL_SECONDS)
        looks_in_vain = looks_in_vain + 1 if await _is_used(providers, deployment) else 0
    message = (
        f"{sent} is in no block after {INCLUDED_WITHIN_SECONDS:g} s; look for it before you deploy again, "
        "or raise maxFeePerGasGwei"
    )
    raise NetworkFailure(message)


async def _send(providers: "Providers", deployment: _Deployment) -> None:
    from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError  # noqa: PLC0415

    try:
        await providers.first(lambda one: one.call("eth_sendRawTransaction", deployment.raw))
    except NodeError as error:
        if error.meaning in (Meaning.CONSUMED, Meaning.FEE_TOO_LOW):  # another one is in its place
            raise deployment.taken() from error
        if error.meaning is not Meaning.KNOWN:
            raise


async def _is_used(providers: "Providers", deployment: _Deployment) -> bool:
    """Say whether every provider that answers counts its nonce as used."""
    from vaultmesh.ledgers.evm.reads import count_at  # noqa: PLC0415

    counts = await providers.every(lambda one: count_at(one, deployment.account, "latest"))
    return min(counts) > deployment.nonce


def _outcome(sent: str, found: Mapping[str, JsonValue]) -> Deployed:
    if found.get("status") != _SUCCESS:
        message = (
            f"the deployment {sent} reverted; does the chain know the opcodes of the contract?"
        )
        raise output.Refusal(message)
    return Deployed(str(found["contractAddress"]).lower(), sent, int(str(found["blockNumber"]), 16))
