"""Watches what cadences promise: a batch that will miss or missed its deadline is counted, logged once, and shown with its cause.

1. All is read from files and from the last visibility list, so it is right after a restart, also while every workflow stands.
2. The time that one look takes is followed by a rest twenty times as long: a large storage is looked at less often.
"""

import asyncio
import logging
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from heapq import nsmallest

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.freshness import anchored_within
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.promises import Cause, Situation, Standing, Unfinished, cause, standing, told
from vaultmesh.domain.target import Target
from vaultmesh.process.cadence_metrics import MANY_CADENCES
from vaultmesh.process.exposition import Page
from vaultmesh.process.failing import one_line
from vaultmesh.process.visibility import Snapshot

TASK = "promises"
PERIOD_SECONDS = 15.0
REST_FACTOR = 20
WITH_ZEROS = 500
"""Up to so many cadences with a deadline, what is 0 has a series, too; counters of each cause up to a tenth."""
MOST_OVERDUE = 500
"""Of many cadences that owe, so many are shown by when they were due: the page has no room for all."""
NO_CAUSE = "none"
"""Label of a series that stands at 0: nothing is at risk, and nothing missed."""
_LABELS = ("namespace", "cadence", "target", "cause")
_LOG = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Namespace, cadence and target."""
FindUnfinished = Callable[[str, Target, str], Sequence[Unfinished]]
"""Returns a namespace's batches that are not final on a target, of a folder; blocks."""


@dataclass(frozen=True, slots=True)
class Promised:
    """One batch whose promise is at risk, or missed."""

    batch: Unfinished
    standing: Standing
    cause: Cause
    words: str
    deadline: timedelta


@dataclass(slots=True)
class Look:
    """What one look found."""

    at: float = 0.0
    """Unix seconds; 0 before the first."""
    promises: dict[Key, list[Promised]] = field(default_factory=dict)
    """At risk or missed; a cadence with a deadline and nothing of that kind is there, too."""
    lags: dict[str, float] = field(default_factory=dict)
    """By target: how long ago its oldest batch was sealed that is anchored and not final, in seconds."""
    due: dict[Key, float] = field(default_factory=dict)
    """By when the oldest batch without an anchor should have had one, in Unix seconds; nothing where none is owed, or it is paused."""


class Promises:
    """What one process knows of its namespaces' promises."""

    def __init__(
        self,
        specs: Callable[[], Mapping[str, NamespaceSpec]],
        begin: Callable[[], FindUnfinished],
        snapshot: Callable[[], Snapshot],
        unreachable: Callable[[], Mapping[str, str]],
        metrics: "PromiseMetrics",
    ) -> None:
        """Look at nothing yet; `begin` begins a look at files, `unreachable` says why targets do not answer this process."""
        self._specs = specs
        self._begin = begin
        self._snapshot = snapshot
        self._unreachable = unreachable
        self._metrics = metrics
        self._told: set[tuple[Key, str, Standing]] = set()
        self._known: dict[Key, Sequence[Unfinished]] = {}
        """What was found last: a storage that can't be read says nothing of what it held."""
        self.last = Look()

    async def run(self) -> None:
        """Look every 15 seconds until cancelled; before the first visibility list nothing is known of causes."""
        while True:
            took = 0.0
            if self._snapshot().taken_at:
                began = time.monotonic()
                await self.look(time.time())
                took = time.monotonic() - began
            await asyncio.sleep(max(PERIOD_SECONDS, REST_FACTOR * took) if took else 1.0)

    async def look(self, now: float) -> None:
        """Look once; `now` in Unix seconds."""
        snapshot, unreachable = self._snapshot(), self._unreachable()
        look = await asyncio.to_thread(self._look, snapshot, unreachable, now)
        self.last = look
        self._metrics.looked(look)
        for key, promises in look.promises.items():
            for promised in promises:
                self._tell(key, promised, now)
        current = {
            (key, promised.batch.batch_id)
            for key, promises in look.promises.items()
            for promised in promises
        }
        self._told = {mark for mark in self._told if mark[:2] in current}

    def _look(self, snapshot: Snapshot, unreachable: Mapping[str, str], now: float) -> Look:
        look, find = Look(now), self._begin()
        for name, spec in self._specs().items():
            for label, cadence in spec.cadences.items():
                key = (name, label, str(cadence.target))
                deadline = spec.deadlines.get(label)
                situation = _situation(key, snapshot, unreachable)
                try:
                    self._known[key] = find(name, cadence.target, spec.batches)
                except (AnchorError, InvalidValue, OSError) as error:
                    situation = replace(situation, storage=one_line(str(error)))
                batches = self._known.get(key, ())
                owed = [batch.sealed_at for batch in batches if batch.depth is None]
                if owed and not situation.paused:
                    look.due[key] = min(owed) + anchored_within(spec.periods[label]).total_seconds()
                anchored = [batch.sealed_at for batch in batches if batch.depth is not None]
                if anchored:
                    lag = max(now - min(anchored), 0.0)
                    look.lags[key[2]] = max(lag, look.lags.get(key[2], 0.0))
                look.lags.setdefault(key[2], 0.0)
                if deadline is not None:
                    look.promises[key] = list(_judged(batches, deadline, situation, now))
        return look

    def _tell(self, key: Key, promised: Promised, now: float) -> None:
        """Log a promise that came into danger or was missed, once."""
        mark = (key, promised.batch.batch_id, promised.standing)
        if mark in self._told:
            return
        self._told.add(mark)
        namespace, cadence, target = key
        missed = promised.standing is Standing.MISSED
        if missed:
            self._metrics.missed(key, promised.cause)
        log_event(
            _LOG,
            LogEvent.MISSED if missed else LogEvent.AT_RISK,
            ns=namespace,
            label=cadence,
            target=target,
            batch=promised.batch.batch_id,
            cause=promised.cause.value,
            detail=promised.words,
            promise=told(promised.batch, promised.deadline, now),
        )


def _judged(
    batches: Sequence[Unfinished], deadline: timedelta, situation: Situation, now: float
) -> Iterator[Promised]:
    for batch in batches:
        state = standing(batch, deadline, now)
        if state is not Standing.OPEN:
            label, words = cause(batch, situation)
            yield Promised(batch, state, label, words, deadline)


def _situation(key: Key, snapshot: Snapshot, unreachable: Mapping[str, str]) -> Situation:
    """Return what the last list, and what was asked after it, say of a cadence and its target."""
    name, label, target = key
    memo, resting = snapshot.namespaces.get(name), snapshot.targets.get(target)
    failing = snapshot.failing.get(namespace_workflow_id(name)) or snapshot.failing.get(
        aggregator_workflow_id(target)
    )
    cadence = memo.cadences.get(label) if memo is not None else None
    paused = "by an operator" if memo is not None and label in memo.paused else ""
    if resting is not None and resting.paused is not None:
        paused = f"target: {resting.paused.reason}"
    held = resting.held if resting is not None else None
    return Situation(
        missing=name in snapshot.missing,
        failing=one_line(failing.cause) if failing is not None else "",
        paused=paused,
        held=one_line(held.message) if held is not None else "",
        endpoint=one_line(unreachable.get(target, "")),
        failures=cadence.failures if cadence is not None else 0,
    )


class PromiseMetrics:
    """Writes what the last look found, as a part of the page."""

    def __init__(self, prefix: str) -> None:
        """Begin every name with a prefix."""
        self.look = Look()
        self._prefix = prefix
        self._missed: dict[tuple[str, ...], int] = {}

    def looked(self, look: Look) -> None:
        """Take a look; counters exist before the first miss."""
        self.look = look
        if len(look.promises) <= WITH_ZEROS // 10:
            for key in look.promises:
                for why in Cause:
                    self._missed.setdefault((*key, why.value), 0)

    def missed(self, key: Key, why: Cause) -> None:
        """Count a missed deadline."""
        series = (*key, why.value)
        self._missed[series] = self._missed.get(series, 0) + 1

    def page(self) -> bytes:
        """Return this part of the page; each cadence with a deadline has one series at least, unless there are very many."""
        page, look = Page(self._prefix), self.look
        page.family(
            "deadline_missed_total",
            "counter",
            "Batches whose deadline passed before they were final, as this worker saw it, by cause.",
            _LABELS,
            dict(sorted(dict(self._missed).items())),
        )
        self._write_standing(
            page,
            Standing.MISSED,
            "deadline_overdue_batches",
            "Batches that are past their deadline now and not final, by cause.",
        )
        self._write_standing(
            page,
            Standing.AT_RISK,
            "deadline_at_risk_batches",
            "Batches that are not final after four fifths of their time, by cause.",
        )
        page.family(
            "finality_lag_seconds",
            "gauge",
            "How long ago the target's oldest batch was sealed that is anchored and not final; 0 if there is none.",
            ("target",),
            {(target,): seconds for target, seconds in sorted(look.lags.items())},
        )
        page.family(
            "owed_due_timestamp_seconds",
            "gauge",
            "Unix time by which the oldest owed batch should have an anchor: three periods after sealing, ten minutes at least.",
            _LABELS[:-1],
            dict(sorted(_longest_overdue(look))),
        )
        return page.content()

    def _write_standing(self, page: Page, state: Standing, name: str, text: str) -> None:
        """Write how many batches are at risk, or past their deadline, by cause."""
        promises = self.look.promises
        nothing = {NO_CAUSE: 0} if len(promises) <= WITH_ZEROS else {}
        rows: dict[tuple[str, ...], float] = {}
        for key, batches in sorted(promises.items()):
            causes = Counts(each.cause.value for each in batches if each.standing is state)
            rows |= {(*key, why): count for why, count in sorted(causes.items())} or {
                (*key, why): count for why, count in nothing.items()
            }
        page.family(name, "gauge", text, _LABELS, rows)


def _longest_overdue(look: Look) -> Iterable[tuple[Key, float]]:
    """Return by when what is owed is due; where there are many, of what is overdue the part that is so the longest."""
    if len(look.due) <= MANY_CADENCES:
        return look.due.items()
    overdue = ((at, key) for key, at in look.due.items() if at <= look.at)
    return ((key, at) for at, key in nsmallest(MOST_OVERDUE, overdue))
