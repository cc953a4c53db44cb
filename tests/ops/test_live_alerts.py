"""A real Prometheus and Alertmanager watch a real system: each cause is made on real parts, its alert fires, and no other.

`for` is scaled down by the generator of rules, so that a day is 12 s; expressions are as they are. The tests follow each
other on one system, and what lasts stays in what the next one expects. Causes that take long to show are made together.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from bench.local_system import write_whole
from devnet.process import Part
from devnet.prometheus import Alertmanager, Prometheus
from devnet.sample_service import WORKS, SampleService
from devnet.tsa import Tsa
from docs.alert_rules import ANCHOR_RULES, JOB_RULES, adapted
from docs.dashboard_picture import main as print_picture
from docs.dashboard_picture import substituted
from docs.dashboards import DASHBOARDS, MAINTENANCE, OVERVIEW, Dashboard
from tests.ledgers.rfc3161.test_revocation import holders
from tests.ops.anchor_scenarios import rules
from tests.simulators.timestamps import new_list
from tests.support.evm_system import TARGET, EvmSystem
from tests.support.freezing import freeze, thaw
from tests.support.marks import FAULTS
from tests.support.system import authority, batch_document
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.names import NAMESPACE_WORKFLOW, SCHEDULER_QUEUE, namespace_workflow_id

pytestmark = [*FAULTS, pytest.mark.slow, pytest.mark.timeout(400)]

TIMES = 1 / 7_200
PLAIN, DEEP, PAUSED = "dao:plain", "dao:deep", "dao:paused"
STAMPED, BROKEN, AUTHORITY = "dao:stamped", "dao:broken", "rfc3161:tsa"
FAST = {"target": TARGET, "every": "2s", "confirmations": 2}
FEW_ANCHORS_WEI = 20 * 60_000 * 2 * 10**9
"""Pays for fewer than 50 anchors at any bid that anvil's fees lead to, and for one at least."""
FIRES_SECONDS = 150.0
"""Lists, looks at promises and probes come each 5 to 15 s, a worker starts in 10; a busy machine takes its time."""
ENDS_DAYS = 20
"""From when on a root's end is told: 30 days."""
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
        self.file = self.system.root / "vmsh/config/namespaces.yaml"
        self.namespaces = namespaces
        self.write_namespaces(self.file)
        self.tsa = Tsa(self.system.root, root_days=ENDS_DAYS)
        self.successor = Tsa(self.system.root, name="tsa-next")
        self.system.ledgers.append(authority(self.tsa))
        self.lasting: set[Alert] = set()
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

    def write_namespaces(self, place: Path, **more: object) -> None:
        """Write what is configured, and more, into a file."""
        write_whole(place, json.dumps({"namespaces": {**self.namespaces, **more}}))

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

    def start_worker(self, **environment: str) -> WorkerProcess:
        """Start a worker whose page is scraped."""
        worker = self.system.start_worker(**environment)
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

    def expect(self, *alerts: Alert, perhaps: Iterable[Alert] = ()) -> None:
        """Wait until exactly these fire, beside what lasts; some may go on for a while."""
        wanted, ending = self.lasting | set(alerts), set(perhaps)
        try:
            self.system.wait(lambda: self.firing() - ending == wanted, "the alerts", FIRES_SECONDS)
        except AssertionError:
            firing = self.firing()
            missing, other = wanted - firing, firing - ending - wanted
            raise AssertionError(f"not firing: {missing}; firing beside: {other}") from None


def _subject(labels: dict[str, str]) -> str:
    keys = ("file", "namespace", "target", "pod", "job", "type")
    return next((labels[key] for key in keys if labels.get(key)), "")


CERTIFICATES = [(f"SchedulerCertificate{what}", AUTHORITY) for what in ("Expires", "Expired")]
HELD = ("SchedulerTargetHeld", TARGET)
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
            watched.successor.kill()
            watched.prometheus.kill()
            watched.alertmanager.kill()
            watched.service.close()


def test_nothing_fires_while_batches_become_final(watched: Watched) -> None:
    watched.system.wait_final(PLAIN, watched.seal(PLAIN))
    succeeded = f'scheduler_anchors_succeeded_total{{namespace="{PLAIN}"}} > 0'
    watched.system.wait(lambda: watched.prometheus.query(succeeded), "a scrape of it")
    time.sleep(2)  # two evaluations: what fires at once would
    assert watched.firing() == set()


def test_a_pause_a_missed_deadline_a_refused_file_a_failing_workflow_and_a_silent_ledger_fire(
    watched: Watched,
) -> None:
    """What somebody starts by hand with an input of a wrong form can't go on. The last three are put right, and end."""
    system, broken = watched.system, namespace_workflow_id(BROKEN)
    system.replays.plant("WORKFLOW_WORKER_UNHANDLED_FAILURE", broken)
    start = {"id": broken, "task_queue": SCHEDULER_QUEUE}
    system.ask(lambda client: client.start_workflow(NAMESPACE_WORKFLOW, BROKEN, **start))
    system.signal(namespace_workflow_id(PAUSED), "pause", "a test")
    watched.seal(DEEP)
    content = watched.file.read_text()
    write_whole(watched.file, content.replace("2s", "2 parsecs"))
    watched.lasting = {ONE_PAUSED, LATE}
    batch = watched.seal(PLAIN)
    with standing_still(system.anvil):
        watched.expect(
            ("SchedulerConfigFileRefused", watched.file.name),
            ("SchedulerWorkflowFailing", NAMESPACE_WORKFLOW),
            ("SchedulerTargetUnreachable", TARGET),
        )
    write_whole(watched.file, content)
    mend = f"temporal workflow terminate --workflow-id {broken}"  # no reset would help
    assert mend in system.command("status", BROKEN).stderr
    system.terminate_namespace(BROKEN)
    system.wait_final(PLAIN, batch)
    watched.expect()


@contextmanager
def standing_still(part: Part) -> Iterator[None]:
    freeze(part.pid)
    try:
        yield
    finally:
        thaw(part.pid)


def test_a_transaction_of_somebody_else_with_our_key_fires_and_lasts(watched: Watched) -> None:
    system = watched.system
    count = int(system.rpc("eth_getTransactionCount", system.account, "latest"), 16)
    system.send_foreign(count)
    system.wait(lambda: not system.pool(), "a block with the foreign transaction")
    system.wait_final(PLAIN, watched.seal(PLAIN))
    watched.lasting.add(("SchedulerKeyUsedElsewhere", TARGET))
    watched.expect()


def test_low_funds_certificates_and_a_worker_with_another_file_fire(watched: Watched) -> None:
    """A worker looks at funds and certificates when it starts, and each minute. One that only reports has another file than the others."""
    system = watched.system
    system.anvil.fund(system.account, FEW_ANCHORS_WEI)
    roots = watched.tsa.roots.read_bytes()
    over = new_list(holders(watched.tsa)[0], issued=datetime.now(UTC) - timedelta(days=31))
    watched.tsa.roots.write_bytes(roots + over.public_bytes(Encoding.PEM))
    file = system.folder / "other/config/namespaces.yaml"
    watched.namespaces[PLAIN] = {"cadence": {"fast": {**FAST, "every": "3s"}}}
    stamped = {"cadence": {"fast": {"target": AUTHORITY, "every": "2s"}}}
    watched.write_namespaces(file, **{STAMPED: stamped})
    watched.start_worker(VMSH_NAMESPACES=str(file), VMSH_REGISTER="report")
    watched.expect(
        ("SchedulerLowFunds", TARGET),
        ("SchedulerConfigDrift", PLAIN),
        ("SchedulerWorkflowMissing", ""),
        *CERTIFICATES,
    )


def test_each_ends_when_it_is_mended_and_what_holds_a_target_takes_the_place_of_low_funds(
    watched: Watched,
) -> None:
    """The authority's former root stays in the bundle; a look at it comes within a minute."""
    system = watched.system
    watched.successor.start()
    fresh = new_list(holders(watched.tsa)[0], issued=datetime.now(UTC) - timedelta(days=1))
    with watched.tsa.roots.open("ab") as bundle:
        bundle.write(fresh.public_bytes(Encoding.PEM) + watched.successor.roots.read_bytes())
    system.ledgers[1].settings["url"] = watched.successor.url
    system.write_anchors()
    write_whole(watched.file, (system.folder / "other/config/namespaces.yaml").read_text())
    batch = watched.seal(STAMPED)
    system.wait(lambda: system.state(STAMPED, batch, AUTHORITY) == "finalized", "a time stamp")
    system.anvil.fund(system.account, 1)
    watched.seal(PLAIN)
    watched.lasting.add(HELD)
    watched.expect(perhaps=CERTIFICATES)


def test_every_series_of_the_rules_is_on_a_worker_s_page(watched: Watched) -> None:
    """The harm: an alert over a metric that nobody exports never fires, as one of the earlier scheduler's."""
    text = json.dumps([rule["expr"] for rule in rules().values()])
    named = set(re.findall(r"\bscheduler_\w+", text))
    names = watched.prometheus.query('group by (__name__) ({job="scheduler"})')
    assert named - {series["metric"]["__name__"] for series in names} == set()


EMPTY = frozenset(re.findall(r"scheduler_\w+", "".join(MAINTENANCE.expressions)))
"""Metrics without data in this system: no PostgreSQL is here."""


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


def test_a_killed_worker_fires_and_then_all_of_them_and_a_new_one_ends_it(
    watched: Watched,
) -> None:
    """Whoever is gone for good is taken out of what is scraped, as the runbook says."""
    first, second = watched.system.workers
    first.kill()
    watched.expect(("SchedulerWorkerDown", first.name), perhaps=CERTIFICATES)
    second.kill()
    watched.lasting.remove(HELD)  # nobody tells of it
    watched.expect(("SchedulerDown", "scheduler"))
    watched.pages.clear()
    watched.start_worker()
    watched.expect(HELD)
