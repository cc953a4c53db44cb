"""Defines every metric: name, labels, help, and when it changes.

Counters of attempts change in activities, which run once; everything about slots and backoff is read from the memos of
the namespaces' workflows, so that no replica shows what another one has moved on from. A slot without an anchor changes
no memo, or only each few: what the next `anchor` brings of such slots is shown by the worker that runs it, if it is more than the memo says.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.domain.status import NamespaceMemo, SlotOutcome, TargetMemo
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import NamespaceCounts

DEFAULT_PREFIX = "scheduler"
BUCKETS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 21_600)
"""Seconds: an anchor takes from a second (a fast chain) to hours (Bitcoin)."""
HIGHEST_LEVEL = 7
"""Backoff levels above it are shown as it."""
_LABELS = ("namespace", "cadence", "target")


@dataclass(frozen=True, slots=True)
class _Anchors:
    """Metrics that change in activities."""

    attempted: Counter
    succeeded: Counter
    failed: Counter
    failures: Counter
    duration: Histogram
    heard_of_temporal: Gauge


class Metrics:
    """All metrics of one process; `prefix` is the first part of every name."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        """Define them under a prefix."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no annotation here
        self.registry = CollectorRegistry()
        self.prefix = prefix
        self._further: list[Callable[[], bytes]] = []
        self.memos: Mapping[str, NamespaceMemo] = {}
        """By namespace, as the last visibility list showed them."""
        self.targets: Mapping[str, TargetMemo] = {}
        """By target, likewise."""
        self.counts: Mapping[str, NamespaceCounts] = {}
        """By namespace, as counted last from files."""
        self._slots: dict[tuple[str, str], Mapping[SlotOutcome, int]] = {}
        self._missing = Gauge(
            f"{prefix}_namespaces_missing",
            "Namespaces that this worker's namespaces.yaml names and that have no running workflow.",
            registry=self.registry,
        )
        self._failing = Gauge(
            f"{prefix}_workflows_failing",
            "Running workflows whose workflow task fails, so that they can't go on, by type.",
            ("type",),
            registry=self.registry,
        )
        self._unreadable = Gauge(
            f"{prefix}_unreadable_rounds",
            "Signed rounds in out/rounds that can't be read: restore them, or decide with resolve.",
            ("target",),
            registry=self.registry,
        )
        self._task_errors = Counter(
            f"{prefix}_task_errors",
            "Errors that nobody foresaw, of tasks that run beside the workers, by task.",
            ("task",),
            registry=self.registry,
        )
        self._drift, self._refused = self._file_metrics()
        self.found_failing(())
        self._anchors = self._anchor_metrics()
        self.registry.register(_FromMemos(self, prefix))

    def _file_metrics(self) -> tuple[Gauge, Gauge]:
        drift = Gauge(
            f"{self.prefix}_config_drift",
            "1 where what runs differs from this worker's namespaces.yaml; stopped namespaces are left out.",
            ("namespace",),
            registry=self.registry,
        )
        refused = Gauge(
            f"{self.prefix}_config_file_refused",
            "1 while a configuration file is refused, and what it said before stays in use.",
            ("file",),
            registry=self.registry,
        )
        return drift, refused

    def _anchor_metrics(self) -> _Anchors:
        def counter(name: str, text: str, labels: Iterable[str]) -> Counter:
            return Counter(f"{self.prefix}_{name}", text, tuple(labels), registry=self.registry)

        return _Anchors(
            attempted=counter(
                "anchors_attempted", "Anchor requests sent to a target's aggregator.", _LABELS
            ),
            succeeded=counter(
                "anchors_succeeded", "Anchor requests answered with an included anchor.", _LABELS
            ),
            failed=counter("anchors_failed", "Failures reported to anchor requests.", _LABELS),
            failures=counter(
                "anchor_failures",
                "Failures reported to anchor requests, by kind.",
                (*_LABELS, "kind"),
            ),
            duration=Histogram(
                f"{self.prefix}_anchor_duration_seconds",
                "Time from an anchor's slot to its answer.",
                (*_LABELS, "status"),
                registry=self.registry,
                buckets=BUCKETS,
            ),
            heard_of_temporal=Gauge(
                f"{self.prefix}_last_tick_timestamp_seconds",
                "Unix time at which this worker last proved that it talks to Temporal.",
                registry=self.registry,
            ),
        )

    def slots_ended(
        self, namespace: str, cadence: str, outcomes: Mapping[SlotOutcome, int]
    ) -> None:
        """Remember how a cadence's slots ended so far, as its workflow says."""
        self._slots[namespace, cadence] = outcomes

    def slots(self, namespace: str, cadence: str) -> Mapping[SlotOutcome, int]:
        """Return how a cadence's slots ended: what the memo or the workflow said, whichever counts more."""
        memo = self.memos[namespace].cadences[cadence].outcomes
        heard = self._slots.get((namespace, cadence), {})
        return max(memo, heard, key=lambda outcomes: sum(outcomes.values()))

    def listed(
        self,
        memos: Mapping[str, NamespaceMemo],
        missing: int = 0,
        targets: Mapping[str, TargetMemo] | None = None,
    ) -> None:
        """Take what a visibility list showed; what is gone is forgotten."""
        self.memos = memos
        self.targets = targets or {}
        self._missing.set(missing)
        self._slots = {key: heard for key, heard in self._slots.items() if key[0] in memos}

    def counted(self, counts: Mapping[str, NamespaceCounts]) -> None:
        """Take what each namespace owes."""
        self.counts = counts

    def found_failing(self, types: Sequence[str]) -> None:
        """Take the type of each workflow that is failing now."""
        for name in (NAMESPACE_WORKFLOW, AGGREGATOR_WORKFLOW):
            self._failing.labels(name).set(types.count(name))

    def compared(self, drifting: Mapping[str, bool], refused: Mapping[str, bool]) -> None:
        """Take which namespaces of the file differ from what runs, and which files are refused."""
        self._drift.clear()
        for name, is_drifting in drifting.items():
            self._drift.labels(name).set(is_drifting)
        for file, is_refused in refused.items():
            self._refused.labels(file).set(is_refused)

    def file_refused(self, file: str, *, is_refused: bool) -> None:
        """Take whether a configuration file is refused."""
        self._refused.labels(file).set(is_refused)

    def task_failed(self, task: str) -> None:
        """Count an error that nobody foresaw."""
        self._task_errors.labels(task).inc()

    def found_unreadable(self, target: Target, rounds: int) -> None:
        """Take how many signed rounds of a target can't be read now."""
        self._unreadable.labels(str(target)).set(rounds)

    def attempted(self, request: AnchorRequest, target: Target) -> None:
        """Count a request that is sent for the first time."""
        self._anchors.attempted.labels(*_values(request, target)).inc()

    def failed(self, request: AnchorRequest, target: Target, kind: FailureKind) -> None:
        """Count a reported failure.

        The kind has a counter of its own: alerts divide failed by attempted requests, and both need the same labels.
        """
        self._anchors.failed.labels(*_values(request, target)).inc()
        self._anchors.failures.labels(*_values(request, target), kind.value).inc()
        self._observe(request, target, "failure")

    def ended(self, request: AnchorRequest, target: Target, outcome: AnchorOutcome) -> None:
        """Count an answer."""
        if outcome.status is OutcomeStatus.ANCHORED:
            self._anchors.succeeded.labels(*_values(request, target)).inc()
            self._observe(request, target, "success")

    def _observe(self, request: AnchorRequest, target: Target, status: str) -> None:
        since = request.slot.lstrip("rf")
        if since.isdecimal():
            seconds = max(0.0, time.time() - int(since))
            self._anchors.duration.labels(*_values(request, target), status).observe(seconds)

    def talked_to_temporal(self, at: float) -> None:
        """Remember when Temporal last answered."""
        self._anchors.heard_of_temporal.set(at)

    def page(self) -> bytes:
        """Return the page in Prometheus's text format."""
        further = (page() for page in self._further)
        return b"".join((generate_latest(self.registry), *further))

    def add(self, page: Callable[[], bytes]) -> None:
        """Add a part to the page, of metrics that no other part has."""
        self._further.append(page)


class _FromMemos(Collector):
    """Slots and backoff of every namespace, from the last visibility list."""

    def __init__(self, metrics: Metrics, prefix: str) -> None:
        self._metrics = metrics
        self._prefix = prefix

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the series."""
        slots = CounterMetricFamily(
            f"{self._prefix}_slots",
            "Due slots by outcome.",
            labels=("namespace", "cadence", "outcome"),
        )
        backoff = GaugeMetricFamily(
            f"{self._prefix}_backoff_state",
            "Highest backoff level, 0 to 7, over the namespace's cadences.",
            labels=("namespace",),
        )
        last = GaugeMetricFamily(
            f"{self._prefix}_last_anchor_timestamp_seconds",
            "Unix time of a cadence's last successful anchor.",
            labels=("namespace", "cadence"),
        )
        for name, memo in sorted(self._metrics.memos.items()):
            level = max((cadence.failures for cadence in memo.cadences.values()), default=0)
            backoff.add_metric((name,), min(level, HIGHEST_LEVEL))
            for label, cadence in memo.cadences.items():
                if cadence.last_anchor is not None:
                    last.add_metric((name, label), cadence.last_anchor)
                for outcome, count in self._metrics.slots(name, label).items():
                    slots.add_metric((name, label, outcome.value), count)
        held = GaugeMetricFamily(
            f"{self._prefix}_target_held",
            "1 for each target that is held, by the kind of failure that holds it.",
            labels=("target", "cause"),
        )
        for target, resting in sorted(self._metrics.targets.items()):
            if resting.held is not None:
                held.add_metric((target, resting.held.kind.value), 1)
        yield from (slots, backoff, last, held, *self._owed())

    def _owed(self) -> Iterator[Metric]:
        """Yield what is owed; of what could not be counted there is no series."""
        owed = GaugeMetricFamily(
            f"{self._prefix}_owed_batches",
            "Batches without an anchor on the cadence's target, counted from files.",
            labels=_LABELS,
        )
        oldest = GaugeMetricFamily(
            f"{self._prefix}_oldest_owed_timestamp_seconds",
            "Unix time at which the oldest of a cadence's owed batches was sealed.",
            labels=_LABELS,
        )
        for name, counts in sorted(self._metrics.counts.items()):
            memo = self._metrics.memos.get(name)
            for label, cadence in memo.cadences.items() if memo else ():
                labels = (name, label, cadence.target)
                batches = counts.unanchored.get(label)
                if batches is not None:
                    owed.add_metric(labels, batches)
                if label in counts.oldest:
                    oldest.add_metric(labels, counts.oldest[label])
        yield from (owed, oldest)


def _values(request: AnchorRequest, target: Target) -> tuple[str, str, str]:
    return request.namespace, request.cadence, str(target)
