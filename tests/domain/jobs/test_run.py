"""A run has one id and one of three states, and fails in words that say whether it may have been done."""

from datetime import UTC, datetime, timedelta

from vaultmesh.domain.jobs import run
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, run_id

SLOT = datetime(2026, 1, 15, 10, tzinfo=UTC)


def test_a_run_is_running_completed_or_failed() -> None:
    assert [str(status) for status in RunStatus] == ["running", "completed", "failed"]


def test_a_run_is_triggered_by_the_scheduler_or_by_hand() -> None:
    assert [str(word) for word in TriggeredBy] == ["scheduler", "manual", "admin"]


def test_a_slot_that_is_called_again_after_a_reset_has_the_id_that_it_had() -> None:
    assert str(run_id("weekly-digest", SLOT)) == "38aeb3d1-82a4-529d-8a25-a9065081dcc8"
    assert run_id("weekly-digest", SLOT).version == 5


def test_two_jobs_or_two_slots_never_share_an_id() -> None:
    names = ["a", "b", "1 a", "a 1"]
    slots = [SLOT, SLOT + timedelta(seconds=1), SLOT - timedelta(days=400)]
    assert len({run_id(name, slot) for name in names for slot in slots}) == 12


def test_the_texts_of_failures() -> None:
    assert run.not_called("connection refused") == "not called: connection refused"
    assert run.NO_WORKER == "not called: no worker with role jobs"
    assert run.no_answer(timedelta(minutes=5)) == "no answer within 300 s; the job may go on"
    assert run.CONNECTION_BROKE == (
        "the connection broke after the request was sent; its fate is unknown"
    )
    assert run.not_json("text/html", 4_200) == "the answer is not JSON (text/html, 4 kB)"
    assert run.not_json("", 12) == "the answer is not JSON (no content type, 12 bytes)"
    assert run.not_json("text/css", 999).endswith("(text/css, 999 bytes)")
    assert run.not_json("text/css", 1_000).endswith("(text/css, 1 kB)")
    assert run.http_failure(500, "Internal Server Error") == "HTTP 500: Internal Server Error"


def test_only_a_run_whose_fate_is_unknown_may_get_another_end() -> None:
    assert run.is_fate_unknown(run.WORKER_DIED)
    assert run.is_fate_unknown(run.CONNECTION_BROKE)
    assert not run.is_fate_unknown(run.NO_WORKER)
    assert not run.is_fate_unknown(run.no_answer(timedelta(seconds=1)))
    assert not run.is_fate_unknown(None)
