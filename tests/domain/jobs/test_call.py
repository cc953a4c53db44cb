"""A call's body is JSON whatever is in it, its URL stays on the service, and its signature can be checked."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.jobs.test_job import BODY
from vaultmesh.domain.errors import InvalidDocument
from vaultmesh.domain.jobs.call import JobCall, signature, url_of
from vaultmesh.domain.jobs.job import read_registration
from vaultmesh.domain.jobs.run import TriggeredBy

ID = UUID("38aeb3d1-82a4-529d-8a25-a9065081dcc8")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


def test_a_body_has_the_documented_keys_in_their_order() -> None:
    call = JobCall(read_registration(BODY), ID, TriggeredBy.MANUAL, "user_1")
    assert call.body.decode() == (
        '{"jobName":"nightly-report","config":{"batchSize":25},"executionId":"38aeb3d1-82a4-529d-8a25-a9065081dcc8",'
        '"triggeredBy":"manual","triggeredByUser":"user_1"}'
    )


@pytest.mark.parametrize(
    ("by", "word"),
    [(TriggeredBy.SCHEDULER, "scheduler"), (TriggeredBy.MANUAL, "manual"), (TriggeredBy.ADMIN, "manual")],
)  # fmt: skip
def test_admin_is_never_sent_since_a_handler_fails_at_it(by: TriggeredBy, word: str) -> None:
    assert json.loads(JobCall(read_registration(BODY), ID, by).body)["triggeredBy"] == word


@given(st.dictionaries(st.text(), JSON), st.text(st.characters()))
def test_every_config_and_user_arrives_as_it_was(config: dict[str, Any], user: str) -> None:
    try:
        job = read_registration({**BODY, "config": config})
    except InvalidDocument:
        return
    body = JobCall(job, ID, TriggeredBy.MANUAL, user).body
    assert body.isascii()
    assert json.loads(body)["config"] == config
    assert json.loads(body).get("triggeredByUser", "") == user


@given(st.text(max_size=40))
def test_a_url_is_one_line_on_its_service(text: str) -> None:
    try:
        endpoint = read_registration({**BODY, "endpoint": f"/{text}"}).endpoint
    except InvalidDocument:
        return
    url = url_of("http://host:1/base", endpoint)
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("http", "host:1", "")
    assert parts.path.startswith("/base/")


def test_a_slash_at_a_urls_end_does_not_double() -> None:
    assert url_of("http://host/", "/a") == url_of("http://host", "/a") == "http://host/a"
    assert url_of("http://host/b//", "/a") == "http://host/b/a"


def test_a_signature_covers_time_and_body() -> None:
    digest = hmac.new(b"key", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature("key", 1_700_000_000, b'{"a":1}') == f"t=1700000000,v1={digest}"
    assert signature("key", 1_700_000_001, b'{"a":1}') != signature("key", 1_700_000_000, b'{"a":1}')  # fmt: skip
