"""Brings what runs to what namespaces.yaml says, and shows what differs.

1. `vaultmesh.process.desired` decides what is offered; it goes out the way that `register` goes.
2. What an operator stopped is not started, and told to stop if it runs; where a decision can't be read, nothing is guessed.
3. A namespace that refuses, or does not answer, holds up no other; it is offered its entry again at the next look.
4. A look says what differs before it offers anything, and begins no offer after ten seconds: the next one goes on.
5. Files are read in one thread of its own, and waited for a few seconds: a storage that hangs is said, and holds up nothing.
6. A worker that only reports offers nothing at all, also when the file changes; nor does any worker where the
   repository's own file stands in for one that the root lacks: its namespaces cost money, and nobody chose them.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from temporalio.client import Client

from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.namespaces.state import Decided
from vaultmesh.domain.namespaces.stopped import Entries, StopDecision
from vaultmesh.domain.paths import ANCHORS_FILE, NAMESPACES_FILE
from vaultmesh.domain.status import NamespaceMemo
from vaultmesh.process import search_attributes
from vaultmesh.process.config_files import AnchorsSource, NamespacesSource
from vaultmesh.process.desired import OTHER_CONTENT, DesiredState, Listed, Offer, Offers
from vaultmesh.process.failing import one_line
from vaultmesh.process.health import is_silent
from vaultmesh.process.last_run import Past
from vaultmesh.process.logs import without_secrets
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.registration import Change, register_one
from vaultmesh.process.settings import Settings
from vaultmesh.process.stops import Stops, running_stopped
from vaultmesh.process.turns import Turns
from vaultmesh.process.visibility import Snapshot

PERIOD_SECONDS = 10.0
JITTER_SECONDS = 1.0
"""Workers that start together look one after the other."""
FIRST_LIST_SECONDS = 0.5
"""Until the first visibility list is there, it is looked for so often."""
OFFERED_WITHIN_SECONDS = 30.0
"""A server that hangs holds up no later look."""
READ_WITHIN_SECONDS = 5.0
"""A storage that takes longer for these few files hangs, or soon will."""
SLOW_STORAGE = (
    f"files below the root were not read within {READ_WITHIN_SECONDS:g} s: the storage is slow or hangs; "
    "nothing is offered meanwhile"
)
LONGEST_REFUSAL = 2_000
"""Characters of what `/health` says of a refused file."""
_LOG = logging.getLogger(__name__)


class Decisions(Protocol):
    """What operators decided about some namespaces."""

    @property
    def stopped(self) -> Mapping[str, StopDecision]:
        """Decisions that hold, by namespace."""

    @property
    def outdated(self) -> Collection[str]:
        """Namespaces whose entry has changed since they were stopped."""

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Why a decision can't be read, by namespace."""

    @property
    def versions(self) -> Mapping[str, str]:
        """What tells each decision's file from another one, by namespace."""


class DecisionStore(Protocol):
    """Where decisions are kept; its methods block."""

    def look(self, entries: Entries) -> Decisions:
        """Return what was decided about these namespaces."""

    def others(self, entries: Entries) -> Mapping[str, StopDecision]:
        """Return the decisions about namespaces that are not among these."""

    def decision(self, namespace: str) -> StopDecision | None:
        """Return the decision about a namespace, or raise `InvalidValue` or `NetworkFailure`."""

    def drop(self, namespace: str, if_version: str) -> bool:
        """Forget a decision if it is still this one, or raise `NetworkFailure`."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is desired, and where it is written."""

    namespaces: NamespacesSource
    anchors: AnchorsSource
    decisions: DecisionStore
    has_receipts: Callable[[str], bool]
    """Tells whether a namespace was ever anchored; blocks."""


@dataclass(frozen=True, slots=True)
class _Desired:
    specs: Mapping[str, NamespaceSpec]
    entries: Entries
    decisions: Decisions
    others: Mapping[str, StopDecision]
    """Decisions about namespaces that are not in the file."""
    refused: Mapping[str, str]
    """Why each file is refused, by its name; empty for one that is not."""
    is_stand_in: bool
    """Whether the repository's own file stands in for one that the root lacks."""


Answer = TypeVar("Answer")


class Reconciler:
    """Looks every ten seconds at what one worker's files say and what runs."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        sources: Sources,
        metrics: Metrics,
        snapshot: Callable[[], Snapshot],
        *,
        is_offering: bool,
        is_stopping: bool | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Compare with the newest `snapshot`; unless it is offering, a worker only shows what differs.

        It carries out stop decisions if it `is_stopping`, by default if it offers. `changed` is called when what runs, or
        what should run, is another than before.
        """
        self._client = client
        self._settings = settings
        self._sources = sources
        self._metrics = metrics
        self._snapshot = snapshot
        self._is_offering = is_offering
        self._is_stopping = is_offering if is_stopping is None else is_stopping
        self._changed = changed
        self._offers = Offers(time.time())
        self._stops = Stops(client)
        self._thread = ThreadPoolExecutor(1, "configuration")
        self._reading: asyncio.Future[_Desired] | None = None
        self._expected: Collection[str] = frozenset()
        self._decided: dict[str, Decided] = {}
        """What operators had decided about namespaces, as lists showed it while they ran."""
        self._turns = Turns()
        self._problems: dict[str, str] = {}
        self._refused: Mapping[str, str] = {}
        self._has_warned = False
        self.beside: dict[str, Callable[[], str]] = {}
        """Further files of this process that others keep: by their names, why each is not in use as it is now."""
        self.state = DesiredState()

    def expected(self) -> Collection[str]:
        """Return the namespaces that should run, as the last look saw it: all of the file but those that are stopped."""
        return self._expected

    async def run(self) -> None:
        """Look until cancelled.

        What nobody foresaw is raised: whoever keeps this task shows it, since what was shown before is no longer known.
        """
        with suppress(Exception):  # the first look says what is wrong
            await self._read_in_time()
        await asyncio.sleep(random.uniform(0, JITTER_SECONDS))  # noqa: S311 - no secret
        while not self._snapshot().taken_at:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(FIRST_LIST_SECONDS)
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_SECONDS)

    async def look(self) -> None:
        """Compare once, say what differs, and offer what is due."""
        desired = await self._read_in_time()
        if desired is None:
            return
        snapshot = self._snapshot()
        self._offers.want(desired.entries.hashes)
        self._remember(snapshot)
        self._warn_of_stand_in(desired)
        self._tell(desired, snapshot)
        if is_silent(snapshot, time.time()):
            return
        has_acted = self._is_stopping and await self._stop(desired, snapshot)
        if self._is_offering and not desired.is_stand_in:
            has_acted = await self._offer(desired, snapshot) or has_acted
        if has_acted:
            self._tell(desired, snapshot)

    async def _read_in_time(self) -> _Desired | None:
        """Return what files say; None if they could not be read within a few seconds, which is said then.

        A reading that hangs is waited for by the next look as well: no second one begins beside it.
        """
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._in_thread(self._read))
        await asyncio.wait([self._reading], timeout=READ_WITHIN_SECONDS)
        if not self._reading.done():
            if not self.state.storage:
                _LOG.warning("files not read in time")
            self.state = replace(self.state, storage=SLOW_STORAGE)
            return None
        reading, self._reading = self._reading, None
        desired = reading.result()
        expected = desired.specs.keys() - desired.decisions.stopped.keys()
        if expected != self._expected:
            self._expected = expected
            self._changed()
        return desired

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _remember(self, snapshot: Snapshot) -> None:
        """Keep what operators decided about what runs: Temporal may lose its database.

        What can't be read, or is not known, is not "nothing".
        """
        for name, memo in snapshot.namespaces.items():
            decided = snapshot.decided.get(name)
            if decided is None or memo.stopping or _is_unsaid(memo, decided):
                self._decided.pop(name, None)
            else:
                self._decided[name] = decided

    def _warn_of_stand_in(self, desired: _Desired) -> None:
        if self._is_offering and desired.is_stand_in and not self._has_warned:
            _LOG.warning("no namespaces.yaml below the root: none is started")
            self._has_warned = True

    def _read(self) -> _Desired:
        with suppress(ConfigurationError):  # it was never right; the source keeps the reason
            self._sources.anchors.current()
        specs = self._sources.namespaces.look()
        entries = self._sources.namespaces.entries
        decisions = self._sources.decisions.look(entries)
        others = self._sources.decisions.others(entries)
        refused = {
            NAMESPACES_FILE: self._sources.namespaces.refused,
            ANCHORS_FILE: self._sources.anchors.refused,
        }
        return _Desired(specs, entries, decisions, others, refused, self._is_stand_in())

    def _is_stand_in(self) -> bool:
        """Whether nobody chose the file; where that can't be told, nothing is started by guess."""
        try:
            return self._sources.namespaces.is_stand_in
        except OSError:
            return True

    # --- stopping --------------------------------------------------------------------------------

    async def _stop(self, desired: _Desired, snapshot: Snapshot) -> bool:
        """Tell what runs in spite of a decision to stop; returns whether there is anything new to say."""

        async def still_holds(decision: StopDecision) -> bool:
            return await self._in_thread(lambda: self._is_kept(decision))

        before = self._stops.problems
        stopping = running_stopped(desired.decisions.stopped, desired.others, snapshot)
        if await self._stops.carry_out(stopping, snapshot, still_holds):
            self._changed()
        return before != self._stops.problems

    def _is_kept(self, decision: StopDecision) -> bool:
        """Whether a decision is there still: an operator may have registered its namespace a moment ago."""
        return self._sources.decisions.decision(decision.namespace) == decision

    # --- offering --------------------------------------------------------------------------------

    async def _offer(self, desired: _Desired, snapshot: Snapshot) -> bool:
        """Offer what is due; returns whether there is anything new to say."""
        await self._drop_outdated(desired)
        due = {
            name: offer
            for name in desired.specs
            if name not in desired.decisions.stopped
            and (offer := self._offers.due(name, _listed(snapshot, name), time.time())) is not None
            and self._may(name, offer, desired, snapshot)
        }
        before = self._problems
        self._problems = {name: before[name] for name in before if name in due}
        if not due or not await self._has_search_attributes(snapshot):
            return before != self._problems
        changes: list[Change] = []

        async def offer_to(name: str) -> None:
            changes.append(await self._try(desired, name, due[name]))

        await self._turns.take(due, offer_to)
        if any(change is not Change.UNCHANGED for change in changes):
            self._changed()
        return True

    @staticmethod
    def _may(name: str, offer: Offer, desired: _Desired, snapshot: Snapshot) -> bool:
        """Whether an offer makes sense: a failing workflow can't answer, and nothing is started by guess."""
        if offer is Offer.CONFIGURE:
            return namespace_workflow_id(name) not in snapshot.failing
        return name not in desired.decisions.unreadable

    async def _has_search_attributes(self, snapshot: Snapshot) -> bool:
        """Make sure that a Temporal namespace in which nothing runs has them: it may be a new one."""
        if snapshot.running:
            return True
        try:
            await search_attributes.ensure(self._client)
        except DomainError as error:
            _LOG.warning("namespaces not registered", extra={"err": one_line(str(error))})
            return False
        return True

    async def _try(self, desired: _Desired, name: str, offer: Offer) -> Change:
        """Offer one namespace its entry, unless it was stopped meanwhile; whatever goes wrong is its own."""
        spec = desired.specs[name]
        try:
            async with asyncio.timeout(OFFERED_WITHIN_SECONDS):
                if await self._in_thread(lambda: self._is_stopped(desired.entries, name)):
                    return Change.UNCHANGED
                registered = await register_one(
                    self._client,
                    spec,
                    self._settings,
                    only_start=offer is Offer.START,
                    past=Past(self._decided, self._has_receipts),
                )
        except Exception as error:  # noqa: BLE001 - also an answer of another version that nobody here understands
            problem = one_line(f"not registered: {str(error) or 'Temporal does not answer'}")
            if self._problems.get(spec.name) != problem:
                _LOG.warning("namespace not registered", extra={"ns": spec.name, "err": problem})
            self._problems[spec.name] = problem
            return Change.UNCHANGED
        self._problems.pop(spec.name, None)
        if offer is Offer.CONFIGURE or registered.change is Change.CREATED:
            self._offers.taken(spec.name, time.time())
        if registered.change is not Change.UNCHANGED:
            undone, kept = list(registered.undone), list(registered.kept)
            change = {"ns": name, "change": registered.change.value, "undone": undone, "kept": kept}
            _LOG.info("namespace registered", extra=change)
        return registered.change

    def _is_stopped(self, entries: Entries, name: str) -> bool:
        """Whether a namespace is stopped, or may be: a workflow that ended since the list would be started by guess."""
        own = Entries({name: entries.hashes[name]}, entries.written_at)
        decisions = self._sources.decisions.look(own)
        return name in decisions.stopped or name in decisions.unreadable

    async def _has_receipts(self, name: str) -> bool:
        return await self._in_thread(lambda: self._sources.has_receipts(name))

    async def _drop_outdated(self, desired: _Desired) -> None:
        """Forget decisions about entries that have changed since; otherwise they would hold again if it changes back."""
        for name in desired.decisions.outdated:
            version = desired.decisions.versions[name]
            try:
                async with asyncio.timeout(OFFERED_WITHIN_SECONDS):
                    await self._in_thread(partial(self._sources.decisions.drop, name, version))
            except (NetworkFailure, TimeoutError) as failure:
                _LOG.warning("decision not dropped", extra={"ns": name, "err": str(failure)})

    # --- showing ---------------------------------------------------------------------------------

    def _tell(self, desired: _Desired, snapshot: Snapshot) -> None:
        decisions = desired.decisions
        running = running_stopped(decisions.stopped, desired.others, snapshot)
        drift = {
            name: self._offers.drift(name, _listed(snapshot, name))
            for name in desired.specs
            if name not in decisions.stopped
        }
        refused = desired.refused
        for file, reason in refused.items():
            if reason and self._refused.get(file) != reason:
                log_event(_LOG, LogEvent.REFUSED, file=file, err=reason)
        self._refused = refused
        self.state = DesiredState(
            drift={name: how for name, how in drift.items() if how},
            stopped={
                name: decision.text for name, decision in {**decisions.stopped, **running}.items()
            },
            problems={**self._problems, **self._stops.problems, **decisions.unreadable},
            refused=_not_in_use({**refused, **{file: why() for file, why in self.beside.items()}}),
        )
        wanted = {} if desired.is_stand_in else desired.specs
        self._metrics.configured(
            {name: spec for name, spec in wanted.items() if name not in decisions.stopped}
        )
        self._metrics.compared(
            {
                name: how == OTHER_CONTENT for name, how in drift.items()
            },  # what is missing has a metric of its own
            {file: bool(reason) for file, reason in refused.items()},
        )


def _is_unsaid(memo: NamespaceMemo, decided: Decided) -> bool:
    """Whether more was decided than a run says: it does not know itself, or an earlier version wrote its memo."""
    return memo.unknown_since is not None or (decided.is_nothing and bool(memo.paused))


def _not_in_use(refused: Mapping[str, str]) -> dict[str, str]:
    return {file: _in_health(reason) for file, reason in refused.items() if reason}


def _in_health(reason: str) -> str:
    """Return every problem of a file in one line of bounded length, without secrets."""
    return without_secrets("; ".join(reason.splitlines()))[:LONGEST_REFUSAL]


def _listed(snapshot: Snapshot, name: str) -> Listed:
    memo = snapshot.namespaces.get(name)
    runs = namespace_workflow_id(name) in snapshot.running
    return Listed(snapshot.taken_at, runs, memo.config_hash if memo is not None else None)
