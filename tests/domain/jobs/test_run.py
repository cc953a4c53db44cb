"""A run has one id and one of three states, and fails in words that say whether it may have been done."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert run.http_failure(502, "") == "HTTP 502: Bad Gateway"
    assert run.http_failure(799, " ") == "HTTP 799: a status without a name"
    assert run.http_failure(302, "Found") == "HTTP 302: Found (redirects are not followed)"
    assert run.http_failure(304, "Not Modified") == "HTTP 304: Not Modified"
    assert run.not_an_object("application/json", 2) == (
        "the answer is not a JSON object (application/json, 2 bytes)"
    )
    assert run.ANSWER_TOO_LARGE == "the answer is larger than 1 MB"


FOREIGN = ["a\nb", "a\x00b", "a\x1b[2Jb", "a\ud83db", "a\u2028b", "a\u202eb", "a\x85b"]


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_words_are_one_line_that_a_table_holds(text: str) -> None:
    for line in (
        run.handler_error(text),
        run.http_failure(500, text),
        run.not_json(text, 1),
        run.not_an_object(text, 1),
    ):
        assert line.isprintable()
        line.encode()


def test_foreign_words_are_bounded() -> None:
    assert len(run.handler_error("x" * 10_000)) == 500
    assert len(run.http_failure(500, "x" * 10_000)) < 80
    assert len(run.not_json("x" * 10_000, 1)) < 120


@given(st.text())
def test_a_handlers_words_never_pass_for_an_unknown_fate(text: str) -> None:
    for words in (text, f"{text}{run.FATE_UNKNOWN}", f"{text}{run.FATE_UNKNOWN}\n"):
        assert not run.is_fate_unknown(run.handler_error(words))
        assert not run.is_fate_unknown(run.http_failure(500, words))


def test_only_a_run_whose_fate_is_unknown_may_get_another_end() -> None:
    assert run.is_fate_unknown(run.WORKER_DIED)
    assert run.is_fate_unknown(run.CONNECTION_BROKE)
    assert run.is_fate_unknown(run.NOT_HTTP)
    assert not run.is_fate_unknown(run.NO_WORKER)
    assert not run.is_fate_unknown(run.no_answer(timedelta(seconds=1)))
    assert not run.is_fate_unknown(None)
