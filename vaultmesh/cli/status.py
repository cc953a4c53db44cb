"""The place where `status` is: what the clocks say, joined with the depth and finality that receipts and pens say.

1. A clock knows that its anchor is included; what became of it since is in the batch's receipt.
2. A receipt that names another transaction is newer than the clock: the anchor moved.
3. The depth of an anchor that is not final yet comes from the target's pen, which looks at every block.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.live import Live
from temporalio.client import Client

from vaultmesh.cli import clocks, output
from vaultmesh.cli.overview import Overview, status_table
from vaultmesh.cli.rooted import settings_with_root, tell_stand_in
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.levels import next_level
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces_config import NamespaceSpec
from vaultmesh.domain.problems import ConfigurationError
from vaultmesh.domain.receipt import AnchorReceipt
from vaultmesh.domain.status import (
    AggregatorView,
    CadenceView,
    LastAnchorView,
    NamespaceState,
    NamespaceView,
)
from vaultmesh.domain.target import Target
from vaultmesh.runtime.client import connect
from vaultmesh.runtime.configuration import load_namespaces, namespaces_path
from vaultmesh.runtime.receipt_store import ReceiptStore
from vaultmesh.runtime.registration import NoWorker
from vaultmesh.runtime.settings import Settings
from vaultmesh.runtime.storage import LocalStore

PEN_WITHIN = timedelta(seconds=5)
"""A pen's answer only makes depths fresher: it is not worth a longer wait."""
AT_ONCE = 32
"""Queries under way at a time."""
WATCH_SECONDS = 2.0


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse's action has no public type
    """Add the command `status`."""
    parser = subparsers.add_parser(
        "status",
        help="show the state of namespaces",
        description="Show every configured or running namespace, joined with depth and finality of its last anchors.",
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
    """Show the state; 0 if every clock answered."""
    settings = settings_with_root()
    if not arguments.json:
        tell_stand_in(settings)
    try:
        return clocks.run(_status(settings, arguments))
    except KeyboardInterrupt:
        if arguments.watch:
            return output.SUCCESS
        raise


async def _status(settings: Settings, arguments: argparse.Namespace) -> int:
    look = Look(await connect(), settings, arguments.namespace)
    if arguments.watch:
        await _watch(look, as_json=arguments.json)
        return output.SUCCESS
    overview = await look.take()
    if overview.namespaces or not overview.silent:
        _show(overview, as_json=arguments.json)
    if overview.silent:
        output.complain(f"{NoWorker()}; no answer from {', '.join(overview.silent)}")
        return output.FAILURE
    if overview.misconfigured:
        output.complain(overview.misconfigured)
        return output.BAD_USAGE
    return output.SUCCESS


async def _watch(look: "Look", *, as_json: bool) -> None:
    console = output.console()
    if as_json or not console.is_terminal:
        while True:
            _show(await look.take(), as_json=as_json)
            await asyncio.sleep(WATCH_SECONDS)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            overview = await look.take()
            table = status_table(overview)
            table.caption = (
                f"no answer from {', '.join(overview.silent)}" if overview.silent else None
            )
            live.update(table, refresh=True)
            await asyncio.sleep(WATCH_SECONDS)


def _show(overview: Overview, *, as_json: bool) -> None:
    if as_json:
        output.print_json(overview.document())
    else:
        output.console().print(status_table(overview))


# --- what is asked -----------------------------------------------------------------------------


class Look:
    """Looks at one namespace, or at all that are configured or run."""

    def __init__(self, client: Client, settings: Settings, only: str | None = None) -> None:
        """Ask nothing before `take`."""
        self._client = client
        self._settings = settings
        self._only = only
        self._receipts = ReceiptStore(LocalStore(settings.root))
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def take(self) -> Overview:
        """Look once.

        Raises:
            Refusal: the one namespace asked for is neither configured nor running.
            ConfigurationError: it does not run, and what is configured can't be read.
        """
        configured, wrong = await asyncio.to_thread(self._configured)
        names = [self._only] if self._only else await self._all_names(configured)
        found = await asyncio.gather(*(self._namespace(name) for name in names))
        views: list[NamespaceView] = []
        silent: list[str] = []
        for name, view in zip(names, found, strict=True):
            if isinstance(view, NoWorker):
                silent.append(name)
            elif view is not None:
                views.append(view)
            elif name in configured:
                views.append(_missing(configured[name]))
            elif self._only:
                raise wrong or clocks.unknown_namespace(name)
        pens = await self._pens(views) if not silent else []
        joined = await asyncio.to_thread(
            lambda: [joined_with(view, self._receipts, pens) for view in views]
        )
        misconfigured = str(wrong) if wrong is not None and not self._only else ""
        return Overview(joined, pens, silent, misconfigured)

    def _configured(self) -> tuple[Mapping[str, NamespaceSpec], ConfigurationError | None]:
        """Return what is configured, and what is wrong with it: a broken file hides nothing that runs."""
        from activities.anchors import SCHEMES  # noqa: PLC0415 - the registry of targets

        try:
            return load_namespaces(namespaces_path(self._settings), SCHEMES).specs, None
        except ConfigurationError as error:
            return {}, error

    async def _all_names(self, configured: Mapping[str, NamespaceSpec]) -> list[str]:
        running = await clocks.running_namespaces(self._client)
        return [*configured, *(name for name in running if name not in configured)]

    async def _namespace(self, name: str) -> NamespaceView | NoWorker | None:
        async with self._at_once:
            try:
                return await clocks.namespace_status(self._client, name)
            except NoWorker as silence:
                return silence

    async def _pens(self, views: Sequence[NamespaceView]) -> list[AggregatorView]:
        targets = {cadence.target for view in views for cadence in view.cadences.values()}
        asked = (
            clocks.pen_status(self._client, Target.parse(target), PEN_WITHIN)
            for target in sorted(targets)
        )
        return [pen for pen in await asyncio.gather(*asked) if pen is not None]


def _missing(spec: NamespaceSpec) -> NamespaceView:
    """Return the view of a namespace that is configured, but has no clock."""
    return NamespaceView(
        namespace=spec.name,
        state=NamespaceState.MISSING,
        workflow_id=namespace_workflow_id(spec.name),
        cadences={
            label: CadenceView(target=str(cadence.target), every=cadence.every)
            for label, cadence in spec.cadences.items()
        },
    )


# --- joining -----------------------------------------------------------------------------------


def joined_with(
    view: NamespaceView, receipts: ReceiptStore, pens: Sequence[AggregatorView]
) -> NamespaceView:
    """Return a view whose last anchors say what receipts and pens say of them. Blocks."""
    by_target = {pen.target: pen for pen in pens}
    cadences = {
        label: _joined_cadence(view.namespace, cadence, receipts, by_target.get(cadence.target))
        for label, cadence in view.cadences.items()
    }
    return view.model_copy(update={"cadences": cadences})


def _joined_cadence(
    namespace: str, cadence: CadenceView, receipts: ReceiptStore, pen: AggregatorView | None
) -> CadenceView:
    anchor = cadence.last_anchor
    if anchor is None or not anchor.batch_ids:
        return cadence
    try:
        receipt = receipts.read(namespace, anchor.batch_ids[0], Target.parse(cadence.target))
    except InvalidValue as error:
        return cadence.model_copy(update={"problems": [*cadence.problems, str(error)]})
    if receipt is None:
        lost = f"the receipt of batch {anchor.batch_ids[0]} is missing; it is written anew from the rounds"
        return cadence.model_copy(update={"problems": [*cadence.problems, lost]})
    return cadence.model_copy(update={"last_anchor": _joined_anchor(anchor, receipt, pen)})


def _joined_anchor(
    anchor: LastAnchorView, receipt: AnchorReceipt, pen: AggregatorView | None
) -> LastAnchorView:
    finality = receipt.finality
    rounds = pen.rounds if pen is not None else []
    seen = next((one.depth for one in rounds if one.tx_ref == receipt.tx_ref), 0)
    depth = max(seen, finality.observed_depth)
    missing = next_level(receipt)
    fresher = {"depth": depth} if missing and missing.depth is not None else {}
    return anchor.model_copy(
        update={
            "tx_ref": receipt.tx_ref,
            "block": receipt.block_number,
            "at": receipt.anchor_ts,
            "finality": finality.state.value,
            "depth": depth,
            "required_depth": finality.required_depth,
            "awaiting": missing.view.model_copy(update=fresher) if missing else None,
        }
    )
