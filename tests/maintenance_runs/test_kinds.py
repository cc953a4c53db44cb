"""Kinds of tasks as workers run them: rows say what the database and the services saw."""

import json
from hashlib import sha256

import pytest

from tests.cli.conftest import cadences, write_namespaces
from tests.jobs.job_system import kill
from tests.maintenance_runs.task_system import TaskSystem, outcomes
from vaultmesh.domain.jobs.run import TASK_LEFT

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]
CALL = "called"


OLD_ORDERS = {"kind": "retain", "table": "public.orders", "ageColumn": "at", "keep": "40d"}


def test_rows_say_how_many_orders_went_and_what_a_check_found(system: TaskSystem) -> None:
    system.sql(
        "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL); "
        "INSERT INTO orders SELECT n, now() - make_interval(days => n) FROM generate_series(1, 100) n"
    )
    check = {"kind": "check", "query": "select count(*) from orders", "failAbove": 10}
    system.write_plain({"old": OLD_ORDERS, "orders": check})
    worker = system.start_worker("workflows,jobs")
    for task in ("old", "orders"):
        system.trigger_task(task)
    (gone,) = system.ended("old")
    left = int(system.sql("SELECT count(*) FROM orders"))
    assert gone["status"] == "completed"
    assert sum(step.get("rows", 0) for step in gone["metadata"]["steps"]) == 100 - left
    assert left in {39, 40}
    (found,) = system.ended("orders")
    assert (found["status"], found["metadata"]["outcome"]) == ("failed", "failed")
    assert "is above 10" in found["error_message"]
    assert (found["items_processed"], found["items_failed"]) == (1, 1)
    series = system.metrics(worker)
    assert series['scheduler_tasks_completed{task="old"}'] == 1
    assert series['scheduler_tasks_completed{task="orders"}'] == 0
    printed = system.command("run", "orders", code=1)
    assert [run["status"] for run in printed["runs"]] == ["failed"]


def test_what_a_worker_archives_it_seals_and_the_row_says_in_which_batch(
    system: TaskSystem,
) -> None:
    system.sql(
        "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL); "
        "INSERT INTO orders SELECT n, now() - make_interval(days => n) FROM generate_series(1, 100) n"
    )
    archive = {"folder": "archive", "sealTo": "dao:shop"}
    system.write_plain({"sealed": {**OLD_ORDERS, "archive": archive}})
    system.start_worker("workflows,jobs")
    system.trigger_task("sealed")
    (row,) = system.ended("sealed")
    assert row["status"] == "failed"
    assert "namespace 'dao:shop' is not in namespaces.yaml" in row["error_message"]
    [note] = (system.root / "archive").glob("[!.]*.json")
    namespaces = system.root / "vmsh/config/namespaces.yaml"
    before = namespaces.read_text()
    write_namespaces(namespaces, {"dao:shop": cadences()})
    try:
        system.trigger_task("sealed")
        row = system.ended("sealed", 2)[1]
    finally:
        namespaces.write_text(before)
    assert row["status"] == "completed"
    [place] = (system.root / "out/batches").glob("*.json")
    batch = json.loads(place.read_text())
    assert batch["namespace"] == "dao:shop"
    assert batch["leaves"] == [f"sha256:{sha256(note.read_bytes()).hexdigest()}"]
    said = row["metadata"]["steps"][-1]["detail"]
    assert said == f"1 file sealed for dao:shop in batch {place.stem}"


def test_what_the_role_may_not_do_is_denied_and_never_passes_for_done(system: TaskSystem) -> None:
    system.sql(
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; "
        "GRANT SELECT ON goods TO reader"
    )
    system.write({"denied": {}})
    url = system.server.url("shop", "reader")
    system.start_worker("workflows,jobs", environment={"DATABASE_URL": url})
    system.trigger_task("denied")
    (row,) = system.ended("denied")
    assert (row["status"], outcomes([row])) == ("failed", ["denied"])
    assert row["error_message"].startswith("denied: public.goods: ")
    assert system.statistics("vacuum_count") == "0"


def test_a_call_whose_worker_is_killed_is_not_made_again(system: TaskSystem) -> None:
    call = {
        "kind": "call",
        "url": f"{system.handler.url}/run",
        "body": {"jobName": CALL, "config": {}, "executionId": "as the header says"},
    }
    system.write_plain({"call": call})
    system.handler.shut(CALL)
    doomed = system.start_worker("workflows,jobs")
    system.trigger_task("call")
    system.wait(lambda: system.handler.of(CALL), "the call")
    kill(doomed)
    system.handler.open(CALL)
    system.start_worker("workflows,jobs")
    (row,) = system.ended("call", seconds=90)
    assert (row["status"], row["error_message"]) == ("failed", TASK_LEFT)
    system.trigger_task("call")
    rows = system.ended("call", 2)
    assert rows[1]["status"] == "completed"
    assert len(system.handler.of(CALL)) == 2
