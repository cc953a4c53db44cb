"""A real Prometheus and Alertmanager watch a real system: each cause is made on real parts, its alert fires, and no other.

`for` is scaled down by the generator of rules, so that a day is 24 s; expressions are as they are. The tests follow each
other on one system, and what lasts stays in what the next one expects.
"""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.local_system import write_whole
from devnet.prometheus import Alertmanager, Prometheus
from devnet.sample_service import WORKS, SampleService
from docs.alert_rules import ANCHOR_RULES, JOB_RULES, adapted
from docs.dashboard_picture import main as print_picture
from docs.dashboard_picture import substituted
from docs.dashboards import DASHBOARDS, MAINTENANCE, OVERVIEW, Dashboard
from tests.ops.anchor_scenarios import rules
from tests.support.evm_system import TARGET, EvmSystem
from tests.support.marks import FAULTS
from tests.support.system import batch_document
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.names import namespace_workflow_id

pytestmark = [*FAULTS, pytest.mark.slow, pytest.mark.timeout(400)]

TIMES = 1 / 3_600
PLAIN, DEEP, PAUSED = "dao:plain", "dao:deep", "dao:paused"
FAST = {"target": TARGET, "every": "2s", "confirmations": 2}
FEW_ANCHORS_WEI = 20 * 60_000 * 2 * 10**9
"""Pays for fewer than 50 anchors at any bid that anvil's fees lead to, and for one at least."""
FIRES_SECONDS = 150.0
"""Lists, looks at promises and probes come each 5 to 15 s, a worker starts in 10; a busy machine takes its time."""
Alert = tuple[str, str]


class Watched:
    """A system, and what watches it."""

    def __init__(self, folder: Path) -> None:
        self.system = EvmSystem(folder, database=False)
        namespaces = {
            PLAIN: {"cadence": {"fast": FAST}},
            PAUSED: {"cadence": {"fast": FAST}},
            DEEP: {"cadence": {"fast": {**FAST, "confirmations": 5_000, "deadline": "6s"}}},
        }
        self.namespaces = self.system.root / "vmsh/config/namespaces.yaml"
        write_whole(self.namespaces, json.dumps({"namespaces": namespaces}))
        self.alertmanager = Alertmanager(folder / "monitoring")
        places = [self._scaled(folder, source) for source in (ANCHOR_RULES, JOB_RULES)]
        self.prometheus = Prometheus(folder / "monitoring", places, self.alertmanager)
        self.service = SampleService()
        self.pages: dict[str, str] = {}
        self._ids = int(time.time())

    @staticmethod
    def _scaled(folder: Path, source: Path) -> Path:
        text = re.sub(
            r"^ +interval: .*\n", "", adapted(source.read_text(), times=TIMES), flags=re.MULTILINE
        )
        place = folder / source.name
        place.write_text(text)
        return place

    def register_job(self) -> None:
        """Have a service register a job that runs each four seconds."""
        body = {
            "name": "sample", "displayName": "Sample", "description": "Works", "cronExpression": "*/4 * * * * *",
            "enabled": True, "jobType": "other", "service": "sample-service", "endpoint": WORKS, "config": {},
        }  # fmt: skip
        file = self.system.folder / "job.json"
        file.write_text(json.dumps(body))
        registered = self.system.command("jobs", "register", str(file))
        assert registered.returncode == 0, registered.stderr

    def start_worker(self) -> WorkerProcess:
        """Start a worker whose page is scraped."""
        worker = self.system.start_worker()
        self.pages[worker.name] = worker.url.removeprefix("http://")
        self.prometheus.scrape(self.pages)
        return worker

    def seal(self, namespace: str) -> str:
        """Seal a batch now."""
        self._ids += 1
        write_whole(
            self.system.batch_file(str(self._ids)), batch_document(str(self._ids), namespace)
        )
        return str(self._ids)

    def firing(self) -> set[Alert]:
        """Return each alert with whom it is about, as Alertmanager has them."""
        alerts = [alert["labels"] for alert in self.alertmanager.firing()]
        return {(labels["alertname"], _subject(labels)) for labels in alerts}

    def expect(self, *alerts: Alert) -> None:
        """Wait until exactly these fire."""
        wanted = set(alerts)
        try:
            self.system.wait(lambda: self.firing() == wanted, "the alerts", FIRES_SECONDS)
        except AssertionError:
            firing = self.firing()
            missing, other = wanted - firing, firing - wanted
            raise AssertionError(f"not firing: {missing}; firing beside: {other}") from None


def _subject(labels: dict[str, str]) -> str:
    keys = ("file", "namespace", "target", "pod", "job")
    return next((labels[key] for key in keys if labels.get(key)), "")


LATE, ONE_PAUSED = ("SchedulerDeadlineMissed", DEEP), ("SchedulerPausedTooLong", PAUSED)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    watched = Watched(tmp_path_factory.mktemp("live-alerts"))
    with watched.system as system:
        try:
            watched.service.start()
            roles = ("--roles", "workflows,anchors,jobs")
            worker = system.start_worker(*roles, SAMPLE_SERVICE_URL=watched.service.url)
            watched.register_job()
            names = (PLAIN, DEEP, PAUSED)
            system.wait(lambda: all(system.status(name) for name in names), "every namespace")
            watched.alertmanager.start()
            watched.prometheus.start()
            watched.pages[worker.name] = worker.url.removeprefix("http://")
            watched.prometheus.scrape(watched.pages)
            yield watched
        finally:
            watched.prometheus.kill()
            watched.alertmanager.kill()
            watched.service.close()


def test_nothing_fires_while_batches_become_final(watched: Watched) -> None:
    watched.system.wait_final(PLAIN, watched.seal(PLAIN))
    succeeded = f'scheduler_anchors_succeeded_total{{namespace="{PLAIN}"}} > 0'
    watched.system.wait(lambda: watched.prometheus.query(succeeded), "a scrape of it")
    time.sleep(2)  # two evaluations: what fires at once would
    assert watched.firing() == set()


def test_a_pause_a_missed_deadline_and_a_refused_file_fire_and_the_file_s_ends(
    watched: Watched,
) -> None:
    watched.system.signal(namespace_workflow_id(PAUSED), "pause", "a test")
    watched.seal(DEEP)
    content = watched.namespaces.read_text()
    write_whole(watched.namespaces, content.replace("2s", "2 parsecs"))
    watched.expect(ONE_PAUSED, LATE, ("SchedulerConfigFileRefused", "namespaces.yaml"))
    write_whole(watched.namespaces, content)
    watched.expect(ONE_PAUSED, LATE)


def test_every_series_of_the_rules_is_on_a_worker_s_page(watched: Watched) -> None:
    """The harm: an alert over a metric that nobody exports never fires, as one of the earlier scheduler's."""
    text = json.dumps([rule["expr"] for rule in rules().values()])
    named = set(re.findall(r"\bscheduler_\w+", text)) - NOT_YET
    names = watched.prometheus.query('group by (__name__) ({job="scheduler"})')
    assert named - {series["metric"]["__name__"] for series in names} == set()


NOT_YET = {
    "scheduler_certificate_expiry_timestamp_seconds",
    "scheduler_token_clock_skew_seconds",
    "scheduler_oldest_owed_timestamp_seconds",
    "scheduler_owed_due_timestamp_seconds",
}
"""No authority is here, and nothing is owed now."""


def test_a_ledger_that_does_not_answer_fires_and_ends(watched: Watched) -> None:
    pid = watched.system.anvil.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        batch = watched.seal(PLAIN)
        watched.expect(ONE_PAUSED, LATE, ("SchedulerTargetUnreachable", TARGET))
    finally:
        os.kill(pid, signal.SIGCONT)
    watched.system.wait_final(PLAIN, batch)
    watched.expect(ONE_PAUSED, LATE)


def test_low_funds_fire_and_then_what_holds_the_target_in_their_place(watched: Watched) -> None:
    """A worker looks at funds when it starts, and each minute."""
    system = watched.system
    system.anvil.fund(system.account, FEW_ANCHORS_WEI)
    watched.start_worker()
    watched.expect(ONE_PAUSED, LATE, ("SchedulerLowFunds", TARGET))
    system.anvil.fund(system.account, 1)
    watched.seal(PLAIN)
    watched.expect(ONE_PAUSED, LATE, ("SchedulerTargetHeld", TARGET))


EMPTY = {
    "scheduler_certificate_expiry_timestamp_seconds": "no time-stamp authority is here",
    "scheduler_token_clock_skew_seconds": "likewise",
    **dict.fromkeys(
        re.findall(r"scheduler_\w+", "".join(MAINTENANCE.expressions)), "no PostgreSQL is here"
    ),
}
"""Metrics without data in this system, and why."""


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.name)
def test_every_query_of_a_dashboard_has_data(watched: Watched, dashboard: Dashboard) -> None:
    def empty() -> list[str]:
        return [
            expression
            for expression in dashboard.expressions
            if not any(re.search(rf"\b{name}\b", expression) for name in EMPTY)
            and not watched.prometheus.query(substituted(expression))
        ]

    watched.system.wait(lambda: not empty(), f"data: {empty()}", 60)


def test_the_overview_is_drawn_from_real_data(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        print_picture(["overview", "--prometheus", watched.prometheus.url, "--minutes", "3"]) == 0
    )
    text = capsys.readouterr().out
    (watched.system.folder / "overview.svg").write_text(text)
    picture = ElementTree.fromstring(text)  # noqa: S314 - our own
    panels = picture.findall("{http://www.w3.org/2000/svg}g")
    assert len(panels) == len(OVERVIEW.panels)
    assert "no data" not in text
    assert TARGET in text


def test_a_killed_worker_fires_and_then_all_of_them(watched: Watched) -> None:
    first, second = watched.system.workers
    held = ("SchedulerTargetHeld", TARGET)
    first.kill()
    watched.expect(ONE_PAUSED, LATE, held, ("SchedulerWorkerDown", first.name))
    second.kill()
    watched.expect(ONE_PAUSED, LATE, ("SchedulerDown", "scheduler"))
