"""The place where `contract deploy` is: the anchor contract is put on a chain once, before the first anchor.

The address alone goes to standard output. A deployment takes a nonce that no pen reserved: while a worker anchors with
the same key, the deployment waits for its turn or fails, and the worker notices a nonce that is not its own.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue

from vaultmesh.cli import clocks, output
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.receipt import SCHEMES as RECEIPT_SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.runtime.configuration import (
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
)
from vaultmesh.runtime.settings import Settings

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from activities.anchors.evm_rpc import Providers
    from activities.anchors.evm_settings import EvmSettings

SCHEME = "eip155"
"""Contracts are a matter of EVM chains alone."""
INCLUDED_WITHIN_SECONDS = 300.0
POLL_SECONDS = 0.5
_TX_TYPE = 2
_SUCCESS = "0x1"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse's action has no public type
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
        "address. Do it before a worker anchors with the same key.",
        epilog="example: python starter.py contract deploy --target eip155:31337",
    )
    deploy.add_argument("--target", metavar="eip155:N", help="default: the one that is configured")
    deploy.add_argument("--json", action="store_true", help="print JSON")
    deploy.set_defaults(run=run_deploy)


def run_deploy(arguments: argparse.Namespace) -> int:
    """Deploy, wait until it is in a block, and print the address."""
    settings = Settings.from_environment(os.environ)
    target = _target(arguments.target, settings)
    deployed = clocks.run(_deploy(target, settings))
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
    from activities.anchors import SCHEMES  # noqa: PLC0415 - the registry of targets

    specs = load_namespaces(namespaces_path(settings), SCHEMES).specs.values()
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

    from activities.anchors.evm_rpc import Providers  # noqa: PLC0415

    section = _section(target, settings)
    key = section.signing_key(settings.root)
    try:
        account: LocalAccount = Account.from_key(key.get_secret_value())
    except ValueError as error:
        message = "the key is not a valid private key of this curve; correct key or keyFile"
        raise output.Refusal(message) from error
    providers = Providers([url.get_secret_value() for url in section.endpoints], section.quorum)
    try:
        signed = await _signed(providers, section, target, account)
        output.note(f"deploying to {target} from {account.address}")
        return await _included(providers, signed)
    finally:
        await providers.close()


def _section(target: Target, settings: Settings) -> "EvmSettings":
    """Return the target's settings; whatever they say of a contract is not needed yet."""
    from activities.anchors.evm_settings import EvmSettings  # noqa: PLC0415

    class BeforeContract(EvmSettings):
        SIGNING_ONLY: ClassVar[frozenset[str]] = frozenset({"contract"})

        contract: str = ""

    anchors = load_anchors(anchors_path(settings), known_schemes=RECEIPT_SCHEMES)
    return anchors.settings(target, BeforeContract, signing=False)


async def _signed(
    providers: "Providers", section: "EvmSettings", target: Target, account: "LocalAccount"
) -> str:
    """Decide nonce, gas and fees, and return the signed bytes.

    Raises:
        AnchorError: another chain, no funds, a fee above the cap, or the chain did not answer.
    """
    from activities.anchors.evm_fees import Caps, opening_bid  # noqa: PLC0415
    from activities.anchors.evm_reads import count_at, quantity  # noqa: PLC0415
    from activities.anchors.evm_reserve import read_market, require_funds  # noqa: PLC0415
    from contracts.check import load_artifact  # noqa: PLC0415

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
    return "0x" + signed.raw_transaction.hex()


async def _included(providers: "Providers", raw: str) -> Deployed:
    """Send the bytes and wait until they are in a block; the same bytes may be sent again at will.

    Raises:
        NetworkFailure: they are in no block in time.
        Refusal: the transaction reverted.
    """
    sent = str(await providers.first(lambda one: one.call("eth_sendRawTransaction", raw)))
    deadline = time.monotonic() + INCLUDED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        found = await providers.first(lambda one: one.call("eth_getTransactionReceipt", sent))
        if isinstance(found, dict) and found.get("blockNumber"):
            return _outcome(sent, found)
        await asyncio.sleep(POLL_SECONDS)
    message = (
        f"{sent} is in no block after {INCLUDED_WITHIN_SECONDS:g} s; look for it before you deploy again, "
        "or raise maxFeePerGasGwei"
    )
    raise NetworkFailure(message)


def _outcome(sent: str, found: Mapping[str, JsonValue]) -> Deployed:
    if found.get("status") != _SUCCESS:
        message = (
            f"the deployment {sent} reverted; does the chain know the opcodes of the contract?"
        )
        raise output.Refusal(message)
    return Deployed(str(found["contractAddress"]).lower(), sent, int(str(found["blockNumber"]), 16))
