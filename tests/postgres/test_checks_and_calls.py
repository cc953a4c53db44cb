"""Checks tell what is wrong and change nothing; a call is sent once."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.postgres.shop import Shop
from vaultmesh.domain.maintenance.config import Kind
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.postgres import call, runs

DEPTH = {
    "kind": "check",
    "query": "SELECT count(*) FROM jobs WHERE done_at IS NULL",
    "failAbove": 2,
}


@pytest.fixture
def jobs(shop: Shop) -> Shop:
    shop.sql("CREATE TABLE jobs (id int, done_at timestamptz); INSERT INTO jobs VALUES (1), (2)")
    return shop


def test_a_number_above_its_limit_fails(jobs: Shop) -> None:
    good = jobs.run(**DEPTH)
    assert (good.outcome, good.steps[0].detail) == (Outcome.DONE, "2; fails above 2")
    jobs.sql("INSERT INTO jobs VALUES (3)")
    result = jobs.run(**DEPTH)
    assert (result.outcome, result.steps[0].detail) == (Outcome.FAILED, "3 is above 2")
    low = {"kind": "check", "query": "SELECT 0.5", "failBelow": "0.75"}
    assert jobs.run(**low).steps[0].detail == "0.5 is below 0.75"


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM jobs RETURNING 1",
        "WITH gone AS (DELETE FROM jobs RETURNING 1) SELECT count(*) FROM gone",
        "SELECT 1; DELETE FROM jobs",
        "COMMIT; SET default_transaction_read_only = off; DELETE FROM jobs",
    ],
)
def test_a_check_changes_nothing(jobs: Shop, query: str) -> None:
    result = jobs.run(kind="check", query=query, failAbove=1_000)
    assert not result.is_good
    assert jobs.sql("SELECT count(*) FROM jobs") == "2"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'many'", "SELECT 1 WHERE false", "SELECT NULL", "SELECT true",
        "SELECT 'NaN'::float8", "SELECT 'NaN'::numeric",
    ],
)  # fmt: skip
def test_what_is_no_number_is_told(jobs: Shop, query: str) -> None:
    assert "no number" in jobs.run(kind="check", query=query, failAbove=1).steps[0].detail


def test_a_second_row_that_nobody_would_look_at_is_no_good_answer(jobs: Shop) -> None:
    result = jobs.run(kind="check", query="SELECT id FROM jobs ORDER BY id", failAbove=1)
    assert (result.outcome, result.steps[0].reason) == (Outcome.FAILED, None)
    assert "returned 2 rows" in result.steps[0].detail


def test_a_url_that_asks_for_a_server_that_can_be_written_to_is_enough_for_a_check(
    jobs: Shop,
) -> None:
    jobs.url_of_others = f"{jobs.url}?target_session_attrs=read-write"
    assert jobs.run(**DEPTH).outcome is Outcome.DONE
    assert not jobs.run(kind="check", query="DELETE FROM jobs RETURNING 1", failAbove=9).is_good


def test_a_percent_sign_in_a_query_is_no_parameter(jobs: Shop) -> None:
    query = "SELECT count(*) FROM jobs WHERE id::text LIKE '%1%'"
    assert jobs.run(kind="check", query=query, failAbove=1).outcome is Outcome.DONE


class Service:
    """A service that is called."""

    def __init__(self) -> None:
        self.status, self.delay = 200, 0.0
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.asked.append(
                    (self.command, self.path, self.headers.get("X-Scheduler-Execution-Id"), body)
                )
                time.sleep(service.delay)
                self.send_response(service.status)
                if service.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_PUT = answer  # noqa: N815 - names of the library

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever)
    thread.start()
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


def test_a_call_is_sent_once_with_the_id_of_its_run(shop: Shop, service: Service) -> None:
    result = shop.run(kind="call", url=f"{service.url}/run", body={"depth": 3})
    assert result.outcome is Outcome.DONE
    assert service.asked == [("POST", "/run", result.run, b'{"depth": 3}')]


@pytest.mark.parametrize(
    ("status", "words"), [(500, "HTTP 500"), (302, "HTTP 302"), (404, "not 2xx")]
)
def test_another_status_fails_and_is_not_repeated(
    shop: Shop, service: Service, status: int, words: str
) -> None:
    service.status = status
    result = shop.run(kind="call", url=f"{service.url}/run?token=hidden-away-1")
    assert result.outcome is Outcome.FAILED
    assert words in result.steps[0].detail
    assert "hidden" not in str(result)
    assert len(service.asked) == 1


def test_a_call_without_an_answer_ends_in_time(shop: Shop, service: Service) -> None:
    service.delay = 5
    result = shop.run(kind="call", url=service.url, timeout="300ms")
    assert "no answer within 0.3s" in result.steps[0].detail


def test_nobody_there_is_told_without_a_database(shop: Shop, service: Service) -> None:
    from devnet.ports import free_port

    shop.url_of_others = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    result = shop.run(kind="call", url=f"http://127.0.0.1:{free_port()}/")
    assert "not called" in result.steps[0].detail
    assert shop.run(kind="call", url=service.url).outcome is Outcome.DONE


def test_what_nobody_foresaw_fails_its_run_in_words_and_its_traceback_is_logged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def weird(*_: object) -> None:
        raise KeyError("weird")

    monkeypatch.setitem(runs._KINDS, Kind.CALL, runs._Doing(call.plan, weird))
    result = shop.run(kind="call", url="http://127.0.0.1:1/")
    assert (result.outcome, result.detail) == (Outcome.FAILED, "KeyError: 'weird'")
    (record,) = (record for record in caplog.records if record.exc_info)
    assert record.exc_info
    assert record.exc_info[0] is KeyError
    assert record.__dict__["task"] == "it"


def test_a_url_is_checked_for_its_status(shop: Shop, service: Service) -> None:
    task = {"kind": "check", "url": f"{service.url}/health", "expect": 200, "within": "5s"}
    assert shop.run(**task).outcome is Outcome.DONE
    service.status = 503
    assert "HTTP 503" in shop.run(**task).steps[0].detail
    assert {method for method, *_ in service.asked} == {"GET"}
