"""Adds `contract deploy`: puts the anchor contract on a chain once, before the first anchor.

The address alone goes to standard output. A deployment takes a nonce that no aggregator reserved. So it is refused while
a round of the same account is open below the root; and a nonce that another transaction took ends it at once.
"""

import argparse
import os

from vaultmesh.cli import output, temporal
from vaultmesh.domain.errors import InvalidValue
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

SCHEME = "eip155"
"""Contracts are a matter of EVM chains alone."""


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
    from vaultmesh.ledgers.evm import deployment  # noqa: PLC0415 - loads client libraries

    settings = Settings.from_environment(os.environ)
    target = _target(arguments.target, settings)
    anchors = load_anchors(anchors_path(settings))
    section = anchors.settings(target, deployment.BeforeContract, signing=False)
    account = deployment.account_of(section.signing_key(settings.root).get_secret_value())
    _refuse_beside_open_rounds(target, settings, account.address, deployment.HOW_TO_MEND)
    output.note(f"deploying to {target} from {account.address}")
    deployed = temporal.run(deployment.deploy(target, section, account))
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


def _target(named: str | None, settings: Settings) -> Target:
    """Return the chain that is meant.

    Raises:
        Usage: it is none of ours, or not one chain alone is configured.
    """
    try:
        target = Target.parse(named) if named is not None else _only_target(settings)
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    if target.scheme != SCHEME or not target.reference.isdecimal():
        message = f"{target} has no contracts; name an EVM chain, such as eip155:8453"
        raise output.Usage(message)
    return target


def _only_target(settings: Settings) -> Target:
    specs = load_namespaces(namespaces_path(settings)).specs.values()
    cadences = [cadence for spec in specs for cadence in spec.cadences.values()]
    chains = {cadence.target for cadence in cadences if cadence.target.scheme == SCHEME}
    if len(chains) != 1:
        there = ", ".join(map(str, sorted(chains))) or "none"
        message = f"name the chain with --target; namespaces.yaml has: {there}"
        raise output.Usage(message)
    return chains.pop()


def _refuse_beside_open_rounds(
    target: Target, settings: Settings, account: str, how_to_mend: str
) -> None:
    """Raise `Refusal` while an aggregator has a transaction of this account on its way."""
    rounds = RoundStore(LocalStore(settings.root), target)
    try:
        for round_id in rounds.open_rounds():
            (*_, newest) = rounds.candidates(round_id)
            if newest.reservation.get("account") == account:
                nonce = newest.reservation.get("sequence")
                message = (
                    f"round {round_id} of {target} is on its way with nonce {nonce} of {account}: a deployment with the same key would "
                    f"get into its way; {how_to_mend}"
                )
                raise output.Refusal(message)
    except InvalidValue as error:
        raise output.Refusal(str(error)) from error
