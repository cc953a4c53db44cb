"""The sample service answers as its three jobs promise, whoever calls."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from devnet.sample_service import FAILS, SLOW, WHY, WORKS, SampleService


@pytest.fixture
def service() -> Iterator[SampleService]:
    running = SampleService()
    running.start()
    yield running
    running.close()


def _call(service: SampleService, path: str, body: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=30)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def test_one_job_works_and_one_fails_with_its_reason(service: SampleService) -> None:
    assert _call(service, WORKS, "{}") == (
        200,
        {"success": True, "itemsProcessed": 3, "itemsSucceeded": 3, "itemsFailed": 0},
    )
    status, answer = _call(service, FAILS, '{"config": {}}')
    assert (status, answer["success"], answer["error"]) == (200, False, WHY)


def test_the_slow_job_takes_the_time_that_it_is_given(service: SampleService) -> None:
    began = time.monotonic()
    status, answer = _call(service, SLOW, '{"config": {"seconds": 0.5}}')
    assert (status, answer["success"]) == (200, True)
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("config", ["null", "[]", '{"seconds": "long"}', '{"seconds": -1}'])
def test_a_slow_job_without_a_time_answers_at_once(service: SampleService, config: str) -> None:
    assert _call(service, SLOW, f'{{"config": {config}}}')[0] == 200


def test_who_ends_the_service_waits_for_no_job(service: SampleService) -> None:
    service.hurry()
    began = time.monotonic()
    assert _call(service, SLOW, '{"config": {"seconds": 60}}')[0] == 200
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("body", ["", "{", "[]", "1"])
def test_what_is_no_call_is_refused(service: SampleService, body: str) -> None:
    assert _call(service, WORKS, body)[0] == 400


def test_a_job_that_it_has_not_is_not_found(service: SampleService) -> None:
    assert _call(service, "/jobs/other", "{}")[0] == 404
