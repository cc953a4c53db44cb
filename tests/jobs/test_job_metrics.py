"""Workers show jobs that really run: an ok one, a failing one and a slow one, as SQL counts them and both workers alike."""

import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devnet.ports import LOOPBACK, free_port
from devnet.promtool import promtool
from devnet.sample_service import FAILS, SLOW, WAIT_KEY, WORKS, SampleService
from tests.jobs.job_system import JobSystem, kill

pytestmark = [pytest.mark.server, pytest.mark.timeout(700)]

OK, FAILING, SLOWLY, GONE = "ok", "failing", "slow", "gone"
SERVICE = "sample-service"
Labels = frozenset[tuple[str, str]]
Page = Mapping[tuple[str, Labels], float]


class Watched:
    """A system with two workers, and their pages."""

    def __init__(self, folder: Path) -> None:
        self.system = JobSystem(folder)
        self.service = SampleService()
        self.ports = (free_port(), free_port())

    def start(self) -> None:
        self.service.start()
        for roles, port in zip(("workflows,jobs,api", "jobs"), self.ports, strict=True):
            settings = {"METRICS_PORT": str(port), "SAMPLE_SERVICE_URL": self.service.url}
            self.system.start_worker(roles, environment=settings)

    def text(self, worker: int) -> bytes:
        url = f"http://{LOOPBACK}:{self.ports[worker]}/metrics"
        with urllib.request.urlopen(url, timeout=40) as answer:
            return bytes(answer.read())

    def page(self, worker: int) -> Page:
        """Return a worker's samples by name and labels."""
        return {
            (sample.name.removeprefix("scheduler_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text(worker).decode())
            for sample in family.samples
        }

    def of_job(self, worker: int, name: str) -> Page:
        """Return what a worker shows of a job; what is under way while it looked is left out."""
        return {
            key: value
            for key, value in self.page(worker).items()
            if ("job", name) in key[1] and not key[0].startswith("job_running_since")
        }

    def value(self, worker: int, metric: str, **labels: str) -> float | None:
        return self.page(worker).get((metric, frozenset(labels.items())))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Jobs that ran for some seconds, and run no more."""
    watched = Watched(tmp_path_factory.mktemp("metrics"))
    with watched.system as system:
        watched.start()
        jobs = {OK: WORKS, FAILING: FAILS, SLOWLY: SLOW, GONE: WORKS}
        for name, endpoint in jobs.items():
            config = {WAIT_KEY: 2} if name == SLOWLY else {}
            system.register(name, service=SERVICE, endpoint=endpoint, config=config)
        names = list(jobs)
        system.wait(
            lambda: all(len(system.books.runs(name)) >= 3 for name in names), "three runs of each"
        )
        system.settle(*(name for name in names if name != FAILING))
        system.signal(FAILING, "pause", "the test ends")
        system.wait(lambda: not system.books.open_runs(FAILING), "the end of the last run")
        yield watched
    watched.service.close()


def counted(system: JobSystem, name: str) -> dict[str, int]:
    """Return how a job's runs ended, by its rows."""
    return dict(Counter(str(row["status"]) for row in system.books.runs(name)))


def settled(watched: Watched, worker: int, name: str) -> bool:
    """Whether a worker shows as many runs as there are rows."""
    shown = {
        outcome: watched.value(worker, "job_runs_total", job=name, outcome=outcome)
        for outcome in ("completed", "failed")
    }
    rows = counted(watched.system, name)
    return shown == {outcome: rows.get(outcome, 0) for outcome in shown}


def test_metrics_equal_the_rows_and_both_workers_agree(watched: Watched) -> None:
    system = watched.system
    for name in (OK, FAILING, SLOWLY):
        for worker in range(2):
            system.wait(lambda w=worker, n=name: settled(watched, w, n), f"all runs of {name}")
        runs = system.books.runs(name)
        of_slots = [run for run in runs if run["triggered_by"] == "scheduler"]
        decisions = system.books.decisions(name)
        slots = {
            "run": len(of_slots),
            "missed": decisions["missed"],
            "skipped": decisions["skipped"],
        }
        for outcome, count in slots.items():
            assert watched.value(0, "job_slots_total", job=name, outcome=outcome) == count
        assert watched.value(0, "job_duration_seconds_count", job=name) == len(runs)
        assert watched.value(0, "job_lag_seconds_count", job=name) == len(of_slots)
        taken = sum(run["duration_ms"] for run in runs) / 1_000
        shown = watched.value(0, "job_duration_seconds_sum", job=name)
        assert shown == pytest.approx(taken, abs=0.001 * len(runs))
        assert watched.of_job(0, name) == watched.of_job(1, name)
    failures = counted(system, FAILING)["failed"]
    assert watched.value(0, "job_consecutive_failures", job=FAILING) == failures
    assert watched.value(0, "job_last_success_timestamp_seconds", job=FAILING) == 0
    last = watched.value(0, "job_last_duration_seconds", job=SLOWLY)
    assert last is not None
    assert last >= 2


def test_promtool_accepts_the_page_of_a_worker(watched: Watched) -> None:
    checked = subprocess.run(
        [str(promtool()), "check", "metrics"],
        input=watched.text(0),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_deleted_job_vanishes_and_the_reconciler_shows_its_age(watched: Watched) -> None:
    assert watched.value(0, "job_enabled", job=GONE) == 1
    assert watched.value(0, "job_paused", job=GONE) == 1
    status, _ = watched.system.ask("DELETE", f"/api/jobs/{GONE}")
    assert status == 200
    for worker in range(2):
        watched.system.wait(
            lambda w=worker: not watched.of_job(w, GONE), f"the end of {GONE}'s series"
        )
        assert watched.value(worker, "job_store_up") == 1
        assert watched.value(worker, "jobs_not_in_agreement") == 0
        seen = watched.value(worker, "job_reconciler_last_success_timestamp_seconds")
        assert seen is not None
        assert time.time() - seen < 120


def test_a_worker_that_starts_anew_shows_the_same_and_a_workflow_that_hears_nothing_is_counted(
    watched: Watched,
) -> None:
    """The harm: counters that begin anew with a worker look like a fall; and a decision that reaches nobody is not seen."""
    before, port = watched.of_job(0, FAILING), free_port()
    watched.ports = (watched.ports[0], port)
    settings = {"METRICS_PORT": str(port), "SAMPLE_SERVICE_URL": watched.service.url}
    system = watched.system
    system.start_worker("jobs,api", environment=settings)
    system.wait(lambda: watched.of_job(1, FAILING) == before, "the same series")
    kill(system.workers[0])  # the only one with the role workflows
    status, _ = system.ask("PUT", f"/api/jobs/{OK}/cron", {"cronExpression": "0 4 * * *"})
    assert status == 200
    system.wait(
        lambda: watched.value(1, "jobs_not_in_agreement") == 1, "a workflow that hears nothing"
    )
