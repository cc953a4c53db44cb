"""Answers what the admin page asks about anchoring: namespaces, targets, batches, proofs; and sends its orders.

1. It reads the files and asks the workflows that `starter.py status`, `verify` and `proof` read and ask, by the same
   functions.
2. Nothing of it holds up the event loop, or waits long: files are read by few threads, workflows answer soon or not.
3. With Temporal away, all that files and configuration show is shown, and why the rest is not.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.errors import ConfigurationError, DomainError, InvalidValue
from vaultmesh.domain.namespaces.config import NamespaceSpec, check_name
from vaultmesh.domain.paths import ANCHORS_FILE, NAMESPACES_FILE
from vaultmesh.domain.receipts.receipt import receipt_path
from vaultmesh.domain.status import NamespaceState, NamespaceView, TargetView
from vaultmesh.domain.target import Target
from vaultmesh.overview.batch_lists import BatchLists, BatchPage
from vaultmesh.overview.batch_reports import BatchReport, BatchReports, is_id
from vaultmesh.overview.joining import counted_beside, promised
from vaultmesh.overview.look import Look, Reading, configured_view
from vaultmesh.overview.overview import Overview
from vaultmesh.overview.readers import Readers
from vaultmesh.process import anchor_workflows
from vaultmesh.process.client import Unreachable
from vaultmesh.process.config_files import (
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
    stand_in,
)
from vaultmesh.process.counts import Counts
from vaultmesh.process.polling import last_poll
from vaultmesh.process.settings import Settings
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.verification.event_proof import proof_of
from vaultmesh.verification.proof_file import proof_document

WITHIN = timedelta(seconds=3)
"""So long a workflow's answer is waited for: who looks at a page comes again."""
NAMESPACES_AT_ONCE = 50
"""Namespaces that one page asks about."""
ASKED_WITHIN_SECONDS = 2.0
"""So long Temporal itself is waited for, which answers at once."""
_SILENT = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
OUT_FOLDER = "out"
MOST_PROBLEMS = 10
"""Lines about configuration files that a page shows."""
AWAY = "Temporal does not answer"


class Unknown(DomainError):
    """There is no such namespace, batch or receipt."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the answers come from, and what of it can't be read."""

    has_files: bool
    """Whether batches and receipts are below VMSH_ROOT here."""
    root: str
    """VMSH_ROOT."""
    stand_in: str = ""
    """The namespaces.yaml that is used because the root has none; empty if the root's own is."""
    refused: Sequence[str] = ()
    """What is wrong with a configuration file, a line each."""


@dataclass(frozen=True, slots=True)
class NamespacesAnswer:
    """Some namespaces, by name, and the targets where they anchor."""

    source: Source
    overview: Overview
    names: Sequence[str]
    """All that match, also those of other pages."""
    start: int
    """Place of the first one here among them."""

    @property
    def views(self) -> Sequence[NamespaceView]:
        """Those that answered and those that did not, by name."""
        every = [*self.overview.namespaces, *self.overview.silent]
        return sorted(every, key=lambda view: view.namespace)

    @property
    def next_start(self) -> int | None:
        """Where the next page begins; None if there is none."""
        following = self.start + NAMESPACES_AT_ONCE
        return following if following < len(self.names) else None


@dataclass(frozen=True, slots=True)
class NamespaceAnswer:
    """One namespace, and the targets where it anchors."""

    source: Source
    overview: Overview
    view: NamespaceView


@dataclass(frozen=True, slots=True)
class _Configured:
    """What namespaces.yaml says, and where the files are."""

    source: Source
    specs: Mapping[str, NamespaceSpec]


class AnchoringOverview:
    """What one process knows of anchoring."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        files: BatchFiles,
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read and ask nothing before it is asked.

        Args:
            client: through which workflows are asked.
            settings: where the files are.
            files: shared with whatever else of the process reads them.
            is_away: tells that Temporal has not answered for long, so that nobody waits for it.
        """
        self._client = client
        self._settings = settings
        self._files = files
        self._is_away = is_away
        self._readers = Readers()
        self._counts = Counts(files.owed)
        self._lists = BatchLists(files)
        self._reports = BatchReports(settings, files)

    async def close(self) -> None:
        """End the threads."""
        self._readers.close()

    # --- namespaces and targets ------------------------------------------------------------------------------------

    async def namespaces(self, start: int = 0, part: str = "") -> NamespacesAnswer:
        """Return a page of namespaces whose names hold a part."""
        configured = await self._configured()
        running, silence = await self._running()
        every = sorted({*configured.specs, *running.namespaces})
        names = [name for name in every if part.lower() in name.lower()]
        start = max(0, min(start, len(names) - 1)) // NAMESPACES_AT_ONCE * NAMESPACES_AT_ONCE
        chosen = names[start : start + NAMESPACES_AT_ONCE]
        overview = await self._look(configured, chosen, silence)
        return NamespacesAnswer(configured.source, overview, names, start)

    async def namespace(self, name: str) -> NamespaceAnswer:
        """Return one namespace.

        Raises:
            Unknown: it is neither configured, nor runs, nor has receipts.
        """
        configured = await self._configured()
        _checked_name(name)
        overview = await self._look(configured, [name], await self._silence())
        views = [*overview.namespaces, *overview.silent]
        if views and (name in configured.specs or views[0].state is not NamespaceState.SILENT):
            return NamespaceAnswer(configured.source, overview, views[0])
        if views and await self._is_anchored(name):
            return NamespaceAnswer(configured.source, overview, views[0])
        if not views and await self._is_anchored(name):
            gone = NamespaceView(namespace=name, state=NamespaceState.MISSING)
            return NamespaceAnswer(configured.source, overview, gone)
        message = (
            f"There is no namespace {name!r}: it is not configured, and no workflow of it runs"
        )
        raise Unknown(message)

    async def targets(self) -> tuple[Source, Overview]:
        """Return all targets that are configured or run."""
        configured = await self._configured()
        running, silence = await self._running()
        names = {
            str(cadence.target)
            for spec in configured.specs.values()
            for cadence in spec.cadences.values()
        }
        overview = await self._look(configured, [], silence, [*names, *running.targets])
        return configured.source, overview

    async def order(
        self,
        namespace: str,
        verb: str,
        cadence: str,
        reason: str = "",
        update_id: str | None = None,
    ) -> NamespaceView:
        """Send an order to a namespace, or to one of its cadences, and return its new state.

        Raises:
            NotRunning: there is no workflow.
            OrderRefused: it refused.
            NoAnswer: nobody answered in time.
            WorkflowFailing: it can't answer.
            Unreachable: Temporal does not answer.
        """
        options = {"cadence": cadence, "reason": reason}
        argument = {key: value for key, value in options.items() if value}
        try:
            return await anchor_workflows.order(
                self._client, _checked_name(namespace), verb, dict(argument), update_id
            )
        except RPCError as error:
            message = f"{AWAY}: {error.message}"
            raise Unreachable(message) from error

    # --- batches ---------------------------------------------------------------------------------------------------

    async def batches(self, view: NamespaceView, before: str = "") -> BatchPage:
        """Return a page of a namespace's batches, newest first."""
        targets = list(dict.fromkeys(_targets_of(view)))
        return await self._readers.run(
            self._lists.page, view.namespace, view.batches, targets, before
        )

    async def batch(self, answer: NamespaceAnswer, batch_id: str) -> BatchReport:
        """Return all that is known of a batch of a namespace.

        Raises:
            Unknown: there is neither a batch file nor a receipt.
        """
        view, targets = answer.view, answer.overview.targets
        report = await self._readers.run(
            self._reports.report, view.namespace, view.batches, batch_id, targets
        )
        if report.is_unknown:
            message = f"There is no batch {batch_id!r} of namespace {view.namespace!r}"
            raise Unknown(message)
        return report

    async def receipt(self, namespace: str, batch_id: str, target: str) -> bytes:
        """Return an anchor receipt's file as it is.

        Raises:
            Unknown: there is none.
        """
        name, parsed = _checked_name(namespace), Target.parse(target)
        content = None
        if is_id(batch_id):
            path = receipt_path(name, batch_id, parsed)
            content = await self._readers.run(self._files.store.read, path)
        if content is None:
            message = f"Batch {batch_id!r} of namespace {namespace!r} has no receipt of {target}"
            raise Unknown(message)
        return content

    async def proof(self, event_id: str) -> str:
        """Return the proof file of an event, as `starter.py proof` writes it.

        Raises:
            NotProven: there is none.
        """
        proof = await self._readers.run(proof_of, self._settings, event_id)
        return proof_document(proof)

    # --- what both need --------------------------------------------------------------------------------------------

    async def _configured(self) -> _Configured:
        return await self._readers.run(self._read_configuration)

    def _read_configuration(self) -> _Configured:
        refused: list[str] = []
        specs: Mapping[str, NamespaceSpec] = {}
        try:
            specs = load_namespaces(namespaces_path(self._settings)).specs
        except ConfigurationError as error:
            refused += [f"{NAMESPACES_FILE}: {problem}" for problem in error.problems]
        try:
            load_anchors(anchors_path(self._settings))
        except ConfigurationError as error:
            refused += [f"{ANCHORS_FILE}: {problem}" for problem in error.problems]
        used = stand_in(self._settings)
        source = Source(
            has_files=self._files.store.exists(OUT_FOLDER),
            root=str(self._settings.root),
            stand_in=str(used) if used is not None else "",
            refused=refused[:MOST_PROBLEMS],
        )
        return _Configured(source, specs)

    async def _running(self) -> tuple[anchor_workflows.Running, str]:
        """Return what runs, and why that is not known; the latter is empty if it is."""
        nothing = anchor_workflows.Running((), ())
        if silence := await self._silence():
            return nothing, silence
        try:
            return await anchor_workflows.running(self._client), ""
        except RPCError as error:
            return nothing, f"{AWAY}: {error.message}"

    async def _silence(self) -> str:
        """Return that Temporal does not answer; empty if it does. The SDK would try for long."""
        if self._is_away():
            return AWAY
        try:
            async with asyncio.timeout(ASKED_WITHIN_SECONDS):
                await last_poll(self._client)
        except TimeoutError:
            return AWAY
        except RPCError as error:  # whoever may not look at queues may still ask workflows
            return AWAY if error.status in _SILENT else ""
        return ""

    async def _look(
        self,
        configured: _Configured,
        chosen: Sequence[str],
        silence: str,
        targets: Sequence[str] = (),
    ) -> Overview:
        """Ask namespaces and targets; with Temporal away, show what is configured and what files say."""
        if not silence:
            reading = Reading(self._files, self._counts, self._readers.run, WITHIN)
            look = Look(
                self._client, self._settings, chosen=chosen, targets=targets, reading=reading
            )
            try:
                return await look.take()
            except RPCError as error:
                silence = f"{AWAY}: {error.message}"
        specs = [configured.specs[name] for name in chosen if name in configured.specs]
        views = [configured_view(spec, NamespaceState.SILENT) for spec in specs]
        silent = [
            promised(view, configured.specs[view.namespace].deadlines)
            for view in await counted_beside(views, self._counts)
        ]
        anchored_on = {str(target) for view in views for target in _targets_of(view)}
        return Overview([], [], silent, sorted({*targets, *anchored_on}), silence=silence)

    async def _is_anchored(self, name: str) -> bool:
        return await self._readers.run(self._files.receipts.has_any, name)


def _targets_of(view: NamespaceView) -> list[Target]:
    return [Target.parse(cadence.target) for cadence in view.cadences.values()]


def _checked_name(name: str) -> str:
    """Return a namespace's name; raises `Unknown` if none can be called so."""
    try:
        return check_name(name)
    except InvalidValue as error:
        message = f"There is no namespace {name!r}: it {error}"
        raise Unknown(message) from error


def target_of(overview: Overview, name: str) -> TargetView | None:
    """Return what is known of a target."""
    return next((target for target in overview.targets if target.target == name), None)
