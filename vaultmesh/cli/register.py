"""Adds `setup` and `register`: a Temporal namespace gets what it needs, namespaces get their workflows."""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path

from pydantic import JsonValue
from temporalio.client import Client

from vaultmesh.cli import output, temporal
from vaultmesh.cli.import_state import read_state
from vaultmesh.cli.output import settings_with_root, tell_stand_in
from vaultmesh.cli.progress import Counter
from vaultmesh.cli.register_progress import Progress
from vaultmesh.domain.failures import AnchorError, NetworkFailure
from vaultmesh.domain.names import STOP
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.target import Target
from vaultmesh.process import anchor_workflows
from vaultmesh.process.client import connect, retention, retention_warning
from vaultmesh.process.config_files import (
    NamespacesFile,
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
)
from vaultmesh.process.last_run import Past
from vaultmesh.process.polling import NoAnswer, NobodyPolls, worker_polls
from vaultmesh.process.registration import (
    Change,
    NotRegistered,
    Registered,
    register,
)
from vaultmesh.process.search_attributes import NEEDED, ensure
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.stopped import Decisions, StoppedNamespaces

_LOOK_SECONDS = 0.2
_LEDGER_SECONDS = 2.0
"""How long `register` waits for what a ledger's endpoints say of finality."""
_VMSH_STATE = Path("$VMSH_STATE")
"""Stands for the file that the variable names."""


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the commands `setup` and `register`."""
    setup = subparsers.add_parser(
        "setup",
        help="make ready what a Temporal namespace needs once",
        description="Create the search attributes and look at the retention; may be repeated at will.",
        epilog="example: TEMPORAL_ADDRESS=127.0.0.1:7233 python starter.py setup",
    )
    setup.add_argument("--json", action="store_true", help="print JSON")
    setup.set_defaults(run=run_setup)
    parser = subparsers.add_parser(
        "register",
        help="start or update one workflow per namespace",
        description="Start or update one workflow per namespace of namespaces.yaml, as workers do by themselves. "
        "Namespaces that were unregistered stay stopped unless --namespace names them.",
        epilog="example: python starter.py register --namespace dao:vaultmesh",
    )
    parser.add_argument("--config", type=Path, metavar="F", help="namespaces.yaml to read")
    parser.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="N",
        help="only this one; may be repeated",
    )
    parser.add_argument(
        "--prune", action="store_true", help="stop namespaces that run but are not configured"
    )
    parser.add_argument(
        "--import-state",
        type=Path,
        nargs="?",
        const=_VMSH_STATE,
        metavar="F",
        help="state file of an earlier scheduler (without F: VMSH_STATE): new namespaces go on from its last anchors",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_register)


# --- setup -------------------------------------------------------------------------------------


def run_setup(arguments: argparse.Namespace) -> int:
    """Create what is missing and say what was there; 0 then."""
    return temporal.run(_setup(as_json=arguments.json))


async def _setup(*, as_json: bool) -> int:
    client = await connect(output.operator())
    created = await ensure(client)
    kept = await retention(client)
    if warning := retention_warning(client.namespace, kept):
        output.warn([warning])
    if as_json:
        names: list[JsonValue] = list(created)
        output.print_json({"created": names, "retention_seconds": kept.total_seconds()})
        return output.SUCCESS
    for name in NEEDED:
        print(f"search attribute {name}: {'created' if name in created else 'there already'}")
    print(f"retention of Temporal namespace {client.namespace!r}: {kept}")
    return output.SUCCESS


# --- register ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be registered."""

    settings: Settings
    file: NamespacesFile
    specs: Mapping[str, NamespaceSpec]
    imported: Mapping[str, Mapping[str, datetime]]
    prune: bool
    as_json: bool
    decisions: StoppedNamespaces
    stopped: Mapping[str, str]
    """Why namespaces of the file are left out."""
    decided: Decisions
    """What was decided about the namespaces of the file."""
    unsettling: Sequence[str] = ()
    """Why anchors on its targets can't become final."""


def run_register(arguments: argparse.Namespace) -> int:
    """Check everything, then register; 0 when every namespace has its workflow and a worker answers."""
    settings = settings_with_root()
    if arguments.prune and arguments.namespace:
        message = "--prune looks at the whole file; leave --namespace out"
        raise output.Usage(message)
    if arguments.config is None and not arguments.json:
        tell_stand_in(settings)
    plan = _plan(arguments, settings)
    output.warn([*settings.warnings, *plan.file.warnings, *_import_warnings(plan)])
    return temporal.run(_register(plan))


def _plan(arguments: argparse.Namespace, settings: Settings) -> _Plan:
    file = load_namespaces(arguments.config or namespaces_path(settings))
    unknown = [name for name in arguments.namespace if name not in file.specs]
    if unknown:
        there = ", ".join(file.specs) or "none"
        message = f"{file.path} has no namespace {', '.join(unknown)}; there are: {there}"
        raise output.Usage(message)
    chosen = arguments.namespace or file.specs
    specs = {name: file.specs[name] for name in chosen}
    _check_targets(settings, specs)
    decisions = StoppedNamespaces(LocalStore(settings.root))
    decided = decisions.look(file.entries)
    stopped = {} if arguments.namespace else _stopped(decided)
    specs = {name: spec for name, spec in specs.items() if name not in stopped}
    place = settings.state if arguments.import_state == _VMSH_STATE else arguments.import_state
    imported = read_state(place, time.time()) if place is not None else {}
    return _Plan(
        settings=settings,
        file=file,
        specs=specs,
        imported=imported,
        prune=arguments.prune,
        as_json=arguments.json,
        decisions=decisions,
        stopped=stopped,
        decided=decided,
    )


def _stopped(decided: Decisions) -> Mapping[str, str]:
    """Return which namespaces an operator stopped, with the decision in words, or why nobody can say.

    Without `--namespace` they stay stopped, so that a deployment that registers everything undoes no decision.
    """
    holding = {name: decision.text for name, decision in decided.stopped.items()}
    return {**holding, **decided.unreadable}


def _check_targets(settings: Settings, specs: Mapping[str, NamespaceSpec]) -> None:
    """Look at the settings of every target before anything is registered: all problems at once."""
    from vaultmesh.ledgers.targets import settings_model  # noqa: PLC0415 - loads client libraries

    targets = _targets(specs)
    if targets:
        anchors = load_anchors(anchors_path(settings))
        anchors.check({target: settings_model(target) for target in targets}, signing=False)


def _targets(specs: Mapping[str, NamespaceSpec]) -> list[Target]:
    return sorted({cadence.target for spec in specs.values() for cadence in spec.cadences.values()})


async def _unsettling(plan: _Plan) -> list[str]:
    """Return what keeps anchors on the targets from becoming final; who does not answer in time says nothing."""
    from vaultmesh.ledgers.targets import open_target  # noqa: PLC0415 - loads client libraries

    targets = _targets(plan.specs)
    if not targets:
        return []
    anchors = load_anchors(anchors_path(plan.settings))

    async def ask(target: Target) -> list[str]:
        try:
            anchoring = open_target(target, anchors, plan.settings.root, signing=False)
        except AnchorError:  # the worker that opens it tells what is wrong
            return []
        try:
            async with asyncio.timeout(_LEDGER_SECONDS):
                return [f"{target}: {line}" for line in await anchoring.unsettling()]
        except (AnchorError, TimeoutError):
            return []
        finally:
            await anchoring.close()

    return list(chain.from_iterable(await asyncio.gather(*map(ask, targets))))


async def _register(plan: _Plan) -> int:
    client = await connect(output.operator())
    await ensure(client)
    await _heed_decisions(plan)
    plan = replace(plan, unsettling=await _unsettling(plan))
    output.warn(plan.unsettling)
    deadline = time.monotonic() + anchor_workflows.ANSWER_WITHIN.total_seconds()
    progress = Progress(client, len(plan.specs))
    done: list[Registered] = []
    refusals: Mapping[str, str] = {}
    try:
        with Counter("namespaces registered", len(plan.specs)) as counter:

            def advance() -> None:
                progress.advance()
                counter.advance()

            registering = register(
                client, plan.specs, plan.settings, plan.imported, advance, past=_past(plan)
            )
            async for registered in progress.while_answered(registering):
                done.append(registered)
                if not plan.as_json:
                    counter.clear()
                    _say(registered, plan)
    except NotRegistered as refused:
        refusals = refused.refusals
    pruned = await _prune(client, plan) if plan.prune else []
    if plan.as_json:
        output.print_json(_document(done, refusals, pruned, plan))
    for name, reason in refusals.items():
        output.complain(f"{name}: {reason}")
    created = [registered.namespace for registered in done if registered.change is Change.CREATED]
    if created:
        await _require_worker(client, created[0], deadline, progress)
    return output.FAILURE if refusals else output.SUCCESS


def _past(plan: _Plan) -> Past:
    receipts = ReceiptStore(LocalStore(plan.settings.root))

    async def has_receipts(name: str) -> bool:
        return await asyncio.to_thread(receipts.has_any, name)

    return Past(has_receipts=has_receipts)


async def _heed_decisions(plan: _Plan) -> None:
    """Forget decisions about what is registered, before any worker looks again, and say which ones hold.

    One that was made since the plan was laid stays.
    """
    for name in plan.specs:
        if name in plan.decided.versions:
            await asyncio.to_thread(plan.decisions.drop, name, plan.decided.versions[name])
        elif name in plan.decided.unreadable:
            raise NetworkFailure(plan.decided.unreadable[name])
    if not plan.as_json:
        for name, why in plan.stopped.items():
            print(f"{name}: stopped, {why}; `register --namespace {name}` starts it", flush=True)


def _say(registered: Registered, plan: _Plan) -> None:
    print(f"{registered.namespace}: {registered.change}", flush=True)
    for line in registered.kept:
        print(f"{registered.namespace}: {line}", flush=True)
    for label in registered.undone:
        print(f"{registered.namespace}: the changed file undid set_cadence of {label}", flush=True)
    if registered.namespace in plan.imported and registered.change is not Change.CREATED:
        output.warn([f"{registered.namespace} runs already: its imported state was not used"])


def _document(
    done: Sequence[Registered], refusals: Mapping[str, str], pruned: Sequence[str], plan: _Plan
) -> JsonValue:
    return {
        "namespaces": [
            {
                "namespace": registered.namespace,
                "change": registered.change.value,
                "undone": list(registered.undone),
                "kept": list(registered.kept),
            }
            for registered in done
        ],
        "refused": [{"namespace": name, "reason": reason} for name, reason in refusals.items()],
        "pruned": list(pruned),
        "stopped": [{"namespace": name, "reason": why} for name, why in plan.stopped.items()],
        "warnings": [*plan.file.warnings, *plan.unsettling],
    }


async def _prune(client: Client, plan: _Plan) -> list[str]:
    surplus = [
        name
        for name in await anchor_workflows.running_namespaces(client)
        if name not in plan.file.specs
    ]
    for name in surplus:
        with suppress(
            anchor_workflows.NotRunning
        ):  # visibility still lists what ended a moment ago
            await anchor_workflows.order(client, name, STOP, {"reason": "not configured any more"})
        if not plan.as_json:
            print(f"{name}: stopped", flush=True)
    return surplus


async def _require_worker(
    client: Client, namespace: str, deadline: float, progress: Progress
) -> None:
    """Wait for a new namespace's first answer; raises as `Progress.look` does where none comes."""
    while not await worker_polls(client):
        if time.monotonic() >= deadline:
            raise NobodyPolls
        await asyncio.sleep(_LOOK_SECONDS)
    while True:
        try:
            await anchor_workflows.namespace_status(client, namespace)
        except NoAnswer:
            await progress.look()
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            return


def _import_warnings(plan: _Plan) -> list[str]:
    return [
        f"{name} is in the state file but is not registered now; its state is not imported"
        for name in plan.imported
        if name not in plan.specs
    ]
