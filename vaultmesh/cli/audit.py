"""Adds `audit`: who did what, and when; and whether what is written about it was changed since."""

import argparse
import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.table import Table
from rich.text import Text
from temporalio.service import RPCError

from vaultmesh.cli import job_orders, output, temporal
from vaultmesh.cli.output import settings_with_root, visible
from vaultmesh.domain.audit_chain import GENESIS, Head, KeptHead
from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.audit_words import detail_words
from vaultmesh.domain.jobs.records import AuditEntry, AuditReport
from vaultmesh.domain.paths import AUDIT_HEAD
from vaultmesh.overview.words import DASH
from vaultmesh.process.client import Unreachable, connect
from vaultmesh.process.settings import Settings
from vaultmesh.storage.deployments import Deployments
from vaultmesh.storage.files import LocalStore

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

SHOWN, MOST_SHOWN = 50, 10_000
"""Lines: by default, and at the most."""
READ_AT_ONCE = 32
"""Histories that are read at a time while somebody waits."""
READ_SECONDS = 60.0
"""How long somebody waits for them."""
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_STATED = "--head"


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `audit`."""
    parser = subparsers.add_parser(
        "audit",
        help="show who did what, and check that nobody changed it since",
        description="Show who did what and when, newest first: orders to namespaces and targets, decisions on jobs and maintenance "
        "tasks, runs of tasks, configurations, deployments. Lines are appended and chained by their hashes.",
        epilog="example: python starter.py audit dao:vaultmesh --limit 10",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a namespace, target or job")
    parser.add_argument(
        "--limit",
        type=output.whole(1, MOST_SHOWN),
        default=SHOWN,
        metavar="N",
        help="lines; 50 by default",
    )
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument(
        "--verify",
        action="store_true",
        help="check every line instead, and say what is wrong first",
    )
    doing.add_argument(
        "--adopt",
        action="store_true",
        help="chain the lines that stand outside, such as those of an earlier version; a line says so",
    )
    parser.add_argument(
        _STATED,
        type=_read_head,
        metavar="ENTRY:HASH",
        help="with --verify: an end of the chain that you kept; shows also that the end was cut off",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_audit)


def _read_head(text: str) -> Head:
    match = _HEAD.fullmatch(text)
    if match is None:
        message = f"{text[:80]!r} is no end of a chain: write ENTRY:HASH, as --verify prints it"
        raise argparse.ArgumentTypeError(message)
    return Head(entry=int(match[1]), hash=match[2])


def run_audit(arguments: argparse.Namespace) -> int:
    """Show the audit, check it, or chain what stands outside."""
    settings = settings_with_root()
    if arguments.head is not None and not arguments.verify:
        message = f"{_STATED} belongs to --verify"
        raise output.Usage(message)
    if arguments.verify:
        return asyncio.run(_verify(arguments, settings))
    if arguments.adopt:
        return asyncio.run(_adopt(arguments))
    return temporal.run(_show(arguments, settings))


# --- showing -------------------------------------------------------------------------------------------------------


async def _show(arguments: argparse.Namespace, settings: Settings) -> int:
    async with job_orders.opened() as store:
        gap = await _gap(store)
        silence = await _read_orders(store, settings)
        entries = await store.of_audit(
            lambda audit: audit.entries(arguments.name, arguments.limit, 0)
        )
    if gap:
        output.warn([gap])
    if silence:
        output.warn([f"orders to workflows of late may be missing: {silence}"])
    if arguments.json:
        output.print_json([entry.model_dump(mode="json") for entry in entries])
    elif entries:
        output.console().print(_table(entries))
    else:
        output.note("the audit has no such line" if arguments.name else "the audit is empty")
    return output.SUCCESS


async def _gap(store: "JobStore") -> str:
    """Return why orders may be missing that no reading from now on enters."""
    from activities.jobs.order_audit import ANCHORING, FIRST_LOOK  # noqa: PLC0415 - loads SQLAlchemy

    if await store.of_audit(lambda audit: audit.mark(ANCHORING.mark)) is not None:
        return ""
    since = write_seconds(datetime.now(UTC) - FIRST_LOOK)
    return f"orders were never read into this store: those from before {since} are not in it; is it the one that workers use?"


async def _read_orders(store: "JobStore", settings: Settings) -> str:
    """Enter what workers have not read yet; returns why not, if it can't be done."""
    from activities.jobs.order_audit import OrderAudit  # noqa: PLC0415 - loads SQLAlchemy

    try:
        async with asyncio.timeout(READ_SECONDS):
            orders = OrderAudit(await connect(), store, settings.root)
            await orders.look(at_once=READ_AT_ONCE)
    except TimeoutError:
        return f"their histories were not read within {READ_SECONDS:g} s; workers with role anchors or jobs go on"
    except (Unreachable, ConfigurationError, RPCError) as error:
        return str(error)
    return ""


def _table(entries: Sequence[AuditEntry]) -> Table:
    """Return the entries as rows, newest first: orders are entered some time after they were given."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when (UTC)", "who", "what", "about", "details"):
        table.add_column(name, overflow="fold", no_wrap=name == "when (UTC)")
    for entry in sorted(entries, key=lambda entry: entry.at, reverse=True):
        details = detail_words(entry.detail)
        if entry.execution_id is not None:
            details.append(f"run: {entry.execution_id}")
        who = entry.actor if not entry.claimed_user else f"{entry.actor} for {entry.claimed_user}"
        cells = (who, entry.action, entry.job_name or DASH, "; ".join(details) or DASH)
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M:%S}", *(Text(visible(cell)) for cell in cells))
    return table


# --- checking ------------------------------------------------------------------------------------------------------


async def _verify(arguments: argparse.Namespace, settings: Settings) -> int:
    from vaultmesh.storage.audit_checks import keep_head, verify  # noqa: PLC0415 - loads SQLAlchemy

    heads, beside = await asyncio.to_thread(_heads, arguments, settings)
    async with job_orders.opened() as store:
        report = await verify(store, heads)
    problem = report.problem or "; ".join(beside)
    if not problem:
        await asyncio.to_thread(keep_head, LocalStore(settings.root), report.head)
    _say(report, problem, len(heads), as_json=arguments.json)
    return output.FAILURE if problem else output.SUCCESS


def _heads(
    arguments: argparse.Namespace, settings: Settings
) -> tuple[list[KeptHead], Sequence[str]]:
    """Return the heads that are kept elsewhere, and what is wrong where they are kept."""
    from vaultmesh.storage.audit_checks import kept_head  # noqa: PLC0415 - loads SQLAlchemy

    deployments = Deployments(settings.root)
    sealed, changed = deployments.heads()
    heads = [*sealed]
    problems = [f"{path} was changed since it was sealed" for path in changed]
    problems += [
        f"{path} was removed, and the Remembrancer has its row" for path in deployments.removed()
    ]
    try:
        lately = kept_head(LocalStore(settings.root))
    except InvalidValue as error:
        problems.append(str(error))
    else:
        heads += [KeptHead(lately, AUDIT_HEAD)] if lately is not None else []
    if arguments.head is not None:
        heads.append(KeptHead(arguments.head, _STATED))
    return heads, problems


def _say(report: AuditReport, problem: str, heads: int, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, JsonValue] = {
            "ok": not problem,
            "problem": problem,
            "entries": report.entries,
            "head": report.head.model_dump(mode="json"),
            "headsKeptElsewhere": heads,
            "headsThatAgree": report.heads_agreed,
        }
        output.print_json(document)
        return
    if problem:
        output.complain(f"the audit is not as it was written: {problem}")
    last = "" if report.head.hash == GENESIS else f", up to {report.head.entry}:{report.head.hash}"
    print(f"{report.entries} entries are whole{last}")
    print(f"{report.heads_agreed} of {heads} heads kept elsewhere agree")


async def _adopt(arguments: argparse.Namespace) -> int:
    by = job_orders.operator().name
    async with job_orders.opened() as store:
        count = await store.of_audit(lambda audit: audit.adopt(by))
    if arguments.json:
        output.print_json({"adopted": count})
    else:
        print(f"{count} lines were chained")
    return output.SUCCESS
