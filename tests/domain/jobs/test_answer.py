"""A handler's answer decides how its run ended; whatever it holds, nothing is raised and tables can hold the rest."""

import json
import sqlite3
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.jobs.test_call import JSON
from vaultmesh.domain.jobs.answer import LARGEST_COUNT, Answer, RunEnd, failed, read_answer
from vaultmesh.domain.jobs.run import RunStatus

KIND = "application/json; charset=utf-8"
GOOD = {"success": True, "itemsProcessed": 3, "itemsSucceeded": 2, "itemsFailed": 1}


def unchanged(text: str) -> str:
    return text


def end_of(body: bytes, **headers: str) -> RunEnd:
    return read_answer(Answer(200, content_type=KIND, body=body, **headers), unchanged)


def end_of_json(**content: Any) -> RunEnd:
    return end_of(json.dumps(content).encode())


def require_storable(end: RunEnd) -> None:
    """Make sure that SQLite and PostgreSQL hold it, and that it travels as JSON."""
    assert end.error is None or (end.error.isprintable() and len(end.error) <= 501)
    for count in (end.items_processed, end.items_succeeded, end.items_failed):
        assert count is None or (type(count) is int and 0 <= count < 2**31)
    text = json.dumps(end.metadata, allow_nan=False)
    assert "\\u0000" not in json.dumps(end.metadata).replace("\\\\", "")
    json.dumps(end.metadata, ensure_ascii=False).encode()
    with sqlite3.connect(":memory:") as database:
        (kept,) = database.execute("SELECT json(?)", (text,)).fetchone()
    assert json.loads(kept) == end.metadata
    assert RunEnd.model_validate_json(end.model_dump_json()) == end
    json.dumps(end.result, allow_nan=False)


def test_a_result_is_kept_as_it_was_sent() -> None:
    end = end_of_json(**GOOD, metadata={"sent": ["a"]}, durationMs=5)
    assert end == RunEnd(
        status=RunStatus.COMPLETED, items_processed=3, items_succeeded=2, items_failed=1,
        metadata={"sent": ["a"]},
    )  # fmt: skip
    assert end.result == {**GOOD, "error": None, "metadata": {"sent": ["a"]}}


def test_success_that_is_left_out_is_success_and_so_are_counts_left_out() -> None:
    assert end_of_json().result == {"success": True, "error": None, "metadata": {}}
    assert end_of_json(itemsFailed=0).result == {
        "success": True, "itemsFailed": 0, "error": None, "metadata": {},
    }  # fmt: skip


def test_a_run_without_success_is_failed_with_the_handlers_error() -> None:
    end = end_of_json(success=False, error="SMTP is\ndown", itemsProcessed=7, metadata={"a": 1})
    assert (end.status, end.error) == (RunStatus.FAILED, "SMTP is down")
    assert end.result == {
        "success": False, "itemsProcessed": 7, "error": "SMTP is down", "metadata": {"a": 1},
    }  # fmt: skip


@pytest.mark.parametrize("success", [False, None, 0, 1, "true", [], {}])
def test_only_true_is_success(success: Any) -> None:
    assert not end_of_json(success=success).is_completed
    assert end_of_json(success=success, error="why").error == "why"


@pytest.mark.parametrize("error", [None, "", " \n", 5, ["why"], {"message": "why"}, True])
def test_a_failure_without_a_text_says_that_there_is_none(error: Any) -> None:
    end = end_of_json(success=False, error=error)
    assert end.error == "the handler did not succeed, and did not say why"
    assert end_of_json(success=True, error=error).error is None


def test_a_remark_on_a_success_is_kept() -> None:
    end = end_of_json(success=True, error="2 addresses bounced")
    assert (end.is_completed, end.result["error"]) == (True, "2 addresses bounced")


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (0, 0), (7, 7), (7.0, 7), (LARGEST_COUNT, LARGEST_COUNT), (LARGEST_COUNT + 1, None), (-1, None), (1.5, None),
        (10**400, None), (1e308, None), (True, None), ("7", None), (None, None), ([7], None), ({}, None),
    ],
)  # fmt: skip
def test_a_count_that_no_column_holds_counts_as_left_out(count: Any, kept: int | None) -> None:
    end = end_of_json(itemsProcessed=count, itemsSucceeded=count, itemsFailed=count)
    assert end.is_completed
    assert (end.items_processed, end.items_succeeded, end.items_failed) == (kept, kept, kept)


@pytest.mark.parametrize("metadata", [None, [], "text", 5, True])
def test_metadata_that_is_no_object_counts_as_left_out(metadata: Any) -> None:
    end = end_of_json(metadata=metadata)
    assert end.is_completed
    assert (end.metadata, end.result["metadata"]) == (None, {})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the answer is not JSON (application/json, 0 bytes)"),
        (b"{", "the answer is not JSON (application/json, 1 bytes)"),
        (b"{}x", "the answer is not JSON (application/json, 3 bytes)"),
        (b"NaN", "the answer is not JSON (application/json, 3 bytes)"),
        (b'{"a":NaN}', "the answer is not JSON (application/json, 9 bytes)"),
        (b'{"a":"\x01"}', "the answer is not JSON (application/json, 9 bytes)"),
        (b"[" * 10_000, "the answer is not JSON (application/json, 10 kB)"),
        (b'{"metadata":' * 10_000, "the answer is not JSON (application/json, 120 kB)"),
        (b'{"itemsProcessed":' + b"9" * 100_000 + b"}", "the answer is not JSON (application/json, 100 kB)"),
        ("{}".encode("utf-16"), "the answer is not JSON (application/json, 6 bytes)"),
        (b"[]", "the answer is not a JSON object (application/json, 2 bytes)"),
        (b"null", "the answer is not a JSON object (application/json, 4 bytes)"),
        (b'"done"', "the answer is not a JSON object (application/json, 6 bytes)"),
        (b"1e999", "the answer is not a JSON object (application/json, 5 bytes)"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_object_fails_the_run(body: bytes, error: str) -> None:
    end = end_of(body)
    assert end == failed(error)
    assert end.result == {
        "success": False, "itemsProcessed": 0, "itemsSucceeded": 0, "itemsFailed": 0, "error": error, "metadata": {},
    }  # fmt: skip


def test_the_body_of_a_failure_does_not_count() -> None:
    answer = Answer(500, reason="Internal Server Error", body=json.dumps(GOOD).encode())
    assert read_answer(answer, unchanged) == failed("HTTP 500: Internal Server Error")


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        (b'{"metadata":{"a":"\\u0000"}}', {"a": "\ufffd"}),
        (b'{"metadata":{"\\u0000":[{"\\u0000":1}]}}', {"\ufffd": [{"\ufffd": 1}]}),
        (b'{"metadata":{"a":1e999,"b":[-1e999]}}', {"a": None, "b": [None]}),
        (b'{"metadata":{"a":"cut \\ud83d"}}', {"a": "cut \ufffd"}),
        (b'{"metadata":{"a":"\\udc00\\ud83d\\ude00\\ud83d"}}', {"a": "\ufffd\U0001f600\ufffd"}),
        (b'{"metadata":{"a":"\\\\ud800"}}', {"a": "\\ud800"}),
        (b'{"metadata":{"a":"\\\\\\ud800"}}', {"a": "\\\ufffd"}),
        (b'{"metadata":{"a":"\xff\xed\xa0\x80"}}', {"a": "\ufffd\ufffd\ufffd\ufffd"}),
        (b'\xef\xbb\xbf{"metadata":{"a":"\xc3\xa9"}}', {"a": "\xe9"}),
        (b'{"metadata":{"a":1},"metadata":{"b":2}}', {"b": 2}),
        (b'{"metadata":{"a":1,"a":2}}', {"a": 2}),
        (b'{"metadata":{"a":' + b"9" * 4_000 + b"}}", {"a": int("9" * 4_000)}),
        (b'{"metadata":{"a":"\x7f\\u001b\\u2028"}}', {"a": "\x7f\x1b\u2028"}),
        (b'{"metadata":' + b'{"a":' * 195 + b"1" + b"}" * 196, None),
    ],
)  # fmt: skip
def test_a_run_that_succeeded_stays_so_whatever_its_texts_hold(body: bytes, metadata: Any) -> None:
    end = end_of(body)
    assert end.is_completed
    if metadata is not None:
        assert end.metadata == metadata
    require_storable(end)


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "no-such", "\x00", "zip", "idna"])
def test_an_answer_is_read_as_utf8_whatever_its_header_says(charset: str) -> None:
    body = '{"success":false,"error":"caf\u00e9"}'.encode()
    answer = Answer(200, content_type=f"application/json; charset={charset}", body=body)
    assert read_answer(answer, unchanged).error == "caf\u00e9"


def test_a_compressed_answer_is_no_answer() -> None:
    assert end_of(b"{}", content_encoding="br").error == (
        "the answer is not JSON (application/json as br, 2 bytes)"
    )


PIECES = st.sampled_from(
    [
        b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"d83d", b"\\ude00", b"\\u0000", b"\x00", b"\xff",
        b'"success"', b'"error"', b'"metadata"', b'"itemsProcessed"', b"true", b"false", b"null", b"1e999", b"-0.0", b"9" * 40,
    ]
)  # fmt: skip


@given(st.binary() | st.lists(PIECES, max_size=40).map(b"".join), st.integers(100, 999), st.text())
def test_no_answer_raises_or_holds_what_no_table_does(body: bytes, status: int, text: str) -> None:
    for answer in (
        Answer(200, body=body),
        Answer(status, text, text, text, body),
    ):
        require_storable(read_answer(answer, unchanged))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("success", "error", "metadata", "itemsProcessed", "itemsSucceeded", "itemsFailed"), JSON
)))  # fmt: skip
def test_every_json_object_is_an_answer(content: dict[str, Any]) -> None:
    end = end_of_json(**content)
    require_storable(end)
    assert end.is_completed == (content.get("success", True) is True)
    metadata = content.get("metadata")
    if isinstance(metadata, dict) and "\\u0000" not in json.dumps(metadata):
        assert end.metadata == metadata


def test_secrets_are_taken_out_of_texts_and_numbers_stay() -> None:
    def redact(text: str) -> str:
        return text.replace("12345678", "[redacted]")

    content = {
        "success": False, "error": "no 12345678", "itemsProcessed": 12345678,
        "metadata": {"n": 12345678, "t": ["x12345678", {"12345678": None}]},
    }  # fmt: skip
    end = read_answer(Answer(200, body=json.dumps(content).encode()), redact)
    assert (end.error, end.items_processed) == ("no [redacted]", 12345678)
    assert end.metadata == {"n": 12345678, "t": ["x[redacted]", {"[redacted]": None}]}
    assert "12345678" not in (read_answer(Answer(500, "12345678"), redact).error or "")
    assert "12345678" not in (read_answer(Answer(200, "", "12345678"), redact).error or "")


def test_a_number_without_bounds_is_none_that_is_kept() -> None:
    end = end_of(b'{"metadata":{"a":[1e308,1e309]}}')
    assert end.metadata is not None
    assert end.metadata["a"] == [1e308, None]
    assert isfinite(1e308)
