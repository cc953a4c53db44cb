"""Adds `diff`: compares namespaces.yaml with what runs. It needs no worker."""

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import JsonValue
from temporalio.client import Client

from vaultmesh.cli import output, temporal
from vaultmesh.cli.output import settings_with_root, tell_stand_in
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.status import NamespaceMemo, NamespaceView
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import load_namespaces, namespaces_path
from vaultmesh.process.desired import NO_WORKFLOW
from vaultmesh.process.visibility import listed
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.stopped import Decisions, StoppedNamespaces

ANSWER_WITHIN = timedelta(seconds=3)
"""Of a workflow that is asked what differs: without an answer, its memo says less."""
_UNNAMED = "confirmations or phase"
"""Keys that neither memo nor `status` shows."""


class Difference(StrEnum):
    """How a namespace of the file and what runs differ."""

    MISSING = "missing"
    """In the file, and no workflow runs."""
    CHANGED = "changed"
    """Runs another configuration."""
    STOPPED = "stopped"
    """In the file, and an operator stopped it."""
    UNLISTED = "unlisted"
    """Runs, and is not in the file."""


@dataclass(frozen=True, slots=True)
class Differing:
    """One namespace that differs."""

    namespace: str
    difference: Difference
    details: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The difference in one line."""
        details = f": {'; '.join(self.details)}" if self.details else ""
        return f"{self.namespace}: {self.difference.value}{details}"


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `diff`."""
    parser = subparsers.add_parser(
        "diff",
        help="compare namespaces.yaml with what runs",
        description="Compare namespaces.yaml with what runs, a line for each namespace that differs. "
        "Exit code 0 if nothing differs, 1 if something does, 2 if the file is refused.",
        epilog="example: python starter.py diff --json",
    )
    parser.add_argument("--config", type=Path, metavar="F", help="namespaces.yaml to read")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_diff)


def run_diff(arguments: argparse.Namespace) -> int:
    """Say what differs; 1 if anything does."""
    settings = settings_with_root()
    if arguments.config is None and not arguments.json:
        tell_stand_in(settings)
    file = load_namespaces(arguments.config or namespaces_path(settings))
    decisions = StoppedNamespaces(LocalStore(settings.root)).look(file.entries)
    differing = temporal.run(differing_from(file.specs, decisions))
    if arguments.json:
        output.print_json({"differences": [_document(each) for each in differing]})
    else:
        for each in differing:
            print(each.line)
    return output.FAILURE if differing else output.SUCCESS


def _document(differing: Differing) -> JsonValue:
    return {
        "namespace": differing.namespace,
        "difference": differing.difference.value,
        "details": list(differing.details),
    }


async def differing_from(
    specs: Mapping[str, NamespaceSpec], decisions: Decisions
) -> list[Differing]:
    """Return how what runs differs from a file.

    Raises:
        DomainError: Temporal can't be reached.
        RPCError: it went away.
    """
    client = await connect()
    listing = await listed(client)
    at_once = asyncio.Semaphore(temporal.AT_ONCE)

    async def compared(spec: NamespaceSpec) -> Differing | None:
        runs = namespace_workflow_id(spec.name) in listing.running
        resting = _resting(spec, decisions, runs=runs)
        if resting is not None:
            return resting
        async with at_once:
            return await _changed(client, spec, listing.namespaces.get(spec.name))

    of_file = await asyncio.gather(*map(compared, specs.values()))
    prefix = namespace_workflow_id("")
    unlisted = sorted({name.removeprefix(prefix) for name in listing.running} - specs.keys())
    return [
        *(each for each in of_file if each is not None),
        *(
            Differing(name, Difference.UNLISTED, [f"`unregister {name}` ends it"])
            for name in unlisted
        ),
    ]


def _resting(spec: NamespaceSpec, decisions: Decisions, *, runs: bool) -> Differing | None:
    """Return how a namespace differs that does not run, or is to end."""
    decision = decisions.stopped.get(spec.name)
    if decision is not None:
        ending = ["ends once what is in flight is done"] if runs else []
        mend = f"`register --namespace {spec.name}` starts it"
        return Differing(spec.name, Difference.STOPPED, [decision.text, *ending, mend])
    if runs:
        return None
    unreadable = decisions.unreadable.get(spec.name)
    return Differing(spec.name, Difference.MISSING, [unreadable or NO_WORKFLOW])


async def _changed(
    client: Client, spec: NamespaceSpec, memo: NamespaceMemo | None
) -> Differing | None:
    if memo is not None and memo.config_hash == spec.content_hash:
        return None
    try:
        view = await temporal.namespace_status(client, spec.name, ANSWER_WITHIN)
    except DomainError:  # silent or failing: the memo says enough to tell that it differs
        view = None
    if view is None:
        unsaid = "which keys" if memo is not None else "what it runs"
        return Differing(spec.name, Difference.CHANGED, [f"it does not say {unsaid}"])
    if view.config_hash == spec.content_hash:  # the list was older
        return None
    return Differing(spec.name, Difference.CHANGED, changed_keys(spec, view))


def changed_keys(spec: NamespaceSpec, view: NamespaceView) -> list[str]:
    """Return which keys differ, with what runs and what the file says."""
    changes = []
    if spec.batches != view.batches:
        changes.append(f"batches {view.batches or 'default'} -> {spec.batches or 'default'}")
    for label in sorted({*spec.cadences, *view.cadences}):
        wanted, runs = spec.cadences.get(label), view.cadences.get(label)
        if wanted is None or runs is None:
            changes.append(f"{label} {'added' if runs is None else 'removed'}")
            continue
        if str(wanted.target) != runs.target:
            changes.append(f"{label}.target {runs.target} -> {wanted.target}")
        if wanted.every != runs.every:
            changes.append(f"{label}.every {runs.every} -> {wanted.every}")
    return changes or [_UNNAMED]
