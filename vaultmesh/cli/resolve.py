"""Adds `resolve`: an operator decides about a round, where evidence can't.

Nothing is decided by default: `--yes` is asked for, and what speaks against a decision refuses it.
"""

import argparse
import asyncio
import os
from datetime import timedelta

from pydantic import JsonValue
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.cli import output, temporal
from vaultmesh.domain.aggregator.decisions import read_resolve
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.names import RESOLVE, aggregator_workflow_id
from vaultmesh.domain.status import AggregatorView
from vaultmesh.domain.target import Target
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import anchors_path, load_anchors
from vaultmesh.process.settings import Settings
from vaultmesh.process.updates import cancellable

DECIDED_WITHIN = timedelta(seconds=90)
"""Every provider is asked, and the receipts of a target may be read: more than other updates take."""
_SILENT = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.NOT_FOUND)
_WARNINGS = {
    "lost": "the batches of round {0} are anchored again, with a new transaction",
    "adopt": "transaction {1} counts as one of round {0}",
    "forget": "what round {0} may hold is not held back any longer: its batches may be paid for a second time",
    "forget all": "what rounds may hold that can't be read is not held back any longer: their batches may be paid for a second time",
    "fill": "transactions of value 0 fill the gap below the open rounds",
}


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `resolve`."""
    parser = subparsers.add_parser(
        "resolve",
        help="decide about a round where evidence is missing",
        description="Decide about a round of a target where evidence is missing. The decision is kept in the round's folder, "
        "as resolved.json, before anything acts on it, and can't be taken back.",
        epilog="example: python starter.py resolve eip155:8453 --lost 0123456789abcdef0123456789abcdef --yes",
    )
    parser.add_argument("target", metavar="TARGET", help="such as eip155:8453")
    decision = parser.add_mutually_exclusive_group(required=True)
    decision.add_argument(
        "--lost",
        metavar="ROUND",
        help="its nonce or output was used up without it: anchor its batches again. Refused while anybody shows one of its "
        "transactions, or while they could still be mined",
    )
    decision.add_argument(
        "--adopt",
        nargs=2,
        metavar=("ROUND", "TXHASH"),
        help="a transaction in the ledger is its own, although no file has it",
    )
    decision.add_argument(
        "--forget",
        metavar="ROUND",
        help="it can't be read, and no backup has it: hold nothing back. `all`: every round that can't be read",
    )
    decision.add_argument(
        "--fill", action="store_true", help="fill a gap of nonces below the open rounds"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without this it is only said")
    parser.add_argument("--json", action="store_true", help="print the aggregator's state as JSON")
    parser.set_defaults(run=run_resolve)


def run_resolve(arguments: argparse.Namespace) -> int:
    """Have the aggregator of a target carry out one decision."""
    settings = Settings.from_environment(os.environ)
    try:
        target = Target.parse(arguments.target)
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    decisions = {key: getattr(arguments, key) for key in ("lost", "adopt", "forget", "fill")}
    (verb, value), *_ = [(key, value) for key, value in decisions.items() if value]
    rounds = value if isinstance(value, list) else [str(value)]
    warning = _WARNINGS.get(f"{verb} {value}", _WARNINGS[verb])
    consequence = warning.format(*rounds)
    if not arguments.yes:
        message = f"on {target}, {consequence}. That can't be taken back; add --yes if it is what you want"
        raise output.Usage(message)
    _require_configured(settings, target)
    asked: dict[str, JsonValue] = {verb: value, "by": output.who()}
    read_resolve(asked)
    view = temporal.run(_resolve(target, settings, asked))
    if arguments.json:
        output.print_json(view.model_dump(mode="json"))
    else:
        print(f"{target}: decided; {consequence}")
    return output.SUCCESS


def _require_configured(settings: Settings, target: Target) -> None:
    """Raise `ConfigurationError` for a target that anchors.yaml does not describe: its aggregator could decide nothing."""
    from vaultmesh.ledgers.targets import settings_model  # noqa: PLC0415 - loads client libraries

    anchors = load_anchors(anchors_path(settings))
    anchors.check({target: settings_model(target)}, signing=False)


async def _resolve(
    target: Target, settings: Settings, asked: dict[str, JsonValue]
) -> AggregatorView:
    from activities.anchoring.signals import start_aggregator  # noqa: PLC0415 - loads what only workers need

    client = await connect(output.operator())
    await start_aggregator(
        client,
        target,
        backoff=settings.backoff,
        continue_after_events=settings.continue_after_events,
    )
    return await _ordered(client, target, asked)


async def _ordered(client: Client, target: Target, asked: dict[str, JsonValue]) -> AggregatorView:
    """Send the update.

    Raises:
        Refusal: something speaks against the decision, or nobody answered in time.
    """
    handle = client.get_workflow_handle(aggregator_workflow_id(str(target)))
    try:
        async with asyncio.timeout(DECIDED_WITHIN.total_seconds()):
            with cancellable():
                view: AggregatorView = await handle.execute_update(
                    RESOLVE, asked, result_type=AggregatorView, rpc_timeout=DECIDED_WITHIN
                )
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        reason = cause.message if isinstance(cause, ApplicationError) else str(cause)
        message = f"{target} refused: {reason}"
        raise output.Refusal(message) from error
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError) as error:
        raise _unanswered(target) from error
    except RPCError as error:
        if error.status in _SILENT:
            raise _unanswered(target) from error
        raise
    return view


def _unanswered(target: Target) -> output.Refusal:
    return output.Refusal(
        f"the aggregator of {target} did not answer within {DECIDED_WITHIN.total_seconds():g} s; does a worker with role anchors run? "
        "The same command again changes nothing if the decision was written"
    )
