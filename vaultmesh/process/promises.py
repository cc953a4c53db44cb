"""Watches what cadences promise: a batch that will miss or missed its deadline is counted, logged once, and shown with its cause.

1. All is read from files and from the last visibility list, so it is right after a restart, also while every workflow stands.
2. The time that one look takes is followed by a rest twenty times as long: a large storage is looked at less often.
"""

import asyncio
import logging
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.promises import Cause, Situation, Standing, Unfinished, cause, standing, told
from vaultmesh.domain.target import Target
from vaultmesh.process.failing import one_line
from vaultmesh.process.visibility import Snapshot

TASK = "promises"
PERIOD_SECONDS = 15.0
REST_FACTOR = 20
WITH_ZEROS = 500
"""Up to so many cadences with a deadline, what is 0 has a series, too; counters of each cause up to a tenth."""
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


class PromiseMetrics(Collector):
    """Shows what the last look found."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        """Join the page of a process."""
        self.look = Look()
        self._prefix = prefix
        self._missed = Counter(
            f"{prefix}_deadline_missed",
            "Batches whose deadline passed before they were final, as this worker saw it, by cause.",
            _LABELS,
            registry=registry,
        )
        registry.register(self)

    def looked(self, look: Look) -> None:
        """Take a look; counters exist before the first miss."""
        self.look = look
        if len(look.promises) <= WITH_ZEROS // 10:
            for key in look.promises:
                for why in Cause:
                    self._missed.labels(*key, why.value)

    def missed(self, key: Key, why: Cause) -> None:
        """Count a missed deadline."""
        self._missed.labels(*key, why.value).inc()

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the series; each cadence with a deadline has one at least, unless there are very many."""
        families = {
            Standing.MISSED: GaugeMetricFamily(
                f"{self._prefix}_deadline_overdue_batches",
                "Batches that are past their deadline now and not final, by cause.",
                labels=_LABELS,
            ),
            Standing.AT_RISK: GaugeMetricFamily(
                f"{self._prefix}_deadline_at_risk_batches",
                "Batches that are not final after four fifths of their time, by cause.",
                labels=_LABELS,
            ),
        }
        nothing = [(NO_CAUSE, 0)] if len(self.look.promises) <= WITH_ZEROS else []
        for key, promises in sorted(self.look.promises.items()):
            for state, family in families.items():
                causes = Counts(each.cause.value for each in promises if each.standing is state)
                for why, count in sorted(causes.items()) or nothing:
                    family.add_metric((*key, why), count)
        yield from families.values()
        lag = GaugeMetricFamily(
            f"{self._prefix}_finality_lag_seconds",
            "How long ago the target's oldest batch was sealed that is anchored and not final; 0 if there is none.",
            labels=("target",),
        )
        for target, seconds in sorted(self.look.lags.items()):
            lag.add_metric((target,), seconds)
        yield lag
