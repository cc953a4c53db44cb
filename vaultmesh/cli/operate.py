"""Adds `pause`, `resume`, `force` and `unregister`, all of them updates of a namespace.

An update answers, where a signal is only sent: the operator learns at once what became of it.
"""

import argparse
import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.cli import output, temporal
from vaultmesh.cli.output import settings_with_root
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.names import FORCE_ANCHOR, PAUSE, RESUME, STOP
from vaultmesh.domain.namespaces.stopped import StopDecision
from vaultmesh.domain.status import NamespaceState, NamespaceView
from vaultmesh.process import anchor_workflows
from vaultmesh.process.client import Unreachable, connect
from vaultmesh.process.config_files import load_namespaces, namespaces_path
from vaultmesh.process.polling import NoAnswer
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.stopped import StoppedNamespaces

POLL_SECONDS = 0.5
_KEPT = "the decision is kept, and a worker stops it as soon as it can be told"


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the commands `pause`, `resume`, `force` and `unregister`."""
    pause = _command(
        subparsers,
        "pause",
        "start no new anchors of a namespace",
        "dao:vaultmesh --reason maintenance",
        run_pause,
    )
    pause.add_argument("--cadence", metavar="C", help="only this cadence")
    pause.add_argument("--reason", metavar="R", default="", help="why; shown in status")
    resume = _command(
        subparsers,
        "resume",
        "start anchors of a namespace again",
        "dao:vaultmesh --cadence fast",
        run_resume,
    )
    resume.add_argument("--cadence", metavar="C", help="only this cadence")
    force = _command(
        subparsers, "force", "anchor now whatever is owed", "dao:vaultmesh fast --wait", run_force
    )
    force.add_argument("cadence", nargs="?", metavar="CADENCE", help="only this cadence")
    force.add_argument("--wait", action="store_true", help="until everything owed is included")
    force.add_argument("--reason", metavar="R", default="", help="why; kept in the history")
    unregister = _command(
        subparsers,
        "unregister",
        "stop a namespace's workflow once what is in flight is done",
        "dao:vaultmesh",
        run_unregister,
    )
    unregister.add_argument("--reason", metavar="R", default="", help="why; kept in the history")


def _command(
    subparsers: output.Subparsers,
    name: str,
    what: str,
    example: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example: python starter.py {name} {example}",
    )
    parser.add_argument("namespace", metavar="N", help="the namespace")
    parser.add_argument("--json", action="store_true", help="print the new state as JSON")
    parser.set_defaults(run=run)
    return parser


def run_pause(arguments: argparse.Namespace) -> int:
    """Pause a namespace or one of its cadences."""
    return temporal.run(_operate(arguments, PAUSE))


def run_resume(arguments: argparse.Namespace) -> int:
    """Resume a namespace or one of its cadences."""
    return temporal.run(_operate(arguments, RESUME))


def run_force(arguments: argparse.Namespace) -> int:
    """Anchor now; with `--wait` end when everything owed is included."""
    return temporal.run(_operate(arguments, FORCE_ANCHOR))


def run_unregister(arguments: argparse.Namespace) -> int:
    """Stop a namespace's workflow; workers whose namespaces.yaml names it leave it stopped."""
    return temporal.run(_unregister(arguments, settings_with_root()))


@dataclass(frozen=True, slots=True)
class _Running:
    """What is known of a namespace's workflow when it is to be stopped."""

    view: NamespaceView | None = None
    """What it answered; None if it does not run, or did not answer."""
    config_hash: str = ""
    """Hash of the entry that it runs with; empty if nobody can say."""
    silence: str = ""
    """Why it can't be told now; empty if it can."""
    is_away: bool = False
    """Whether Temporal itself does not answer, so that nobody knows whether it runs."""


async def _unregister(arguments: argparse.Namespace, settings: Settings) -> int:
    """Keep the decision first, then tell the workflow; what it can't be told now, a worker tells it later."""
    name = arguments.namespace
    config_hash = await asyncio.to_thread(_hash_of_entry, settings, name)
    running = await _running(name, is_configured=bool(config_hash))
    decision = StopDecision(
        namespace=name,
        config_hash=config_hash,
        running_hash=running.config_hash,
        at=datetime.now(UTC),
        by=output.who(),
        reason=arguments.reason,
    )
    decisions = StoppedNamespaces(LocalStore(settings.root))
    await asyncio.to_thread(decisions.keep, decision)  # before the end: a worker may look at once
    if not arguments.json:
        again = f"its entry changes, or `register --namespace {name}`"
        whose = (
            "namespaces.yaml names it; it"
            if config_hash
            else "where a namespaces.yaml names it, it"
        )
        print(f"{name}: {whose} stays stopped until {again}")
    if running.is_away:
        message = f"{running.silence}; {_KEPT}"
        raise Unreachable(message)
    silence = running.silence
    if running.view is not None:
        try:
            return await _operate(arguments, STOP)
        except (NoAnswer, anchor_workflows.WorkflowFailing) as error:
            silence = str(error)
        except (Unreachable, RPCError) as error:
            message = f"{error}; {_KEPT}"
            raise Unreachable(message) from error
        except anchor_workflows.NotRunning:  # it has just ended
            silence = ""
    _say_kept(arguments, decision, silence)
    return output.SUCCESS


def _say_kept(arguments: argparse.Namespace, decision: StopDecision, silence: str) -> None:
    """Say that a decision is kept, and why it is not carried out yet, if it is not."""
    if silence:
        output.warn([f"{decision.namespace} is not stopped yet: {silence}; {_KEPT}"])
    if arguments.json:
        state = NamespaceState.DRAINING if silence else NamespaceState.STOPPED
        view = NamespaceView(namespace=decision.namespace, state=state, cause=decision.text)
        output.print_json(view.model_dump(mode="json"))


async def _running(name: str, *, is_configured: bool) -> _Running:
    """Return what is known of a namespace's workflow.

    Raises:
        NotRunning: it is neither configured nor running.
        Unreachable: Temporal does not answer, and the file does not name it.
        RPCError: likewise.
    """
    try:
        client = await connect(output.operator())
        try:
            view = await anchor_workflows.namespace_status(client, name)
        except (NoAnswer, anchor_workflows.WorkflowFailing) as error:
            memo = await anchor_workflows.namespace_memo(client, name)
            return _Running(None, memo.config_hash if memo is not None else "", str(error))
    except (Unreachable, RPCError) as error:
        if not is_configured:
            raise
        return _Running(silence=str(error), is_away=True)
    if view is None and not is_configured:
        raise anchor_workflows.unknown_namespace(name)
    return _Running(view, view.config_hash if view is not None else "")


def _hash_of_entry(settings: Settings, name: str) -> str:
    """Return the hash of a namespace's entry; empty if there is none, or the file is refused, which is said."""
    try:
        spec = load_namespaces(namespaces_path(settings)).specs.get(name)
    except ConfigurationError as error:
        output.warn(error.problems)
        return ""
    return spec.content_hash if spec is not None else ""


async def _operate(arguments: argparse.Namespace, verb: str) -> int:
    Settings.from_environment(os.environ)
    client = await connect(output.operator())
    name, cadence = arguments.namespace, getattr(arguments, "cadence", None)
    await _require_known(client, name, cadence)
    options = {"cadence": cadence, "reason": getattr(arguments, "reason", "")}
    argument: dict[str, JsonValue] = {key: value for key, value in options.items() if value}
    view = await anchor_workflows.order(client, name, verb, argument)
    if getattr(arguments, "wait", False):
        view = await _until_answered(client, name, cadence)
    if arguments.json:
        output.print_json(view.model_dump(mode="json"))
    else:
        _say(verb, view, cadence)
    return output.SUCCESS


async def _require_known(client: Client, name: str, cadence: str | None) -> None:
    """Raise `Refusal` if the namespace has no workflow, `Usage` if it has no such cadence."""
    view = await anchor_workflows.namespace_status(client, name)
    if view is None:
        raise anchor_workflows.unknown_namespace(name)
    if cadence is not None and cadence not in view.cadences:
        there = ", ".join(view.cadences)
        message = f"{cadence!r} is none of the cadences of {name}; there are: {there}"
        raise output.Usage(message)


def _say(verb: str, view: NamespaceView, cadence: str | None) -> None:
    labels = [cadence] if cadence else list(view.cadences)
    if verb == STOP:
        print(f"{view.namespace}: stopping; what is in flight is finished first")
        return
    for label in labels:
        print(f"{view.namespace} {label}: {_state(view, label)}")


def _state(view: NamespaceView, label: str) -> str:
    if label in view.paused:
        reason = view.paused[label].reason
        return f"paused ({reason})" if reason else "paused"
    cadence = view.cadences[label]
    if cadence.in_flight is not None:
        return f"anchor in flight, slot {cadence.in_flight.slot}"
    anchor = cadence.last_anchor
    where = f"; last anchor {anchor.tx_ref} in block {anchor.block}" if anchor else ""
    return f"running{where}"


# --- force --wait ------------------------------------------------------------------------------


async def _until_answered(client: Client, name: str, cadence: str | None) -> NamespaceView:
    """Poll until the cadences have nothing in flight: whatever was owed is in the ledger then."""
    console = output.console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    printed = ""
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(f"{name}: asked", total=None)
        while True:
            view = await anchor_workflows.namespace_status(client, name)
            if view is None:
                raise anchor_workflows.unknown_namespace(name)
            waiting = _waiting(view, cadence)
            if not waiting:
                return view
            line = f"{name}: {'; '.join(waiting)}"
            bar.update(task, description=line)
            if not console.is_terminal and line != printed:
                console.print(line, markup=False)
            printed = line
            await asyncio.sleep(POLL_SECONDS)


def _waiting(view: NamespaceView, cadence: str | None) -> list[str]:
    """Return what is still waited for, one text per cadence."""
    texts: list[str] = []
    for label, served in view.cadences.items():
        if cadence in (None, label) and served.in_flight is not None:
            failure = served.in_flight.last_failure
            why = f" after {failure.kind}: {failure.message}" if failure else ""
            texts.append(f"{label} in flight{why}")
    return texts
