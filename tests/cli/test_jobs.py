"""`jobs` on a file of SQLite, with Temporal absent for most; and once against a real server with a worker that makes runs."""

import asyncio
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, Group, RenderableType
from typing_extensions import override

from devnet.ports import LOOPBACK, free_port
from tests.cli.conftest import Command, Outcome
from tests.docs.readme import commands
from tests.storage.jobs.places import CRON, NAME, definition
from tests.support.evm_system import EvmSystem
from vaultmesh.cli import job_table
from vaultmesh.domain.jobs.job import JobType
from vaultmesh.domain.jobs.listing import JobReport, JobReportState
from vaultmesh.domain.jobs.records import Decision, Pause, RunEnd, RunRecord, RunStart
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.process.settings import REPOSITORY
from vaultmesh.storage.job_store import JobStore

COLUMNS = 80
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = "workers with role jobs tell it later"
SERVICE_NAME = "report-service"


def registration(**changes: object) -> dict[str, Any]:
    return {**definition().model_dump(mode="json", by_alias=True), **changes}


def file_of(folder: Path, **changes: object) -> Path:
    place = folder / "job.json"
    place.write_text(json.dumps(registration(**changes)))
    return place


@pytest.fixture
def jobs(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command of `jobs` on an empty store; the connection to Temporal can't be made, which is known at once."""
    monkeypatch.setenv("VMSH_ROOT", str(tmp_path))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "http://nowhere")
    for name in ("JOBS_DATABASE_URL", "SUPABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments, **environment: run("jobs", *arguments, **environment)


@pytest.fixture
def registered(jobs: Command, tmp_path: Path) -> Command:
    """The same with one job there."""
    assert jobs("register", file_of(tmp_path)).code == 0
    return jobs


def in_store(root: Path, *ends: RunEnd) -> None:
    """Write runs, as workers do."""

    async def written() -> None:
        store = await JobStore.open(None, root)
        try:
            for end in ends:
                await store.open_run(end.start)
                if end.status is not RunStatus.RUNNING:
                    await store.close_run(end)
        finally:
            await store.close()

    asyncio.run(written())


def a_run(*, ago: timedelta, error: str | None = None, is_open: bool = False) -> RunEnd:
    begun = datetime.now(UTC) - ago
    start = RunStart(
        id=uuid.uuid4(), job_name=NAME, started_at=begun, triggered_by=TriggeredBy.MANUAL
    )
    ended = RunStatus.COMPLETED if error is None else RunStatus.FAILED
    return RunEnd(
        start=start,
        status=RunStatus.RUNNING if is_open else ended,
        completed_at=begun + timedelta(seconds=2),
        error_message=error,
        items_processed=7,
    )


def job(outcome: Outcome) -> Any:
    assert outcome.code == 0, outcome.err
    return outcome.json()["job"]


# --- looking -------------------------------------------------------------------------------------------------------


def test_an_empty_store_says_where_it_lies(jobs: Command, tmp_path: Path) -> None:
    outcome = jobs("list")
    assert (outcome.code, outcome.out) == (0, "")
    assert str(tmp_path) in outcome.err
    assert jobs("list", "--json").json() == {"jobs": [], "deleted": []}


def test_list_shows_the_next_run_and_why_a_job_does_not_run(registered: Command) -> None:
    assert "waiting" in registered("list").out
    assert registered("list", "--json").json()["jobs"][0]["nextRunAt"]
    registered("disable", NAME)
    shown = registered("list")
    assert f"{NAME}: disabled by operator " in shown.out
    (listed,) = registered("list", "--json").json()["jobs"]
    assert (listed["enabled"], listed["nextRunAt"]) == (False, None)
    assert listed["whyIdle"][0].startswith("disabled by operator ")


def test_show_has_the_next_five_times_and_the_policy(registered: Command) -> None:
    document = registered("show", NAME, "--json").json()
    assert len(document["nextRuns"]) == 5
    assert document["nextRuns"][0] == document["nextRunAt"]
    assert document["policy"]["timeoutSeconds"] == 300
    text = registered("show", NAME).out
    assert all(slot[:19].replace("T", " ") in text for slot in document["nextRuns"])


def test_a_row_that_somebody_wrote_by_sql_and_that_can_t_run_says_why(
    registered: Command, tmp_path: Path
) -> None:
    import sqlite3
    from contextlib import closing

    from vaultmesh.domain.paths import JOBS_DATABASE

    with closing(sqlite3.connect(tmp_path / JOBS_DATABASE)) as file, file:
        file.execute("UPDATE job_schedules SET cron_expression = '@daily'")
    shown = registered("list")
    assert "unusable" in shown.out
    assert f"{NAME}: its row can't be run: cronExpression" in shown.out
    assert registered("show", NAME).code == 0
    refused = registered("trigger", NAME)
    assert (refused.code, refused.out) == (1, "")
    assert "cronExpression" in refused.err


def test_a_running_job_is_seen_before_it_ends(registered: Command, tmp_path: Path) -> None:
    run = a_run(ago=timedelta(seconds=30), is_open=True)
    in_store(tmp_path, run)
    (listed,) = registered("list", "--json").json()["jobs"]
    assert listed["executionId"] == str(run.start.id)
    assert listed["runningSince"]
    assert "running" in registered("list").out
    assert str(run.start.id) in registered("show", NAME).out
    assert "running" in registered("history", NAME).out


def test_history_and_stats_show_what_became_of_runs(registered: Command, tmp_path: Path) -> None:
    broken = "HTTP 500: Internal Server Error"
    in_store(
        tmp_path, a_run(ago=timedelta(hours=2)), a_run(ago=timedelta(hours=1), error=broken),
    )  # fmt: skip
    text = registered("history", NAME)
    assert text.out.index("failed") < text.out.index("completed")
    assert broken in text.out
    document = registered("history", NAME, "--limit", 1, "--json").json()
    assert document["pagination"] == {"limit": 1, "offset": 0, "total": 2, "hasMore": True}
    assert document["executions"][0]["error_message"] == broken
    stats = registered("stats", NAME, "--days", 7, "--json").json()
    assert stats["stats"]["total_executions"] == 2
    assert stats["stats"]["failed_executions"] == 1
    assert stats["period"]["days"] == 7
    assert "ran 2 times, 1 completed, 1 failed" in registered("stats", NAME).out


def test_history_stays_after_the_job_is_deleted(registered: Command, tmp_path: Path) -> None:
    in_store(tmp_path, a_run(ago=timedelta(hours=1)))
    registered("delete", NAME)
    assert "completed" in registered("history", NAME).out
    assert registered("stats", NAME, "--json").json()["stats"]["total_executions"] == 1


@pytest.mark.parametrize(
    "command",
    [
        ("show",), ("trigger",), ("enable",), ("disable",), ("history",), ("stats",), ("delete",), ("reset",),
        ("allow",), ("pause",), ("resume",),
    ],
)  # fmt: skip
def test_a_mistyped_name_is_a_clear_failure_and_not_a_job_that_never_ran(
    command: tuple[str, ...], registered: Command
) -> None:
    outcome = registered(*command, "nightly-reprot")
    assert (outcome.code, outcome.out) == (1, "")
    assert "there is no job 'nightly-reprot'" in outcome.err
    assert registered("list", "--json").json()["jobs"][0]["whyIdle"] == []


def test_a_job_that_another_scheduler_runs_says_so_and_which_of_the_two_goes_first(
    registered: Command, tmp_path: Path
) -> None:
    import sqlite3
    from contextlib import closing

    from vaultmesh.domain.paths import JOBS_DATABASE

    began = datetime.now(UTC).replace(microsecond=0)
    with closing(sqlite3.connect(tmp_path / JOBS_DATABASE)) as file, file:
        row = (str(uuid.uuid4()), NAME, f"{began:%Y-%m-%dT%H:%M:%S.%fZ}")
        file.execute("INSERT INTO scheduled_jobs (id, job_name, started_at) VALUES (?, ?, ?)", row)
        file.execute("UPDATE scheduled_jobs SET status = 'completed'")
    (listed,) = registered("list", "--json").json()["jobs"]
    assert (listed["state"], listed["otherBeganAt"]) == ("left", f"{began:%Y-%m-%dT%H:%M:%S}Z")
    (why,) = listed["whyIdle"]
    assert why.startswith(
        f"left to another scheduler, which began a run {began:%Y-%m-%dT%H:%M:%S}Z: "
    )
    for command in (("list",), ("show", NAME)):
        assert f"{why}" in " ".join(registered(*command).out.split())
    assert registered("pause", NAME, "--json").json()["job"]["state"] == "paused"


# --- deciding ------------------------------------------------------------------------------------------------------


def test_a_decision_stands_while_temporal_can_t_be_told_and_says_who_tells_later(
    registered: Command,
) -> None:
    outcome = registered("disable", NAME)
    assert outcome.code == 0
    assert LATER in outcome.err
    document = registered("enable", NAME, "--json")
    assert document.json()["told"] is False
    assert document.json()["changed"] is True
    assert job(document)["enabled"] is True
    assert job(document)["enabledDecision"]["by"].startswith("operator ")


def test_a_server_that_is_away_keeps_no_decision_from_standing(registered: Command) -> None:
    outcome = registered("disable", NAME, TEMPORAL_ADDRESS=f"{LOOPBACK}:{free_port()}")
    assert outcome.code == 0
    assert LATER in outcome.err
    assert registered("list", "--json").json()["jobs"][0]["enabled"] is False


def test_cron_shows_the_next_times_before_it_changes_anything(registered: Command) -> None:
    checked = registered("cron", NAME, "0 4 * * *", "--check")
    assert (checked.code, len(checked.out.splitlines())) == (0, 5)
    assert registered("show", NAME, "--json").json()["cronExpression"] == CRON
    changed = registered("cron", NAME, "0 4 * * *")
    *times, state = changed.out.splitlines()
    assert len(times) == 5
    assert all(" 04:00:00 UTC (in " in line for line in times)
    assert state.startswith(f"{NAME}: waiting; next run ")
    document = registered("cron", NAME, "0 5 * * *", "--json")
    assert len(document.json()["nextRuns"]) == 5
    assert (job(document)["cronExpression"], job(document)["clientCron"]) == ("0 5 * * *", CRON)


def test_an_expression_that_can_t_be_read_is_bad_usage_and_changes_nothing(
    registered: Command,
) -> None:
    outcome = registered("cron", NAME, "@daily")
    assert (outcome.code, outcome.out) == (2, "")
    assert "cron expression" in outcome.err
    assert registered("show", NAME, "--json").json()["cronExpression"] == CRON


def test_an_expression_that_never_comes_is_said_to(registered: Command) -> None:
    outcome = registered("cron", NAME, "0 0 31 2 *")
    assert outcome.out.startswith("no date ever matches '0 0 31 2 *'")
    assert "never" in registered("list").out


def test_reset_takes_the_service_s_expression_and_state_back(registered: Command) -> None:
    registered("cron", NAME, "0 4 * * *")
    registered("disable", NAME)
    back = job(registered("reset", NAME, "--json"))
    assert (back["cronExpression"], back["enabled"]) == (CRON, True)
    assert (back["cronDecision"], back["enabledDecision"]) == (None, None)


def test_a_deleted_job_comes_back_only_after_allow(registered: Command, tmp_path: Path) -> None:
    deleted = registered("delete", NAME)
    assert (deleted.code, f"jobs allow {NAME}" in deleted.out) == (0, True)
    assert registered("list", "--json").json() == {"jobs": [], "deleted": [NAME]}
    assert f"until somebody allows them: {NAME}" in registered("list").out
    gone = registered("enable", NAME)
    assert (gone.code, "was deleted by operator " in gone.err) == (1, True)
    again = registered("register", file_of(tmp_path))
    assert (again.code, "has to allow it again" in again.err) == (1, True)
    assert registered("allow", NAME).out == f"{NAME}: may be registered again\n"
    assert registered("register", file_of(tmp_path)).code == 0


def test_another_service_takes_a_name_over_only_after_allow(
    registered: Command, tmp_path: Path
) -> None:
    other = file_of(tmp_path, service="other-service")
    refused = registered("register", other)
    assert (refused.code, SERVICE_NAME in refused.err) == (1, True)
    assert "another service may register it once" in registered("allow", NAME).out
    assert job(registered("register", other, "--json"))["service"] == "other-service"


def test_the_same_registration_again_changes_nothing_and_says_so(
    registered: Command, tmp_path: Path
) -> None:
    assert "(nothing changed)" in registered("register", file_of(tmp_path)).out
    assert registered("register", file_of(tmp_path), "--json").json()["changed"] is False


def test_pause_of_all_has_a_reason_and_leaves_enabled_and_disabled_as_they_are(
    registered: Command, tmp_path: Path
) -> None:
    registered("register", file_of(tmp_path, name="weekly-digest", enabled=False))
    paused = registered("pause", "--all", "--reason", "mail moves", "--json").json()["changes"]
    assert [change["name"] for change in paused] == [NAME, "weekly-digest"]
    assert {change["job"]["paused"]["reason"] for change in paused} == {"mail moves"}
    assert "paused by operator " in registered("list").out
    assert registered("pause", "--all").err.startswith("there is no job that this would change")
    resumed = registered("resume", "--all", "--reason", "moved", "--json").json()["changes"]
    assert [change["job"]["enabled"] for change in resumed] == [True, False]
    assert {change["job"]["paused"] for change in resumed} == {None}


@pytest.mark.parametrize(
    "command", [("pause",), ("resume", NAME, "--all"), ("pause", "maintenance:vacuum")]
)
def test_a_pause_that_names_no_job_is_bad_usage_and_stops_no_maintenance(
    command: tuple[str, ...], registered: Command
) -> None:
    outcome = registered(*command)
    assert (outcome.code, outcome.out) == (2, "")
    assert registered("list", "--json").json()["jobs"][0]["paused"] is None


def test_numbers_of_a_file_that_an_editor_of_windows_saved_stay_numbers(
    jobs: Command, tmp_path: Path
) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(registration()), encoding="utf-8-sig")
    assert jobs("register", file).code == 0
    assert "here already: 1 jobs" in jobs("import", file).out


# --- what can't be used --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "send an object"),
        ("{}", "displayName"),
        (json.dumps(registration(cronExpression="@daily")), "cronExpression"),
        ("[" * 100_000, "is not JSON"),
        (" " * 300_000, "is larger than"),
    ],
    ids=["broken", "list", "empty", "cron", "deep", "large"],
)
def test_a_file_that_is_no_registration_is_bad_usage_with_its_place(
    text: str, complaint: str, jobs: Command, tmp_path: Path
) -> None:
    place = tmp_path / "bad.json"
    place.write_text(text)
    outcome = jobs("register", place)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{place}: " in outcome.err
    assert complaint in outcome.err
    assert jobs("list", "--json").json()["jobs"] == []


def test_a_file_that_is_not_there_is_bad_usage(jobs: Command, tmp_path: Path) -> None:
    outcome = jobs("register", tmp_path / "none.json")
    assert (outcome.code, "can't be read" in outcome.err) == (2, True)


@pytest.mark.parametrize("limit", ["0", "-1", "ten", "1001", "²"])
def test_a_limit_that_is_no_number_is_bad_usage(limit: str, registered: Command) -> None:
    outcome = registered("history", NAME, f"--limit={limit}")
    assert (outcome.code, outcome.out) == (2, "")


def test_a_database_that_is_away_is_one_line_without_its_password(jobs: Command) -> None:
    url = f"postgresql://vmsh:hunter2@{LOOPBACK}:{free_port()}/jobs"
    outcome = jobs("list", JOBS_DATABASE_URL=url)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert "hunter2" not in outcome.err


def test_a_setting_that_would_leave_jobs_behind_is_bad_configuration(jobs: Command) -> None:
    outcome = jobs("list", SUPABASE_URL="https://project.supabase.co")
    assert (outcome.code, "JOBS_DATABASE_URL" in outcome.err) == (2, True)
    assert jobs("list", JOBS_DATABASE_URL="mysql://nowhere/jobs").code == 2


def test_a_trigger_without_temporal_fails_and_enters_nothing(registered: Command) -> None:
    outcome = registered("trigger", NAME, TEMPORAL_ADDRESS=f"{LOOPBACK}:{free_port()}")
    assert (outcome.code, outcome.out) == (1, "")
    assert "can't be reached" in outcome.err
    assert registered("history", NAME, "--json").json()["executions"] == []


def test_the_start_of_other_commands_loads_no_database_library() -> None:
    program = "import sys, starter; starter.build_parser(); sys.exit('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False)
    assert done.returncode == 0


# --- tables --------------------------------------------------------------------------------------------------------


def report(**changes: object) -> JobReport:
    values: dict[str, object] = {
        "name": "deletion-cleanup-of-accounts", "display_name": "Cleanup", "description": "Cleanup",
        "cron_expression": "0 2 * * mon-fri", "enabled": True, "is_running": True, "job_type": JobType.CLEANUP,
        "service": "user-service", "endpoint": "/api/jobs/process-deletions", "next_run_at": NOW + timedelta(hours=3),
        "last_run_at": NOW - timedelta(minutes=50), "last_run_status": RunStatus.COMPLETED, "last_run_duration": 61_000,
        "state": JobReportState.WAITING, "total_runs": 1_234, "successful_runs": 1_200, "failed_runs": 34,
    }  # fmt: skip
    return JobReport.model_validate({**values, **changes})


PAUSED = report(
    state=JobReportState.PAUSED,
    last_run_status=RunStatus.FAILED,
    paused=Pause(by="operator ada@host", at=NOW, reason="the mail server moves to another house"),
    why_idle=("paused by operator ada@host, 2026-03-02T12:00:00Z: the mail server moves to another house",),
    cron_decision=Decision(by="operator ada@host", at=NOW),
    client_cron="0 9 * * 1",
    is_told=False,
)  # fmt: skip
RUN = RunRecord(
    id=str(uuid.UUID(int=7)), job_name=NAME, status="failed", started_at=NOW, completed_at=NOW, duration_ms=300_000,
    items_processed=10_000, items_failed=3, triggered_by="scheduler",
    error_message="no answer within 300 s; the job may go on",
)  # fmt: skip


def text_of(*blocks: RenderableType) -> str:
    console = Console(width=COLUMNS, file=StringIO(), record=True, highlight=False, emoji=False)
    console.print(Group(*blocks))
    return console.export_text()


@pytest.mark.parametrize(
    "text",
    [
        text_of(*job_table.jobs_table([report(), PAUSED], ["gone"], NOW)),
        text_of(*job_table.job_lines(PAUSED, [], NOW)),
        text_of(*job_table.job_lines(report(), [NOW + timedelta(hours=3)], NOW)),
        text_of(job_table.history_table([RUN])),
    ],
    ids=["list", "idle", "show", "history"],
)
def test_no_line_is_longer_than_the_terminal(text: str) -> None:
    assert all(len(line.rstrip()) <= COLUMNS for line in text.splitlines())


def test_a_job_has_one_line_of_80_columns_and_its_reasons_below() -> None:
    jobs = [report(name=NAME), PAUSED.model_copy(update={"name": NAME})]
    _, waiting, paused, *notes = text_of(*job_table.jobs_table(jobs, [], NOW)).splitlines()
    assert waiting.split() == [NAME, "0", "2", "*", "*", "mon-fri", "waiting", "in", "3", "h", "50", "min", "ago", "1234", "34"]  # fmt: skip
    assert paused.split()[6:] == ["paused", "–", "failed", "50", "min", "ago", "1234", "34"]
    words = " ".join(" ".join(notes).split())
    assert "the mail server moves to another house" in words
    assert job_table.UNHEARD in words


def test_what_a_service_wrote_moves_no_cursor_and_is_no_markup() -> None:
    text = text_of(*job_table.job_lines(report(display_name="[red]a\x1b[2J"), [], NOW))
    assert "[red]a" in text
    assert "\x1b" not in text


# --- with Temporal, and a worker that makes runs -------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        handlers: Handlers = self.server  # type: ignore[assignment]
        handlers.gate.wait(60)
        body = json.dumps(handlers.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Handlers(HTTPServer):
    """A service that answers as a test says."""

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.answer: dict[str, Any] = {}
        self.gate = threading.Event()
        """What is asked for waits until this is set."""


@pytest.fixture(scope="module")
def service() -> Iterator[Handlers]:
    with Handlers() as handlers:
        thread = threading.Thread(target=handlers.serve_forever)
        thread.start()
        try:
            yield handlers
        finally:
            handlers.gate.set()
            handlers.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def working(system: EvmSystem, service: Handlers) -> Iterator[None]:
    """A worker that makes runs, beside the one with the workflows."""
    url = f"http://{LOOPBACK}:{service.server_port}"
    worker = system.start_worker("--roles", "jobs", JOBS_SERVICES=f"{SERVICE_NAME}={url}")
    yield
    worker.stop()


@pytest.mark.server
@pytest.mark.evm
@pytest.mark.timeout(700)
def test_decisions_are_heard_and_a_trigger_tells_how_the_run_ended(
    operate: Command, working: None, service: Handlers, system: EvmSystem, tmp_path: Path
) -> None:
    never = file_of(tmp_path, cronExpression="0 0 1 1 *")
    registered = operate("jobs", "register", never, "--json")
    assert (registered.code, registered.err, registered.json()["told"]) == (0, "", True)
    assert operate("jobs", "disable", NAME, "--json").json()["told"] is True

    service.gate.clear()
    service.answer = {"success": True, "itemsProcessed": 3, "itemsSucceeded": 3, "itemsFailed": 0}
    asked = operate("jobs", "trigger", NAME, "--json").json()["executionId"]
    system.wait(
        lambda: operate("jobs", "list", "--json").json()["jobs"][0]["executionId"] == asked,
        "the run under way",
    )
    refused = operate("jobs", "trigger", NAME)
    assert (refused.code, "is under way" in refused.err) == (1, True)
    service.gate.set()
    system.wait(
        lambda: operate("jobs", "list", "--json").json()["jobs"][0]["executionId"] is None,
        "the end of the run",
    )

    waited = operate("jobs", "trigger", NAME, "--wait")
    assert waited.code == 0
    assert waited.out.startswith(f"{NAME}: completed after ")
    assert "3 items" in waited.out
    service.answer = {"success": False, "error": "the mail server is away"}
    failed = operate("jobs", "trigger", NAME, "--wait", "--json")
    assert failed.code == 1
    assert failed.json()["run"]["error_message"] == "the mail server is away"
    runs = operate("jobs", "history", NAME, "--json").json()["executions"]
    assert [run["status"] for run in runs] == ["failed", "completed", "completed"]
    assert runs[-1]["id"] == asked

    assert operate("jobs", "delete", NAME, "--json").json()["told"] is True
    assert operate("jobs", "trigger", NAME).code == 1
    assert operate("jobs", "allow", NAME).code == 0


@pytest.mark.server
@pytest.mark.evm
@pytest.mark.timeout(700)
def test_every_command_that_the_page_shows_works_in_its_order(
    operate: Command,
    working: None,
    service: Handlers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.gate.set()
    service.answer = {"success": True}
    file_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = commands("python starter.py jobs ", page)
    assert len(shown) >= 14
    for given in shown:
        outcome = operate("jobs", *given)
        assert outcome.code == 0, outcome.err
        assert "not heard of yet" not in outcome.err
