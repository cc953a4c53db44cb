"""Looks at namespaces and targets once: what is configured, what runs, what answers, and what can't.

1. One that does not answer hides no other: it is failing, with its cause, or it is named as silent.
2. A failing namespace is shown by the configuration, else by its memo: only its workflow knows more.
3. If nobody answers at all, that is known after one time-out, however many were asked.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from temporalio.client import Client

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.freshness import overdue
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.namespaces.drift import changed_keys
from vaultmesh.domain.namespaces.stopped import Entries, StopDecision
from vaultmesh.domain.paths import ANCHORS_FILE, NAMESPACES_FILE
from vaultmesh.domain.status import (
    AggregatorView,
    CadenceView,
    NamespaceMemo,
    NamespaceState,
    NamespaceView,
    TargetState,
    TargetView,
    read_at,
)
from vaultmesh.overview.joining import counted, counted_beside, followed, promised
from vaultmesh.overview.overview import Overview
from vaultmesh.process import anchor_workflows
from vaultmesh.process.config_files import (
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
)
from vaultmesh.process.counts import Counts
from vaultmesh.process.desired import OTHER_CONTENT
from vaultmesh.process.failing import Failing
from vaultmesh.process.polling import NoAnswer
from vaultmesh.process.settings import Settings
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.storage.stopped import Decisions, StoppedNamespaces

TARGET_WITHIN = timedelta(seconds=5)
"""An aggregator is waited for less long than a namespace, so that both fit into ten seconds."""
Result = TypeVar("Result")
NOT_STOPPED_YET = "a worker tells its workflow as soon as it answers"
PATIENCE_SECONDS = 5.0
"""If nobody has answered by then, and one was waited for in vain, nobody will: no worker runs."""


@dataclass(slots=True)
class _Findings:
    """What one look has found so far."""

    configured: Mapping[str, NamespaceSpec]
    decisions: Decisions
    namespaces: dict[str, NamespaceView] = field(default_factory=dict)
    targets: dict[str, TargetView] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    silent_targets: set[str] = field(default_factory=set)
    failing: list[Failing] = field(default_factory=list)
    answers: int = 0
    others: Mapping[str, StopDecision] = field(default_factory=dict)
    """Decisions about namespaces that are not configured."""
    silence: str = ""
    """Why something did not answer."""
    patience_ends: float = field(default_factory=lambda: time.monotonic() + PATIENCE_SECONDS)
    nobody: bool = False
    """Whether the first namespaces waited for an answer in vain, and there was none at all."""

    def absent(self, name: str) -> NamespaceView:
        """Return the view of a configured namespace that does not run."""
        decision = self.decisions.stopped.get(name)
        stopped = decision.text if decision else ""
        state = NamespaceState.STOPPED if stopped else NamespaceState.MISSING
        view = configured_view(self.configured[name], state)
        cause = stopped or self.decisions.unreadable.get(name, "")
        return view.model_copy(update={"cause": cause})

    def with_drift(self, view: NamespaceView) -> NamespaceView:
        """Return the view of a namespace that answers, with what differs from the file, or why it drains."""
        spec, decision = self.configured.get(view.namespace), self._decision(view)
        if decision is not None:
            waits = "" if view.state is NamespaceState.DRAINING else f"; {NOT_STOPPED_YET}"
            return draining(view).model_copy(update={"cause": f"{decision.text}{waits}"})
        if spec is None or view.config_hash == spec.content_hash:
            return view
        drift = f"{OTHER_CONTENT}: {'; '.join(changed_keys(spec, view))}"
        return view.model_copy(update={"drift": drift})

    def with_promises(self, view: NamespaceView) -> NamespaceView:
        """Return the view of a namespace with what the file promises of its batches."""
        spec = self.configured.get(view.namespace)
        return view if spec is None else promised(view, spec.deadlines)

    def with_decision(self, view: NamespaceView) -> NamespaceView:
        """Return the view of a namespace that can't answer, with the decision that waits for it."""
        decision = self.decisions.stopped.get(view.namespace)
        if decision is None:
            return view
        parts = (view.cause, f"{decision.text}; {NOT_STOPPED_YET}")
        return view.model_copy(update={"cause": "; ".join(part for part in parts if part)})

    def _decision(self, view: NamespaceView) -> StopDecision | None:
        """Return the decision that a namespace which answers is stopped."""
        other = self.others.get(view.namespace)
        if other is not None and not other.is_about(view.config_hash):
            other = None
        return self.decisions.stopped.get(view.namespace, other)

    def targets_of_namespaces(self) -> set[str]:
        """Return the targets that the namespaces found so far anchor on."""
        views = self.namespaces.values()
        return {cadence.target for view in views for cadence in view.cadences.values()}


class Run(Protocol):
    """Runs a function that blocks in a thread."""

    def __call__(
        self, function: Callable[..., Result], /, *arguments: object
    ) -> Coroutine[None, None, Result]:
        """Return what the function returns."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files are read: a process that looks often shares what it has read, and waits for no long count."""

    files: BatchFiles
    counts: Counts | None = None
    """What counts beside the looks; None: a look counts by itself, however long that takes."""
    run: Run = asyncio.to_thread
    """Runs what blocks, beside the event loop."""
    within: timedelta = anchor_workflows.ANSWER_WITHIN
    """So long a workflow's answer is waited for."""


class Look:
    """Looks at some namespaces, or at all that are configured or run."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        only: str | None = None,
        *,
        chosen: Sequence[str] | None = None,
        targets: Sequence[str] = (),
        reading: Reading | None = None,
    ) -> None:
        """Ask nothing before `take`.

        Args:
            client: through which workflows are asked.
            settings: where the files are.
            only: the one namespace that is meant; it is refused where there is none.
            chosen: the namespaces that are meant, whether they run or not; None for all.
            targets: further ones that are asked, beside those of the namespaces.
            reading: how the files are read.
        """
        self._client = client
        self._settings = settings
        self._only = only
        self._chosen = [only] if only else chosen
        self._targets = targets
        self._reading = reading or Reading(BatchFiles(settings.root))
        self._files = self._reading.files
        self._stopped = StoppedNamespaces(self._files.store)

    async def take(self) -> Overview:
        """Look once.

        Raises:
            Refusal: the one namespace asked for is neither configured nor running.
            ConfigurationError: it does not run, and what is configured can't be read.
            RPCError: Temporal itself does not answer.
        """
        entries, configured, wrong, refused = await self._reading.run(self._configured)
        names, targets = await self._to_ask(configured)
        decisions = await self._reading.run(self._stopped.look, entries)
        others = await self._reading.run(self._stopped.others, entries)
        findings = _Findings(configured, decisions, others=others)
        findings.patience_ends = time.monotonic() + min(
            PATIENCE_SECONDS, self._reading.within.total_seconds()
        )
        at_once = asyncio.Semaphore(anchor_workflows.AT_ONCE)
        await asyncio.gather(
            *(self._ask_namespace(name, findings, at_once) for name in names),
            *(self._ask_target(target, findings) for target in targets),
        )
        if self._only and not findings.namespaces and not findings.silent:
            raise wrong or anchor_workflows.unknown_namespace(self._only)
        if not findings.nobody:
            more = findings.targets_of_namespaces().difference(targets)
            await asyncio.gather(*(self._ask_target(target, findings) for target in sorted(more)))
        asked = (self._silent(name, findings, at_once) for name in sorted(findings.silent))
        silent = await asyncio.gather(*asked)
        return await self._overview(names, findings, silent, refused)

    async def _overview(
        self,
        names: Iterable[str],
        findings: _Findings,
        silent: Sequence[NamespaceView],
        refused: Mapping[str, str],
    ) -> Overview:
        views = [findings.namespaces[name] for name in names if name in findings.namespaces]
        targets = [findings.targets[target] for target in sorted(findings.targets)]
        followed_views = await self._reading.run(
            lambda: [followed(view, self._files, targets) for view in views]
        )
        every = [
            findings.with_promises(view) for view in await self._counted([*followed_views, *silent])
        ]
        return Overview(
            every[: len(views)],
            targets,
            every[len(views) :],
            sorted(findings.silent_targets),
            sorted(findings.failing, key=lambda failing: failing.workflow_id),
            refused=refused,
            silence=findings.silence,
        )

    async def _counted(self, views: Sequence[NamespaceView]) -> list[NamespaceView]:
        counts = self._reading.counts
        if counts is None:
            return await self._reading.run(lambda: [counted(view, self._files) for view in views])
        return await counted_beside(views, counts)

    def _configured(
        self,
    ) -> tuple[Entries, Mapping[str, NamespaceSpec], ConfigurationError | None, Mapping[str, str]]:
        """Return what is configured, and what is wrong with both files: a broken one hides nothing that runs.

        Of anchors.yaml the outline is read: its settings need variables that only workers have.
        """
        refused = {}
        try:
            load_anchors(anchors_path(self._settings))
        except ConfigurationError as error:
            refused[ANCHORS_FILE] = str(error)
        try:
            file = load_namespaces(namespaces_path(self._settings))
        except ConfigurationError as error:
            return Entries({}, 0.0), {}, error, {NAMESPACES_FILE: str(error), **refused}
        return file.entries, file.specs, None, refused

    async def _to_ask(
        self, configured: Mapping[str, NamespaceSpec]
    ) -> tuple[Sequence[str], set[str]]:
        """Return the namespaces and the targets that are asked first."""
        if self._chosen is not None:
            specs = [configured[name] for name in self._chosen if name in configured]
            return self._chosen, {*self._targets, *_targets(specs)}
        running = await anchor_workflows.running(self._client)
        names = [*configured, *(name for name in running.namespaces if name not in configured)]
        return names, {*running.targets, *_targets(configured.values())}

    async def _ask_namespace(
        self, name: str, findings: _Findings, at_once: asyncio.Semaphore
    ) -> None:
        async with at_once:
            if findings.nobody:
                findings.silent.add(name)
                return
            try:
                view = await anchor_workflows.namespace_status(
                    self._client, name, self._reading.within
                )
            except anchor_workflows.WorkflowFailing as error:
                findings.failing.append(error.diagnosis)
                view = await self._failing(name, error.diagnosis, findings)
                findings.namespaces[name] = findings.with_decision(view)
                return
            except NoAnswer as silence:
                findings.silence = str(silence)
                findings.silent.add(name)
                findings.nobody = (
                    not findings.answers and time.monotonic() >= findings.patience_ends
                )
                return
        if view is not None:
            findings.answers += 1
            findings.namespaces[name] = findings.with_drift(read_at(view, datetime.now(UTC)))
        elif name in findings.configured:
            findings.namespaces[name] = findings.absent(name)

    async def _failing(self, name: str, failing: Failing, findings: _Findings) -> NamespaceView:
        spec = findings.configured.get(name)
        if spec is not None:
            return failing_view(spec, failing)
        memo = await anchor_workflows.namespace_memo(self._client, name)
        view = _view_of_memo(memo or NamespaceMemo(namespace=name), NamespaceState.FAILING)
        return view.model_copy(update={"run_id": failing.run_id, "cause": failing.cause})

    async def _silent(
        self, name: str, findings: _Findings, at_once: asyncio.Semaphore
    ) -> NamespaceView:
        """Return what is known without the workflow: its configuration or memo, and since when it waits for a worker."""
        async with at_once:
            memo = await anchor_workflows.namespace_memo(self._client, name)
            since = await anchor_workflows.waiting_since(self._client, name)
        now, state = datetime.now(UTC), NamespaceState.SILENT
        if overdue(since, now):
            state = NamespaceState.OVERDUE
        spec = findings.configured.get(name)
        known, silent = memo or NamespaceMemo(namespace=name), NamespaceState.SILENT
        view = configured_view(spec, silent) if spec else _view_of_memo(known, silent)
        view = findings.with_decision(view)
        return view.model_copy(update={"state": state, "waiting_since": since})

    async def _ask_target(self, target: str, findings: _Findings) -> None:
        try:
            view = await anchor_workflows.target_status(
                self._client, target, min(self._reading.within, TARGET_WITHIN)
            )
        except anchor_workflows.WorkflowFailing as error:
            findings.failing.append(error.diagnosis)
            findings.targets[target] = TargetView(
                target=target,
                state=TargetState.FAILING,
                run_id=error.diagnosis.run_id,
                cause=error.diagnosis.cause,
                problems=[f"failing: {error.diagnosis.cause}"],
            )
        except NoAnswer as silence:
            findings.silence = findings.silence or str(silence)
            findings.silent_targets.add(target)
        else:
            findings.answers += view is not None
            findings.targets[target] = target_view(target, view)


def _targets(specs: Iterable[NamespaceSpec]) -> set[str]:
    return {str(cadence.target) for spec in specs for cadence in spec.cadences.values()}


# --- views of those that answer, and of those that can't -----------------------------------------


def configured_view(spec: NamespaceSpec, state: NamespaceState) -> NamespaceView:
    """Return the view of a namespace of which only the configuration is known."""
    return NamespaceView(
        namespace=spec.name,
        state=state,
        workflow_id=namespace_workflow_id(spec.name),
        batches=spec.batches,
        cadences={
            label: CadenceView(target=str(cadence.target), every=cadence.every, state=state)
            for label, cadence in spec.cadences.items()
        },
    )


def draining(view: NamespaceView) -> NamespaceView:
    """Return the view of a namespace that was stopped: nothing of it is stale or overdue any more."""
    state = NamespaceState.DRAINING
    cadences = {
        label: cadence.model_copy(update={"state": state, "overdue_seconds": None})
        for label, cadence in view.cadences.items()
    }
    return view.model_copy(update={"state": state, "cadences": cadences})


def failing_view(spec: NamespaceSpec, failing: Failing) -> NamespaceView:
    """Return the view of a configured namespace that is failing."""
    view = configured_view(spec, NamespaceState.FAILING)
    return view.model_copy(update={"run_id": failing.run_id, "cause": failing.cause})


def _view_of_memo(memo: NamespaceMemo, state: NamespaceState) -> NamespaceView:
    return NamespaceView(
        namespace=memo.namespace,
        state=state,
        workflow_id=namespace_workflow_id(memo.namespace),
        batches=memo.batches,
        cadences={
            label: CadenceView(target=cadence.target, every="", state=state)
            for label, cadence in memo.cadences.items()
        },
    )


def target_view(target: str, answer: AggregatorView | None) -> TargetView:
    """Return how a target is shown whose aggregator gave this answer; None: no workflow runs."""
    if answer is None:
        return TargetView(target=target, state=TargetState.MISSING)
    problems = []
    state = TargetState.RUNNING
    if answer.failures and answer.last_failure:
        failure = answer.last_failure
        problems.append(f"failed {answer.failures} times, {failure.kind}: {failure.message}")
    if answer.paused:
        state = TargetState.PAUSED
        reason = f": {answer.paused.reason}" if answer.paused.reason else ""
        problems.append(f"paused since {write_seconds(answer.paused.since)}{reason}")
    if answer.held:
        state = TargetState.HELD
        problems.append(
            f"held since {write_seconds(answer.held.since)}, {answer.held.kind}: {answer.held.message}"
        )
    lines = [*problems, *answer.problems]
    return TargetView(**{**dict(answer), "state": state, "problems": lines})
