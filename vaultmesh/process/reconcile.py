"""Brings what runs to what namespaces.yaml says, and shows what differs.

1. `vaultmesh.process.desired` decides what is offered; it goes out the way that `register` goes.
2. What an operator stopped is not started; where a decision can't be read, nothing is guessed.
3. A namespace that refuses, or does not answer, holds up no other; it is offered its entry again at the next look.
4. A worker that only reports offers nothing at all, also when the file changes; nor does any worker where the
   repository's own file stands in for one that the root lacks: its namespaces cost money, and nobody chose them.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from temporalio.client import Client

from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.namespaces.stopped import StopDecision
from vaultmesh.domain.paths import ANCHORS_FILE, NAMESPACES_FILE
from vaultmesh.process import search_attributes
from vaultmesh.process.config_files import (
    AnchorsSource,
    NamespacesSource,
    hashes_of,
)
from vaultmesh.process.desired import DesiredState, Listed, Offer, Offers
from vaultmesh.process.failing import one_line
from vaultmesh.process.health import is_silent
from vaultmesh.process.logs import without_secrets
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.registration import AT_ONCE, Change, register_one
from vaultmesh.process.settings import Settings
from vaultmesh.process.visibility import Snapshot

PERIOD_SECONDS = 10.0
JITTER_SECONDS = 1.0
"""Workers that start together look one after the other."""
FIRST_LIST_SECONDS = 0.5
"""Until the first visibility list is there, it is looked for so often."""
OFFERED_WITHIN_SECONDS = 30.0
"""A server that hangs holds up no later look."""
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


class DecisionStore(Protocol):
    """Where decisions are kept; its methods block."""

    def look(self, entries: Mapping[str, str]) -> Decisions:
        """Return what was decided about these namespaces, each with the hash of its entry."""

    def drop(self, namespace: str) -> None:
        """Forget a decision, or raise `NetworkFailure`."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is desired, and where it is written."""

    namespaces: NamespacesSource
    anchors: AnchorsSource
    decisions: DecisionStore


@dataclass(frozen=True, slots=True)
class _Desired:
    specs: Mapping[str, NamespaceSpec]
    decisions: Decisions
    refused: Mapping[str, str]
    """Why each file is refused, by its name; empty for one that is not."""
    is_stand_in: bool
    """Whether the repository's own file stands in for one that the root lacks."""


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
    ) -> None:
        """Compare with the newest `snapshot`; unless it is offering, a worker only shows what differs."""
        self._client = client
        self._settings = settings
        self._sources = sources
        self._metrics = metrics
        self._snapshot = snapshot
        self._is_offering = is_offering
        self._offers = Offers(time.time())
        self._problems: dict[str, str] = {}
        self._refused: Mapping[str, str] = {}
        self._has_warned = False
        self.state = DesiredState()

    def expected(self) -> Collection[str]:
        """Return the namespaces that should run: all of the file but those that are stopped. Blocks."""
        desired = self._read()
        return desired.specs.keys() - desired.decisions.stopped.keys()

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.sleep(random.uniform(0, JITTER_SECONDS))  # noqa: S311 - no secret
        while not self._snapshot().taken_at:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(FIRST_LIST_SECONDS)
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - whatever is wrong with files ends no worker
                _LOG.exception("files not compared with what runs")
            await asyncio.sleep(PERIOD_SECONDS)

    async def look(self) -> None:
        """Compare once, offer what is due, and say what differs."""
        desired = await asyncio.to_thread(self._read)
        snapshot = self._snapshot()
        self._offers.want(hashes_of(desired.specs))
        self._warn_of_stand_in(desired)
        may_offer = self._is_offering and not desired.is_stand_in
        if may_offer and not is_silent(snapshot, time.time()):
            await self._offer(desired, snapshot)
        self._tell(desired, snapshot)

    def _warn_of_stand_in(self, desired: _Desired) -> None:
        if self._is_offering and desired.is_stand_in and not self._has_warned:
            _LOG.warning("no namespaces.yaml below the root: none is started")
            self._has_warned = True

    def _read(self) -> _Desired:
        with suppress(ConfigurationError):  # it was never right; the source keeps the reason
            self._sources.anchors.current()
        specs = self._sources.namespaces.look()
        decisions = self._sources.decisions.look(hashes_of(specs))
        refused = {
            NAMESPACES_FILE: self._sources.namespaces.refused,
            ANCHORS_FILE: self._sources.anchors.refused,
        }
        return _Desired(specs, decisions, refused, self._is_stand_in())

    def _is_stand_in(self) -> bool:
        """Whether nobody chose the file; where that can't be told, nothing is started by guess."""
        try:
            return self._sources.namespaces.is_stand_in
        except OSError:
            return True

    # --- offering --------------------------------------------------------------------------------

    async def _offer(self, desired: _Desired, snapshot: Snapshot) -> None:
        await self._drop_outdated(desired)
        due = {
            name: offer
            for name in desired.specs
            if name not in desired.decisions.stopped
            and (offer := self._offers.due(name, _listed(snapshot, name), time.time())) is not None
            and self._may(name, offer, desired, snapshot)
        }
        self._problems = {name: self._problems[name] for name in self._problems if name in due}
        if not due or not await self._has_search_attributes(snapshot):
            return
        at_once = asyncio.Semaphore(AT_ONCE)

        async def in_turn(name: str, offer: Offer) -> None:
            async with at_once:
                await self._try(desired.specs[name], offer)

        async with asyncio.TaskGroup() as group:
            for name, offer in due.items():
                group.create_task(in_turn(name, offer))

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

    async def _try(self, spec: NamespaceSpec, offer: Offer) -> None:
        """Offer one namespace its entry, unless it was stopped meanwhile; whatever goes wrong is its own."""
        try:
            async with asyncio.timeout(OFFERED_WITHIN_SECONDS):
                if spec.name in (await asyncio.to_thread(self._decided, spec)).stopped:
                    return
                registered = await register_one(
                    self._client, spec, self._settings, only_start=offer is Offer.START
                )
        except Exception as error:  # noqa: BLE001 - also an answer of another version that nobody here understands
            problem = one_line(f"not registered: {str(error) or 'Temporal does not answer'}")
            if self._problems.get(spec.name) != problem:
                _LOG.warning("namespace not registered", extra={"ns": spec.name, "err": problem})
            self._problems[spec.name] = problem
            return
        self._problems.pop(spec.name, None)
        if offer is Offer.CONFIGURE or registered.change is Change.CREATED:
            self._offers.taken(spec.name, time.time())
        if registered.change is not Change.UNCHANGED:
            undone = list(registered.undone)
            change = {"ns": spec.name, "change": registered.change.value, "undone": undone}
            _LOG.info("namespace registered", extra=change)

    def _decided(self, spec: NamespaceSpec) -> Decisions:
        return self._sources.decisions.look(hashes_of({spec.name: spec}))

    async def _drop_outdated(self, desired: _Desired) -> None:
        """Forget decisions about entries that have changed since; otherwise they would hold again if it changes back."""
        for name in desired.decisions.outdated:
            try:
                await asyncio.to_thread(self._sources.decisions.drop, name)
            except NetworkFailure as failure:
                _LOG.warning("decision not dropped", extra={"ns": name, "err": str(failure)})

    # --- showing ---------------------------------------------------------------------------------

    def _tell(self, desired: _Desired, snapshot: Snapshot) -> None:
        decisions = desired.decisions
        drift = {
            name: self._offers.drift(name, _listed(snapshot, name))
            for name in desired.specs
            if name not in decisions.stopped
        }
        refused = desired.refused
        for file, reason in refused.items():
            if reason and self._refused.get(file) != reason:
                _LOG.error("configuration file refused", extra={"file": file, "err": reason})
        self._refused = refused
        self.state = DesiredState(
            drift={name: how for name, how in drift.items() if how},
            stopped={name: decision.text for name, decision in decisions.stopped.items()},
            problems={**self._problems, **decisions.unreadable},
            refused={file: _in_health(reason) for file, reason in refused.items() if reason},
        )
        self._metrics.compared(
            {name: bool(how) for name, how in drift.items()},
            {file: bool(reason) for file, reason in refused.items()},
        )


def _in_health(reason: str) -> str:
    """Return every problem of a file in one line of bounded length, without secrets."""
    return without_secrets("; ".join(reason.splitlines()))[:LONGEST_REFUSAL]


def _listed(snapshot: Snapshot, name: str) -> Listed:
    memo = snapshot.namespaces.get(name)
    runs = namespace_workflow_id(name) in snapshot.running
    return Listed(snapshot.taken_at, runs, memo.config_hash if memo is not None else None)
