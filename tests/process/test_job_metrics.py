"""Metrics of jobs: names that alerts rely on, nothing of jobs that are gone, and never a zero because a store is away."""

import asyncio
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from devnet.promtool import promtool
from tests.docs.readme import REPOSITORY
from tests.ops.alert_scenarios import WELL, WORKER, rules
from vaultmesh.domain.jobs.figures import Histogram, JobFigures
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.jobs.slots import SlotOutcome
from vaultmesh.process.job_metrics import JobMetrics
from vaultmesh.process.metrics import Metrics

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
OF_JOBS = {
    "job_runs": ("counter", {"job", "outcome"}),
    "job_slots": ("counter", {"job", "outcome"}),
    "job_duration_seconds": ("histogram", {"job"}),
    "job_lag_seconds": ("histogram", {"job"}),
    "job_enabled": ("gauge", {"job"}),
    "job_paused": ("gauge", {"job"}),
    "job_consecutive_failures": ("gauge", {"job"}),
    "job_last_success_timestamp_seconds": ("gauge", {"job"}),
    "job_last_duration_seconds": ("gauge", {"job"}),
    "job_median_duration_seconds": ("gauge", {"job"}),
    "job_running_since_timestamp_seconds": ("gauge", {"job"}),
    "job_catch_up_seconds": ("gauge", {"job"}),
    "job_due_timestamp_seconds": ("gauge", {"job"}),
    "job_success_due_timestamp_seconds": ("gauge", {"job"}),
}
OF_WORKERS = {
    "job_store_up": ("gauge", set[str]()),
    "jobs_read_timestamp_seconds": ("gauge", set[str]()),
    "jobs_not_in_agreement": ("gauge", set[str]()),
    "job_reconciler_last_success_timestamp_seconds": ("gauge", set[str]()),
}


class Store:
    """What a store says of jobs, or why it does not answer."""

    def __init__(self, *jobs: JobFigures) -> None:
        self.jobs: Sequence[JobFigures] = jobs
        self.asked = 0
        self.is_away = False

    async def figures(self) -> Sequence[JobFigures]:
        self.asked += 1
        if self.is_away:
            message = "no answer"
            raise StoreError(message, StoreErrorKind.DOWN)
        return self.jobs


def job(name: str = "digest") -> JobFigures:
    """Return a job of which everything is known."""
    return JobFigures(
        name=name,
        completed=7,
        failed=2,
        slots={SlotOutcome.RUN: 8, SlotOutcome.MISSED: 1, SlotOutcome.SKIPPED: 0},
        durations=Histogram({0.1: 1, 5.0: 2, float("inf"): 1}, 4_010.5),
        lags=Histogram({0.25: 8}, 1.5),
        is_enabled=True,
        is_paused=False,
        consecutive_failures=1,
        last_success=NOON,
        last_duration=timedelta(seconds=1.5),
        median_duration=timedelta(seconds=2),
        running_since=NOON + HOUR,
        catch_up=timedelta(minutes=1),
        due=NOON + 2 * HOUR,
        success_due=NOON + 3 * HOUR,
    )


def new_job(name: str = "new") -> JobFigures:
    """Return a job that was registered and disabled, and never ran."""
    nothing = Histogram()
    return JobFigures(
        name, 0, 0, dict.fromkeys(SlotOutcome, 0), nothing, nothing, False, False, 0,
        None, None, None, None, None, None, None,
    )  # fmt: skip


async def read(*jobs: JobFigures, prefix: str = "scheduler") -> tuple[Metrics, Store, JobMetrics]:
    """Return a page that has read some jobs."""
    metrics, store = Metrics(prefix), Store(*jobs)
    of_jobs = JobMetrics(metrics, store.figures, reconciles=True)
    await of_jobs.once()
    return metrics, store, of_jobs


def families(metrics: Metrics) -> dict[str, Metric]:
    return {each.name: each for each in text_string_to_metric_families(metrics.page().decode())}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    shown = [
        sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == f"scheduler_{name}" and sample.labels == labels
    ]
    return shown[0] if shown else None


def judged(page: bytes) -> subprocess.CompletedProcess[bytes]:
    """Return what promtool says of a page."""
    command = [str(promtool()), "check", "metrics"]
    return subprocess.run(command, input=page, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("prefix", ["scheduler", "vmsh"])
async def test_names_types_and_labels_are_the_documented_ones(prefix: str) -> None:
    metrics, _, _ = await read(job(), prefix=prefix)
    shown = {
        name.removeprefix(f"{prefix}_"): (
            family.type,
            set().union(*(sample.labels for sample in family.samples)) - {"le"},
        )
        for name, family in families(metrics).items()
        if "_job" in name
    }
    assert shown == OF_JOBS | OF_WORKERS
    assert all(family.documentation.endswith(".") for family in families(metrics).values())


async def test_alerts_ask_for_metrics_that_there_are() -> None:
    assert WELL.keys() <= OF_JOBS.keys()
    assert WORKER.keys() == OF_WORKERS.keys()
    known = {f"scheduler_{name}" for name in (*OF_JOBS, *OF_WORKERS)}
    for rule in rules().values():
        words = set(rule["expr"].replace("(", " ").replace(")", " ").replace("[", " ").split())
        asked = {word for word in words if word.startswith("scheduler_")}
        assert asked
        assert asked <= known


def test_each_metric_is_listed_for_operators() -> None:
    listed = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    for name, (kind, _) in (OF_JOBS | OF_WORKERS).items():
        assert f"`scheduler_{name}{'_total' if kind == 'counter' else ''}`" in listed


async def test_promtool_accepts_the_page() -> None:
    metrics, _, _ = await read(job(), new_job())
    checked = await asyncio.to_thread(judged, metrics.page())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_values_are_those_of_the_store() -> None:
    metrics, _, _ = await read(job())
    assert value(metrics, "job_runs_total", job="digest", outcome="completed") == 7
    assert value(metrics, "job_runs_total", job="digest", outcome="failed") == 2
    assert value(metrics, "job_slots_total", job="digest", outcome="run") == 8
    assert value(metrics, "job_slots_total", job="digest", outcome="missed") == 1
    assert value(metrics, "job_duration_seconds_bucket", job="digest", le="0.1") == 1
    assert value(metrics, "job_duration_seconds_bucket", job="digest", le="5.0") == 3
    assert value(metrics, "job_duration_seconds_count", job="digest") == 4
    assert value(metrics, "job_duration_seconds_sum", job="digest") == 4_010.5
    assert value(metrics, "job_lag_seconds_count", job="digest") == 8
    assert value(metrics, "job_due_timestamp_seconds", job="digest") == NOON.timestamp() + 7_200
    assert value(metrics, "job_median_duration_seconds", job="digest") == 2


async def test_a_job_that_never_ran_has_all_its_counters_at_zero_and_nothing_is_due() -> None:
    metrics, _, _ = await read(new_job())
    for outcome in ("completed", "failed"):
        assert value(metrics, "job_runs_total", job="new", outcome=outcome) == 0
    for slot in SlotOutcome:
        assert value(metrics, "job_slots_total", job="new", outcome=slot) == 0
    for name in ("job_duration_seconds_count", "job_lag_seconds_sum", "job_enabled"):
        assert value(metrics, name, job="new") == 0
    assert value(metrics, "job_last_success_timestamp_seconds", job="new") == 0
    for name in ("job_due_timestamp_seconds", "job_median_duration_seconds"):
        assert value(metrics, name, job="new") is None


async def test_a_job_that_is_gone_has_no_series() -> None:
    metrics, store, of_jobs = await read(job(), new_job())
    store.jobs = [job()]
    await of_jobs.once()
    page = metrics.page().decode()
    assert 'job="digest"' in page
    assert 'job="new"' not in page


async def test_a_store_that_is_away_leaves_what_was_read_last_and_says_so() -> None:
    """The harm: counters that fall to zero look like a restart, and jobs that vanish like deleted ones."""
    before = time.time()
    metrics, store, of_jobs = await read(job())
    shown = value(metrics, "job_runs_total", job="digest", outcome="completed")
    read_at = value(metrics, "jobs_read_timestamp_seconds")
    assert value(metrics, "job_store_up") == 1
    assert read_at is not None
    assert read_at >= before
    store.is_away = True
    await of_jobs.once()
    assert value(metrics, "job_store_up") == 0
    assert value(metrics, "jobs_read_timestamp_seconds") == read_at
    assert value(metrics, "job_runs_total", job="digest", outcome="completed") == shown
    store.is_away = False
    await of_jobs.once()
    assert value(metrics, "job_store_up") == 1


async def test_a_store_that_never_answered_shows_no_job() -> None:
    metrics, store = Metrics(), Store(job())
    store.is_away = True
    of_jobs = JobMetrics(metrics, store.figures, reconciles=False)
    await of_jobs.once()
    assert value(metrics, "job_store_up") == 0
    assert "digest" not in metrics.page().decode()
    # This worker reconciles nothing: it says nothing about that.
    assert value(metrics, "jobs_not_in_agreement") is None


async def test_whoever_asks_for_the_page_asks_no_database() -> None:
    metrics, store, _ = await read(job())
    for _ in range(3):
        metrics.page()
    assert store.asked == 1


async def test_the_reconciler_shows_its_age_from_the_start_on() -> None:
    before = time.time()
    metrics, _, of_jobs = await read()
    started = value(metrics, "job_reconciler_last_success_timestamp_seconds")
    assert started is not None
    assert started >= before
    of_jobs.reconciled(4)
    later = value(metrics, "job_reconciler_last_success_timestamp_seconds")
    assert later is not None
    assert later >= started
    assert value(metrics, "jobs_not_in_agreement") == 4
