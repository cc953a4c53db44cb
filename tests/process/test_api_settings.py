"""Settings of the job API: names, aliases, defaults, and all bad values at once."""

from ipaddress import ip_network

import pytest

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process import logs
from vaultmesh.process.api_settings import ApiSettings

TOKEN = "a-long-token-of-these-tests"


def refusals(**environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        ApiSettings.from_environment(environment)
    return list(caught.value.problems)


def test_an_empty_environment_gives_the_documented_defaults_and_says_what_is_closed() -> None:
    settings = ApiSettings.from_environment({"API_PORT": "", "ADMIN_TOKEN": ""})
    assert (settings.host, settings.port) == ("0.0.0.0", 7007)  # noqa: S104
    assert (settings.service_token, settings.admin_token, settings.anonymous_registration) == (
        None,
        None,
        False,
    )
    assert settings.allowed_origins == ("http://localhost:3000",)
    assert (settings.rate_limit, settings.rate_window_milliseconds) == (100, 60_000)
    assert settings.trusted_proxies == ()
    assert [warning.split(" ")[0] for warning in settings.warnings] == [
        "SERVICE_TOKEN",
        "ADMIN_TOKEN",
    ]


def test_the_defaults_of_both_forms_are_the_same() -> None:
    read = ApiSettings.from_environment({"SERVICE_TOKEN": TOKEN, "ADMIN_TOKEN": TOKEN})
    plain = ApiSettings(service_token=read.service_token, admin_token=read.admin_token)
    assert read == plain


def test_every_variable_is_read() -> None:
    settings = ApiSettings.from_environment(
        {
            "API_PORT": "7008",
            "API_HOST": "::1",
            "SERVICE_TOKEN": f" {TOKEN}\n",
            "ADMIN_TOKEN": f"{TOKEN}2",
            "ALLOW_ANONYMOUS_REGISTRATION": "true",
            "ALLOWED_ORIGINS": "https://Admin.example/ , http://localhost:3000,",
            "RATE_LIMIT_MAX": "5",
            "RATE_LIMIT_WINDOW": "1000",
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1,192.0.2.1",
        }
    )
    assert (settings.host, settings.port) == ("::1", 7008)
    assert settings.service_token is not None
    assert settings.service_token.get_secret_value() == TOKEN
    assert settings.anonymous_registration is True
    assert settings.allowed_origins == ("https://admin.example", "http://localhost:3000")
    assert (settings.rate_limit, settings.rate_window_milliseconds) == (5, 1_000)
    assert settings.trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("::1"),
        ip_network("192.0.2.1"),
    )
    (said,) = settings.warnings
    assert said.startswith("ALLOW_ANONYMOUS_REGISTRATION has no effect while SERVICE_TOKEN is set")


def test_the_names_of_the_scheduler_before_us_do_as_well_and_ours_count_more() -> None:
    settings = ApiSettings.from_environment({"PORT": "8080", "HOST": "127.0.0.1"})
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    settings = ApiSettings.from_environment(
        {"PORT": "8080", "API_PORT": "7007", "HOST": "x", "API_HOST": "::"}
    )
    assert (settings.host, settings.port) == ("::", 7007)


def test_open_registration_and_weak_tokens_are_said() -> None:
    (open_to_all, weak) = ApiSettings.from_environment(
        {"ALLOW_ANONYMOUS_REGISTRATION": "true", "ADMIN_TOKEN": "short"}
    ).warnings
    assert "whoever reaches the API" in open_to_all
    assert weak.startswith("ADMIN_TOKEN is short")


def test_a_secret_key_that_is_not_needed_is_said_and_never_logged() -> None:
    told = {"CLERK_SECRET_KEY": "sk_test_0123456789", "SERVICE_TOKEN": TOKEN, "ADMIN_TOKEN": TOKEN}
    (said,) = ApiSettings.from_environment(told).warnings
    assert (
        said
        == "CLERK_SECRET_KEY is no longer needed: tokens are checked by public keys - remove it"
    )
    assert "sk_test_0123456789" not in logs.without_secrets("it is sk_test_0123456789")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("API_PORT", "70000", "too large - use at most 65535"),
        ("PORT", "http", "not a number - write digits"),
        ("HOST", "a b", "no address to listen on"),
        ("API_HOST", "http://x/", "no address to listen on"),
        ("ADMIN_TOKEN", "a b", "visible ASCII"),
        ("SERVICE_TOKEN", "tökän", "visible ASCII"),
        ("ALLOW_ANONYMOUS_REGISTRATION", "yes", "true nor false"),
        ("CLERK_PUBLISHABLE_KEY", "pk_test_0123456789", "no publishable key of Clerk - copy it"),
        (
            "ADMIN_JWT_ISSUER",
            "clerk.example",
            "no URL, so that its keys can't be found by it - set",
        ),
        ("ADMIN_JWT_ISSUER", "https://user:word@clerk.example", "no URL, so that its keys"),
        ("ADMIN_JWT_ISSUER", "https://clerk.example/?a=b", "no URL, so that its keys"),
        ("ADMIN_JWT_ISSUER", "an issuer", "holds blanks"),
        ("ADMIN_JWT_JWKS_URL", "ftp://clerk.example/keys", "not a URL we can use - write https://"),
        ("ADMIN_JWT_JWKS_URL", "https://user:word@clerk.example/keys", "without user, password"),
        (
            "ADMIN_JWT_JWKS_URL",
            "https://clerk.example/keys",
            "whose keys these are is not said - set",
        ),
        ("ADMIN_JWKS_URL", "clerk.example", "not a URL we can use"),
        ("ADMIN_JWT_AUDIENCE", "a b", "holds blanks"),
        ("ADMIN_JWT_AUDIENCE", "a" * 256, "at most 255"),
        ("ADMIN_ROLE_CLAIM", "metadata..role", "no path to a claim - write names with dots"),
        ("ADMIN_ROLE_CLAIM", ".role", "no path to a claim"),
        ("ADMIN_ROLE_CLAIM", "my role", "holds blanks"),
        ("ALLOWED_ORIGINS", "*", "no origin - write each as http"),
        ("ALLOWED_ORIGINS", "https://a.example,localhost:3000", "no origin"),
        ("ALLOWED_ORIGINS", "https://a.example/path", "no origin"),
        ("ALLOWED_ORIGINS", "https://user@a.example", "no origin"),
        ("RATE_LIMIT_MAX", "0", "use at least 1"),
        ("RATE_LIMIT_MAX", "-1", "not a whole number"),
        ("RATE_LIMIT_WINDOW", "1m", "not a whole number - write digits"),
        ("RATE_LIMIT_WINDOW", "1", "use at least 1000"),
        ("TRUSTED_PROXIES", "10.0.0.0/40", "no address or network"),
        ("TRUSTED_PROXIES", "ingress", "no address or network"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_how_to_mend_it(
    name: str, value: str, words: str
) -> None:
    (line,) = refusals(**{name: value})
    assert line.startswith(f"{name}: ")
    assert words in line


def test_all_bad_values_are_reported_at_once() -> None:
    assert len(refusals(PORT="x", RATE_LIMIT_MAX="y", ALLOWED_ORIGINS="z")) == 3


def test_no_refusal_holds_a_token_and_none_is_logged() -> None:
    (line,) = refusals(ADMIN_TOKEN="a secret")
    assert "a secret" not in line
    ApiSettings.from_environment({"ADMIN_TOKEN": TOKEN})
    assert TOKEN not in logs.without_secrets(f"it is {TOKEN}")
    assert TOKEN not in repr(ApiSettings.from_environment({"ADMIN_TOKEN": TOKEN}))
