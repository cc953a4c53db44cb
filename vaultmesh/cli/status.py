"""The command `status`: shows namespaces and targets, whatever of them can be shown."""

import argparse
import asyncio
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from vaultmesh.cli import output, temporal
from vaultmesh.cli.output import settings_with_root, tell_stand_in
from vaultmesh.cli.status_table import tables
from vaultmesh.overview.overview import Overview
from vaultmesh.process import anchor_workflows
from vaultmesh.process.client import connect
from vaultmesh.process.settings import Settings

if TYPE_CHECKING:
    from vaultmesh.overview.look import Look

WATCH_SECONDS = 2.0


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `status`."""
    parser = subparsers.add_parser(
        "status",
        help="show the state of namespaces and targets",
        description="Show every configured or running namespace, joined with depth and finality of its last anchors, "
        "and every target. Exit code 1 if one of them is failing or does not answer; the others are shown all the same.",
        epilog="example: python starter.py status dao:vaultmesh --json",
    )
    parser.add_argument("namespace", nargs="?", metavar="N", help="only this namespace")
    parser.add_argument(
        "--watch", action="store_true", help="look again every two seconds until Ctrl-C"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON; with --watch one object per look"
    )
    parser.set_defaults(run=run_status)


def run_status(arguments: argparse.Namespace) -> int:
    """Show the state; 0 if everything that runs answered, 1 if something is failing or silent."""
    settings = settings_with_root()
    if not arguments.json:
        tell_stand_in(settings)
    try:
        return temporal.run(_status(settings, arguments))
    except KeyboardInterrupt:
        if arguments.watch:
            return output.SUCCESS
        raise


async def _status(settings: Settings, arguments: argparse.Namespace) -> int:
    from vaultmesh.overview.look import Look  # noqa: PLC0415 - loads the registry of targets

    look = Look(await connect(), settings, arguments.namespace)
    if arguments.watch:
        await _watch(look, as_json=arguments.json)
        return output.SUCCESS
    overview = await look.take()
    if overview.namespaces or overview.silent or overview.all_answered:
        _show(overview, as_json=arguments.json)
    for line in _complaints(overview):
        output.complain(line)
    if not overview.all_answered:
        return output.FAILURE
    return output.BAD_USAGE if overview.refused and not arguments.namespace else output.SUCCESS


def _complaints(overview: Overview) -> list[str]:
    """Return a line for everything that did not answer, and for a file that can't be read."""
    complaints = [str(anchor_workflows.WorkflowFailing(failing)) for failing in overview.failing]
    if overview.unanswered:
        names = f"no answer from {', '.join(overview.unanswered)}"
        complaints.append(f"{names}: {overview.silence}")
    return [*complaints, *overview.refused.values()]


async def _watch(look: "Look", *, as_json: bool) -> None:
    console = output.console()
    if as_json or not console.is_terminal:
        while True:
            _show(await look.take(), as_json=as_json)
            await asyncio.sleep(WATCH_SECONDS)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            overview = await look.take()
            complaints = [Text(line, style="red") for line in _complaints(overview)]
            live.update(Group(*tables(overview), *complaints), refresh=True)
            await asyncio.sleep(WATCH_SECONDS)


def _show(overview: Overview, *, as_json: bool) -> None:
    if as_json:
        output.print_json(overview.document())
        return
    for table in tables(overview):
        output.console().print(table)
