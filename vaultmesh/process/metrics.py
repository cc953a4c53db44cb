"""Defines every metric of a worker, and puts its page together.

What belongs to one cadence or namespace is in `cadence_metrics`, what belongs to one target in `target_metrics`; what is
here belongs to the process.
"""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, JOB_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.status import NamespaceMemo, SlotOutcome, TargetMemo
from vaultmesh.domain.target import Target
from vaultmesh.process.cadence_metrics import CadenceMetrics, expected_memos
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.sdk_metrics import SdkMetrics
from vaultmesh.process.target_metrics import TargetMetrics
from vaultmesh.process.version import VERSION, build_id

DEFAULT_PREFIX = "scheduler"
BUILD_LABELS = ("version", "build")


class Metrics:
    """All metrics of one process; `prefix` is the first part of every name."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        """Define them under a prefix."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no annotation here
        self.registry = CollectorRegistry()
        self.prefix = prefix
        self.cadences = CadenceMetrics(prefix)
        self.targets = TargetMetrics(prefix)
        self.sdk = SdkMetrics()
        self._further: list[Callable[[], bytes]] = []
        self._specs: Mapping[str, NamespaceSpec] | None = None
        self._missing = self._gauge(
            "namespaces_missing",
            "Namespaces that this worker's namespaces.yaml names and that have no running workflow.",
        )
        self._failing = self._gauge(
            "workflows_failing",
            "Running workflows whose workflow task fails, so that they can't go on, by type.",
            "type",
        )
        self._refused = self._gauge(
            "config_file_refused",
            "1 while a configuration file is refused, and what it said before stays in use.",
            "file",
        )
        self._heard_of_temporal = self._gauge(
            "last_tick_timestamp_seconds",
            "Unix time at which this worker last proved that it talks to Temporal.",
        )
        self._task_errors = Counter(
            f"{prefix}_task_errors",
            "Errors that nobody foresaw, of tasks that run beside the workers, by task.",
            ("task",),
            registry=self.registry,
        )
        build = self._gauge("build_info", "1, for the version and build that run.", *BUILD_LABELS)
        build.labels(VERSION, build_id()).set(1)
        ProcessCollector(registry=self.registry)
        self.found_failing(())

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{self.prefix}_{name}", text, labels, registry=self.registry)

    def configured(self, specs: Mapping[str, NamespaceSpec]) -> None:
        """Take which namespaces should run: each has its series from now on."""
        if specs != self._specs:
            self._specs = dict(specs)
            self.cadences.expected = expected_memos(specs)
            self._know()

    def slots_ended(
        self, namespace: str, cadence: str, outcomes: Mapping[SlotOutcome, int]
    ) -> None:
        """Remember how a cadence's slots ended so far, as its workflow says."""
        self.cadences.hear(namespace, cadence, outcomes)

    def slots(self, namespace: str, cadence: str) -> Mapping[SlotOutcome, int]:
        """Return how a cadence's slots ended: what the memo or the workflow said, whichever counts more."""
        return self.cadences.slots(namespace, cadence)

    def listed(
        self,
        memos: Mapping[str, NamespaceMemo],
        missing: int = 0,
        targets: Mapping[str, TargetMemo] | None = None,
    ) -> None:
        """Take what a visibility list showed; what is gone is forgotten."""
        self.cadences.memos = memos
        self.targets.memos = targets or {}
        self._missing.set(missing)
        self._know()

    def _know(self) -> None:
        """Bring up to date who is known."""
        self.cadences.forget_others()
        self.targets.configured(self.cadences.targets())

    def counted(self, counts: Mapping[str, NamespaceCounts]) -> None:
        """Take what each namespace owes."""
        self.cadences.counts = counts

    def found_failing(self, types: Sequence[str]) -> None:
        """Take the type of each workflow that is failing now."""
        for name in (NAMESPACE_WORKFLOW, AGGREGATOR_WORKFLOW, JOB_WORKFLOW):
            self._failing.labels(name).set(types.count(name))

    def compared(self, drifting: Mapping[str, bool], refused: Mapping[str, bool]) -> None:
        """Take which namespaces of the file differ from what runs, and which files are refused."""
        self.cadences.drift = drifting
        for file, is_refused in refused.items():
            self._refused.labels(file).set(is_refused)

    def file_refused(self, file: str, *, is_refused: bool) -> None:
        """Take whether a configuration file is refused."""
        self._refused.labels(file).set(is_refused)

    def task_failed(self, task: str) -> None:
        """Count an error that nobody foresaw."""
        self._task_errors.labels(task).inc()

    def expects(self, task: str) -> None:
        """Show a task before it fails."""
        self._task_errors.labels(task)

    def found_unreadable(self, target: Target, rounds: int) -> None:
        """Take how many signed rounds of a target can't be read now."""
        self.targets.unreadable[str(target)] = rounds

    def failed(self, request: AnchorRequest, target: Target, kind: FailureKind) -> None:
        """Count a try that failed.

        The kind has a counter of its own: alerts divide failed by attempted requests, and both need the same labels.
        """
        self.cadences.ended(request, target, succeeded=False)
        self.targets.failed(target, kind)

    def ended(self, request: AnchorRequest, target: Target, outcome: AnchorOutcome) -> None:
        """Count an answer, if it is an anchor."""
        if outcome.status is OutcomeStatus.ANCHORED:
            self.cadences.ended(request, target, succeeded=True)

    def talked_to_temporal(self, at: float) -> None:
        """Remember when Temporal last answered."""
        self._heard_of_temporal.set(at)

    def page(self) -> bytes:
        """Return the page in Prometheus's text format. Takes some time where there are many cadences; for a thread."""
        own = (generate_latest(self.registry), self.cadences.page(), self.targets.page())
        further = (page() for page in self._further)
        return b"".join((*own, *further, self.sdk.page(self.prefix)))

    def add(self, page: Callable[[], bytes]) -> None:
        """Add a part to the page, of metrics that no other part has."""
        self._further.append(page)
