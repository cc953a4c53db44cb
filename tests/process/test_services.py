"""Which services jobs may call is a closed list; what is wrong with it is said at once, and never a secret."""

import pytest

from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.process.logs import without_secrets
from vaultmesh.process.services import NO_SERVICES, Services


def services(**environment: str) -> Services:
    return Services.from_environment(environment)


def problems(**environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        services(**environment)
    return list(refused.value.problems)


def test_a_variable_names_a_service() -> None:
    email = services(EMAIL_SERVICE_URL="http://email:7006").find("email-service")
    assert (email.name, email.url, email.token, email.hmac_key) == (
        "email-service", "http://email:7006", None, None,
    )  # fmt: skip


def test_a_list_names_services_of_any_name() -> None:
    read = services(JOBS_SERVICES=" report=http://report:1/base/ ,crm=https://[::1]:2,, ")
    assert read.names == ["crm", "report"]
    assert read.find("report").url == "http://report:1/base"
    assert read.find("crm").url == "https://[::1]:2"


@pytest.mark.parametrize(
    "url",
    ["http://user_service:80", "https://a.b-c.svc.cluster.local.", "http://127.0.0.1:1", "http://[::1]", "http://[fe80::1%25eth0]:80", "http://0.0.0.0", "HTTP://Mail", "http://3com.example"],
)  # fmt: skip
def test_hosts_of_every_kind_are_taken(url: str) -> None:
    called = services(EMAIL_SERVICE_URL=f"{url}/").find("email-service").url
    assert called.lower() == url.lower()


def test_a_service_is_found_as_its_variable_is_called() -> None:
    read = services(USER_DATA_SERVICE_URL="http://u")
    for name in ("user-data-service", "user_data-service", "User-Data-Service"):
        assert read.find(name).url == "http://u"


def test_secrets_belong_to_one_service_and_show_nowhere() -> None:
    read = services(
        EMAIL_SERVICE_URL="http://e", JOBS_SERVICES="report=http://r", EMAIL_SERVICE_TOKEN="token-of-email",
        REPORT_HMAC_KEY="key-of-report",
    )  # fmt: skip
    email, report = read.find("email-service"), read.find("report")
    assert email.token is not None
    assert (email.token.get_secret_value(), email.hmac_key) == ("token-of-email", None)
    assert report.hmac_key is not None
    assert (report.token, report.hmac_key.get_secret_value()) == (None, "key-of-report")
    said = f"{email!r} {report!r} {read.lines()}"
    assert "token-of-email" not in said
    assert "key-of-report" not in said
    assert without_secrets("token-of-email, key-of-report") == "[redacted], [redacted]"


def test_what_is_called_is_printed_at_start() -> None:
    read = services(
        USER_SERVICE_URL="http://u/", EMAIL_SERVICE_URL="http://e", EMAIL_SERVICE_TOKEN="token-of-email",
        EMAIL_SERVICE_HMAC_KEY="key-of-email", JOBS_SERVICES="crm=http://c", CRM_TOKEN="token-of-crm",
    )  # fmt: skip
    assert read.lines() == [
        "service crm: http://c, called with bearer token",
        "service email-service: http://e, called with bearer token and signature",
        "service user-service: http://u, called with no proof of origin",
    ]
    assert services().lines() == [NO_SERVICES]


@pytest.mark.parametrize(
    "name",
    ["DATABASE_URL", "JOBS_DATABASE_URL", "SUPABASE_URL", "EMAIL_URL", "SERVICE_URL", "_SERVICE_URL", "email_service_url", "EMAIL_SERVICE_URL_2", "EMAIL_SERVICE_HOST"],
)  # fmt: skip
def test_another_variable_is_never_read_as_a_services_url(name: str) -> None:
    read = services(**{name: "postgres://user:password@host/db"})
    assert read.names == []
    for service in ("database", "jobs-database", "supabase", "email", "service", "-service"):
        with pytest.raises(InvalidValue):
            read.find(service)


def test_an_empty_variable_counts_as_unset() -> None:
    assert services(EMAIL_SERVICE_URL="", JOBS_SERVICES="").names == []
    email = services(EMAIL_SERVICE_URL="http://e", EMAIL_SERVICE_TOKEN="").find("email-service")
    assert email.token is None


def test_an_unknown_service_is_not_called_and_says_what_to_set() -> None:
    read = services(EMAIL_SERVICE_URL="http://e")
    with pytest.raises(InvalidValue) as refused:
        read.find("user-service")
    assert str(refused.value) == (
        "'user-service' has no URL here - did you mean 'email-service'? Else set USER_SERVICE_URL, or name it in JOBS_SERVICES"
    )


FORM = "is not a URL we can use - write http:// or https:// with a host, such as http://email:7006"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("email:7006", FORM), ("ftp://e", FORM), ("file:///etc/passwd", FORM), ("http://", FORM), ("http:///a", FORM), ("http://e:0", FORM),
        ("http://e:70000", FORM), ("http://e:x", FORM), ("http://[::1", FORM), ("http://[x]", FORM), ("http://a b", FORM),
        ("http://\u00e9", FORM), ("http://e,f", FORM),
        ("http://.", FORM), ("http://a..b", FORM), ("http://-a", FORM), (f"http://{'a' * 64}", FORM), (f"http://{'a.' * 127}a", FORM),
        ("http://1", FORM), ("http://256.1.1.1", FORM), ("http://1.2.3", FORM),
        ("http://me:password@e", "has a user or a password - remove them, and set the service's _TOKEN instead"),
        ("http://e\\@f", "has a user or a password - remove them, and set the service's _TOKEN instead"),
        ("http://@e", "has a user or a password - remove them, and set the service's _TOKEN instead"),
        ("http://e/?a=b", "has ? or # - end it with host, port or path: a job's endpoint is put behind it"),
        ("http://e?", "has ? or # - end it with host, port or path: a job's endpoint is put behind it"),
        ("http://e/#", "has ? or # - end it with host, port or path: a job's endpoint is put behind it"),
        ("http://e/a/../b", "holds a segment . or .. - write the path that is meant"),
        ("http://e/%2E%2e", "holds a segment . or .. - write the path that is meant"),
        ("http://e/a\\b", "holds a control character, a backslash or # - remove it"),
        ("http://e\n", "holds a blank, a line break or a character beyond ASCII - remove it, or percent-encode it"),
        ("http://e/a b", "holds a blank, a line break or a character beyond ASCII - remove it, or percent-encode it"),
        ("http://e/\u00e9", "holds a blank, a line break or a character beyond ASCII - remove it, or percent-encode it"),
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_called_safely_is_refused_and_not_repeated(
    url: str, problem: str
) -> None:
    (line,) = problems(EMAIL_SERVICE_URL=url)
    assert line == f"EMAIL_SERVICE_URL: {problem}"
    if "," not in url:
        (line,) = problems(
            JOBS_SERVICES=f"report={url}x" if url.endswith("\n") else f"report={url}"
        )
        assert line == f"JOBS_SERVICES: 'report' {problem}"


@pytest.mark.parametrize("entry", ["report", "=http://r", "report=", "http://r"])
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    (line,) = problems(JOBS_SERVICES=f"a=http://a,{entry}")
    assert line == (
        "JOBS_SERVICES: an entry is not name=url - write entries such as report=http://report:7007, with commas between them"
    )


@pytest.mark.parametrize("name", ["admin", "SERVICE"])
def test_no_service_is_sent_what_opens_our_own_api(name: str) -> None:
    (line,) = problems(JOBS_SERVICES=f"{name}=http://x", ADMIN_TOKEN="opens-our-api")
    assert line == (
        f"JOBS_SERVICES: {name!r} can't name a service, since {name.upper()}_TOKEN opens our own API - use another name"
    )


@pytest.mark.parametrize("suffix", ["TOKEN", "HMAC_KEY"])
@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("secret-1\n", "holds a blank, a line break or a character beyond ASCII - remove it"),
        ("secret 123", "holds a blank, a line break or a character beyond ASCII - remove it"),
        ("secret-\u00e9", "holds a blank, a line break or a character beyond ASCII - remove it"),
        ("secret\r\nX-Admin: 1", "holds a blank, a line break or a character beyond ASCII - remove it"),
        ("secret7", "is too short for a secret - use at least 8 characters"),
    ],
)  # fmt: skip
def test_a_secret_that_no_header_holds_stops_the_start_and_not_each_run(
    suffix: str, secret: str, problem: str
) -> None:
    lines = problems(EMAIL_SERVICE_URL="http://e", **{f"EMAIL_SERVICE_{suffix}": secret})
    assert lines == [f"EMAIL_SERVICE_{suffix}: {problem}"]


def test_a_service_with_two_urls_is_refused_and_the_same_one_twice_is_not() -> None:
    assert problems(EMAIL_SERVICE_URL="http://a", JOBS_SERVICES="email-service=http://b") == [
        "JOBS_SERVICES: 'email-service' has two different URLs here - leave one of them out"
    ]
    same = services(EMAIL_SERVICE_URL="http://a", JOBS_SERVICES="email-service=http://a/")
    assert same.names == ["email-service"]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    lines = problems(
        A_SERVICE_URL="x", B_SERVICE_URL="http://b", B_SERVICE_TOKEN="short", JOBS_SERVICES="c,d=y"
    )
    assert [line.split(":")[0] for line in lines] == [
        "A_SERVICE_URL", "B_SERVICE_TOKEN", "JOBS_SERVICES", "JOBS_SERVICES",
    ]  # fmt: skip
