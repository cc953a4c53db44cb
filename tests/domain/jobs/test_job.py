"""What a service may register, in which words the rest is refused, and what is shown of a job."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError

from vaultmesh.domain.errors import InvalidDocument
from vaultmesh.domain.jobs.job import (
    JobDefinition,
    JobType,
    JobView,
    check_endpoint,
    read_registration,
    read_row,
    unknown_service,
    variable_of,
)
from vaultmesh.domain.jobs.run import RunStatus

BODY: dict[str, JsonValue] = {
    "name": "nightly-report",
    "displayName": "Nightly report",
    "description": "Mail the report",
    "cronExpression": "0 3 * * *",
    "enabled": True,
    "jobType": "analytics",
    "service": "report-service",
    "endpoint": "/api/jobs/nightly-report",
    "config": {"batchSize": 25},
}
REQUIRED = sorted(set(BODY) - {"config"})
NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)


def problems(**changes: JsonValue) -> list[str]:
    """Return what is wrong with the body after a change."""
    with pytest.raises(InvalidDocument) as refused:
        read_registration({**BODY, **changes})
    return str(refused.value).split("\n")


def test_a_registration_is_read() -> None:
    job = read_registration(BODY)
    assert (job.name, job.display_name, job.description) == (
        "nightly-report", "Nightly report", "Mail the report",
    )  # fmt: skip
    assert (job.cron_expression, job.enabled, job.job_type) == (
        "0 3 * * *",
        True,
        JobType.ANALYTICS,
    )
    assert (job.service, job.endpoint) == ("report-service", "/api/jobs/nightly-report")
    assert job.config == {"batchSize": 25}


def test_a_job_travels_as_json_and_comes_back_the_same() -> None:
    job = read_registration({**BODY, "policy": {"catchUpSeconds": 5}})
    text = job.model_dump_json(by_alias=True)
    assert json.loads(text) == {**BODY, "policy": {
        "timeoutSeconds": 300, "catchUpSeconds": 5, "idempotent": False, "maxAttempts": 1,
    }}  # fmt: skip
    assert JobDefinition.model_validate_json(text) == job


def test_the_longest_name_is_taken() -> None:
    assert read_registration({**BODY, "name": "é" * 100}).name == "é" * 100


def test_what_clients_send_beside_is_ignored() -> None:
    assert read_registration({**BODY, "owner": "me"}) == read_registration(BODY)


def test_config_and_policy_may_be_left_out() -> None:
    job = read_registration({key: BODY[key] for key in REQUIRED})
    assert job.config == {}
    assert (job.policy.timeout, job.policy.catch_up) == (timedelta(minutes=5), timedelta(minutes=1))
    assert job.policy.attempts == 1


@pytest.mark.parametrize("key", REQUIRED)
def test_what_is_missing_is_named(key: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_registration({other: BODY[other] for other in BODY if other != key})
    assert str(refused.value) == f"{key}: is missing - add it"


@pytest.mark.parametrize("key", [key for key in REQUIRED if key not in ("enabled", "jobType")])
def test_an_empty_text_is_refused(key: str) -> None:
    assert problems(**{key: ""}) == [f"{key}: is empty - write a text"]


@pytest.mark.parametrize("key", [key for key in REQUIRED if key not in ("enabled", "jobType")])
@pytest.mark.parametrize("value", [None, 1, ["x"], {}])
def test_what_is_no_text_is_refused(key: str, value: JsonValue) -> None:
    (problem,) = problems(**{key: value})
    assert problem.startswith(f"{key}: is not a text")


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
@pytest.mark.parametrize("key", ["name", "displayName", "description", "service", "endpoint"])
def test_a_text_that_no_table_holds_is_refused_and_does_not_fail_the_store(
    key: str, text: str
) -> None:
    (problem,) = problems(**{key: f"/{text}"})
    assert problem.startswith(f"{key}: ")
    (problem,) = problems(config={"a": [{text: 1}]})
    assert problem.startswith("config: holds ")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_in_json_is_refused(number: float) -> None:
    (problem,) = problems(config={"a": [number]})
    assert problem.startswith("config")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"enabled": "true"}, "enabled: is neither true nor false - write true or false without quotes"),
        ({"enabled": 1}, "enabled: is neither true nor false - write true or false without quotes"),
        (
            {"jobType": "mail"},
            "jobType: is not a word that is known here - use one of: email, crawler, cleanup, analytics, other",
        ),
        ({"config": None}, "config: does not hold keys and values - write keys and values below it"),
        ({"config": []}, "config: does not hold keys and values - write keys and values below it"),
        (
            {"cronExpression": "0 25 * * *"},
            "cronExpression: 25 is a invalid expression for hour: 25 is out of range - use 0 to 23",
        ),
        (
            {"cronExpression": "@daily"},
            "cronExpression: '@daily' is no cron expression: names with @ are not known here - write 0 0 * * *",
        ),
        (
            {"name": "maintenance:vacuum"},
            "name: begins with maintenance:, as maintenance tasks do - use another name",
        ),
        ({"name": "é" * 101}, "name: is too long - write at most 200 bytes"),
        ({"policy": {"maxAttempts": 101}}, "policy.maxAttempts: is too large - use at most 100"),
        ({"name": " report"}, "name: has control characters, or spaces around it - remove them"),
        ({"name": "re\nport"}, "name: has control characters, or spaces around it - remove them"),
        (
            {"policy": {"timeoutSecond": 5}},
            "policy.timeoutSecond: unknown key - did you mean 'timeoutSeconds'? Else remove it, or use one of: catchUpSeconds, idempotent, maxAttempts, timeoutSeconds",
        ),
        ({"policy": {"timeoutSeconds": 0}}, "policy.timeoutSeconds: is too small - use at least 1"),
        ({"policy": {"catchUpSeconds": 0}}, "policy.catchUpSeconds: is too small - use at least 1"),
        ({"policy": {"catchUpSeconds": 604_801}}, "policy.catchUpSeconds: is too large - use at most 604800"),
        ({"policy": {"maxAttempts": 0}}, "policy.maxAttempts: is too small - use at least 1"),
        ({"policy": {"idempotent": "yes"}}, "policy.idempotent: is neither true nor false - write true or false without quotes"),
        ({"policy": {"timeoutSeconds": "5"}}, "policy.timeoutSeconds: is not a whole number - write a whole number without quotes"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_where_and_how_to_mend_it(
    changes: dict[str, JsonValue], problem: str
) -> None:
    assert problems(**changes) == [problem]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    keys = [
        line.split(":")[0]
        for line in problems(name="", enabled="x", cronExpression="?", endpoint="x")
    ]
    assert keys == ["name", "cronExpression", "enabled", "endpoint"]


@pytest.mark.parametrize("body", [None, [], "job", 3, True])
def test_a_body_that_is_no_object_is_refused(body: JsonValue) -> None:
    with pytest.raises(InvalidDocument, match="send an object with the job's keys and values"):
        read_registration(body)


def test_a_key_is_read_by_its_documented_name_alone() -> None:
    body = {key: BODY[key] for key in BODY if key != "displayName"}
    with pytest.raises(InvalidDocument, match="displayName: is missing"):
        read_registration({**body, "display_name": "Nightly report"})


def test_a_call_is_repeated_only_if_the_job_says_that_it_may_be() -> None:
    policy: dict[str, JsonValue] = {"maxAttempts": 3}
    assert read_registration({**BODY, "policy": policy}).policy.attempts == 1
    policy["idempotent"] = True
    assert read_registration({**BODY, "policy": policy}).policy.attempts == 3


def test_a_definition_does_not_change() -> None:
    with pytest.raises(ValidationError):
        read_registration(BODY).enabled = False  # type: ignore[misc]


# --- endpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "/", "/api/jobs/weekly-digest", "/a/.well-known/b", "/a..b/c...", "/a?x=../y&z=%2e%2e", "/ü/%20",
        "//a", "/a/", "/..a;b/.well-known;x", "/" + "a" * 1_999,
    ],
)  # fmt: skip
def test_an_endpoint_is_kept_as_it_was_written(endpoint: str) -> None:
    assert check_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "api", "http://evil/", "@evil/", ":80/", "?x", "/a\\b", "/a#b", "/a\nHost: evil", "/a\x7f", "/a\x85",
        "/..", "/../x", "/a/../b", "/a/.", "/./a", "/%2e%2e/x", "/.%2E/x", "/a%2f..%2fb", "/a%5c..%5cb", "/a/..?x",
        "/a/..;x=1/b", "/.;/b", "/%2e%2e;/b", "/" + "a" * 2_000, "/a\r\nX: y", "/a\tb", "/a\x00b", "/a\ud800b",
    ],
)  # fmt: skip
def test_an_endpoint_that_may_leave_its_service_is_refused(endpoint: str) -> None:
    (problem,) = problems(endpoint=endpoint)
    assert problem.startswith("endpoint: ")
    assert " - " in problem


@given(st.text(max_size=40))
def test_no_endpoint_leads_out_of_the_services_url(text: str) -> None:
    try:
        endpoint = read_registration({**BODY, "endpoint": f"/{text}"}).endpoint
    except InvalidDocument:
        return
    assert endpoint == f"/{text}"
    assert not {".", ".."} & set(endpoint.split("?")[0].split("/"))


# --- rows ----------------------------------------------------------------------------------------------------------

ROW: dict[str, JsonValue] = {
    "job_name": "auto-enhance-metadata",
    "cron_expression": "0 4 * * *",
    "service": "crawler-service",
    "endpoint": "/api/enhance/auto",
    "config": {"limit": 10},
}
NULLS: dict[str, JsonValue] = dict.fromkeys(("display_name", "description", "enabled", "job_type"))


@pytest.mark.parametrize("row", [ROW, NULLS | ROW], ids=["left out", "null"])
def test_a_row_written_by_sql_may_be_partial_and_fires_nothing_unasked(
    row: dict[str, JsonValue],
) -> None:
    job = read_row(row)
    assert (job.name, job.display_name, job.job_type) == (
        "auto-enhance-metadata", "auto-enhance-metadata", JobType.OTHER,
    )  # fmt: skip
    assert not job.enabled
    assert job.config == {"limit": 10}
    assert job.policy.timeout_seconds == 300


def test_a_whole_row_is_the_job_that_was_registered() -> None:
    row: dict[str, JsonValue] = {
        "job_name": BODY["name"], "display_name": BODY["displayName"], "description": BODY["description"],
        "cron_expression": BODY["cronExpression"], "enabled": True, "job_type": BODY["jobType"],
        "service": BODY["service"], "endpoint": BODY["endpoint"], "config": BODY["config"], "total_runs": 7,
    }  # fmt: skip
    assert read_row(row) == read_registration(BODY)
    assert read_row(row, {"timeoutSeconds": 5}).policy.timeout_seconds == 5
    assert read_row({**row, "config": None}).config == {}


def test_a_row_that_cannot_run_says_why() -> None:
    row: dict[str, JsonValue] = {**ROW, "cron_expression": "@daily", "endpoint": None}
    with pytest.raises(InvalidDocument) as refused:
        read_row(row)
    assert [problem.path for problem in refused.value.problems] == [
        ("cronExpression",), ("endpoint",),
    ]  # fmt: skip


# --- services, and what is shown -----------------------------------------------------------------------------------


def test_a_services_variable_is_its_name_in_capitals() -> None:
    assert variable_of("email-service", "URL") == "EMAIL_SERVICE_URL"
    assert variable_of("email-service", "HMAC_KEY") == "EMAIL_SERVICE_HMAC_KEY"


def test_a_service_without_a_url_is_never_called_at_our_own_address() -> None:
    assert unknown_service("user-service", ["email-service"]) == (
        "'user-service' has no URL here - did you mean 'email-service'? Else set USER_SERVICE_URL, or name it in JOBS_SERVICES"
    )
    assert unknown_service("crm-service", []) == (
        "'crm-service' has no URL here - set CRM_SERVICE_URL, or name it in JOBS_SERVICES"
    )


@pytest.mark.parametrize("service", ["database", "crm", "-service", "ü-service", "a b-service", ""])
def test_nobody_is_told_to_set_a_variable_that_is_not_read(service: str) -> None:
    assert unknown_service(service, []) == (
        f"{service!r} has no URL here - name it in JOBS_SERVICES"
    )


def test_the_next_run_is_that_of_the_expression_and_none_while_disabled() -> None:
    job = read_registration(BODY)
    assert job.next_run(NOW) == datetime(2026, 1, 16, 3, tzinfo=UTC)
    assert job.model_copy(update={"enabled": False}).next_run(NOW) is None
    never = read_registration({**BODY, "cronExpression": "0 0 31 2 *"})
    assert never.next_run(NOW) is None


def test_a_job_is_shown_with_the_documented_keys() -> None:
    view = JobView(
        **BODY, isRunning=True, lastRunAt=NOW, lastRunStatus="failed", lastRunDuration=0,  # type: ignore[arg-type]
    )  # fmt: skip
    assert view.last_run_status is RunStatus.FAILED
    assert json.loads(view.model_dump_json(by_alias=True)) == {
        **BODY, "isRunning": True, "lastRunAt": "2026-01-15T10:00:00Z", "nextRunAt": None, "lastRunStatus": "failed",
        "lastRunDuration": 0, "totalRuns": 0, "successfulRuns": 0, "failedRuns": 0,
    }  # fmt: skip
