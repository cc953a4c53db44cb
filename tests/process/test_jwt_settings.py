"""Whose JWTs are taken: what Clerk's key says, what other variables say, and which of both counts."""

import base64

import pytest

from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.process import logs
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.process.jwt_settings import JwtSettings, clerk_host

TOKEN = "a-long-token-of-these-tests"
CLOSED = {"SERVICE_TOKEN": TOKEN, "ADMIN_TOKEN": TOKEN}
CLERK_KEY = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"
"""As Clerk's documents show one: of clerk.example.com."""
KEYS = "/.well-known/jwks.json"


def encoded(text: str, kind: str = "pk_test_") -> str:
    return kind + base64.b64encode(text.encode()).decode()


def read(**environment: str) -> ApiSettings:
    return ApiSettings.from_environment({**CLOSED, **environment})


def issuer(**environment: str) -> tuple[str, str]:
    """Return issuer and place of the keys."""
    told = read(**environment).jwt
    assert told is not None
    return told.issuer, told.keys_url.get_secret_value()


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (CLERK_KEY, "clerk.example.com"),
        (f" {CLERK_KEY}\n", "clerk.example.com"),
        ("pk_test_ZWFnZXItYXNwLTExLmNsZXJrLmFjY291bnRzLmRldiQ", "eager-asp-11.clerk.accounts.dev"),
        (encoded("a.clerk.accounts.dev$"), "a.clerk.accounts.dev"),
        (encoded("a.clerk.accounts.dev$").rstrip("="), "a.clerk.accounts.dev"),
        (encoded("Clerk.Example.com$", "pk_live_"), "clerk.example.com"),
    ],
)
def test_a_publishable_key_names_the_host_of_its_instance(key: str, host: str) -> None:
    assert clerk_host(key) == host


@pytest.mark.parametrize(
    "key",
    [
        "", "pk_test_", "pk_test_$", "pk_live_Y2xlcms", CLERK_KEY.removeprefix("pk_test_"), CLERK_KEY[:-1], f"{CLERK_KEY}x",
        CLERK_KEY.replace("pk_", "sk_"), CLERK_KEY.replace("test", "prod"), f"{CLERK_KEY}\n{CLERK_KEY}", "pk_test_ä",
        encoded("clerk.example.com"), encoded("$"), encoded("clerk$"), encoded("clerk.example.com$$"), encoded("clerk.example.com$x"),
        encoded("clerk.example.com:8443$"), encoded("clerk.example.com/x$"), encoded("user@clerk.example.com$"), encoded("clerk example.com$"),
        encoded("https://clerk.example.com$"), encoded("-.example.com$"), encoded("clerk..com$"), encoded("clérk.example.com$"),
    ],
)  # fmt: skip
def test_what_is_no_publishable_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        clerk_host(key)
    assert str(caught.value).startswith("is no publishable key of Clerk - copy it whole")
    assert not key[8:] or key[8:] not in str(caught.value)


def test_a_publishable_key_alone_gives_issuer_and_keys() -> None:
    host = "https://clerk.example.com"
    told = read(CLERK_PUBLISHABLE_KEY=CLERK_KEY)
    assert isinstance(told.jwt, JwtSettings)
    assert issuer(CLERK_PUBLISHABLE_KEY=CLERK_KEY) == (host, host + KEYS)
    assert (told.jwt.audience, told.jwt.role_claim) == (None, None)


def test_what_is_named_counts_more_than_the_publishable_key() -> None:
    own, keys = "https://example.com/__clerk", "http://127.0.0.1:8080/keys"
    clerk = {"CLERK_PUBLISHABLE_KEY": CLERK_KEY}
    assert issuer(**clerk, ADMIN_JWT_ISSUER=own) == (own, own + KEYS)
    assert issuer(**clerk, ADMIN_JWT_JWKS_URL=keys) == ("https://clerk.example.com", keys)
    assert issuer(**clerk, ADMIN_JWT_ISSUER=own, ADMIN_JWT_JWKS_URL=keys) == (own, keys)


def test_an_issuer_is_kept_letter_for_letter_and_has_its_keys_at_the_usual_place() -> None:
    assert issuer(ADMIN_JWT_ISSUER="https://Login.example/") == (
        "https://Login.example/",
        f"https://Login.example{KEYS}",
    )
    named = {"ADMIN_JWT_ISSUER": "some-issuer", "ADMIN_JWKS_URL": "https://login.example/keys"}
    assert issuer(**named) == ("some-issuer", "https://login.example/keys")


def test_audience_and_claim_are_read() -> None:
    told = read(
        CLERK_PUBLISHABLE_KEY=CLERK_KEY,
        ADMIN_JWT_AUDIENCE="scheduler",
        ADMIN_ROLE_CLAIM="https://app.example/role",
    )
    assert told.jwt is not None
    assert (told.jwt.audience, told.jwt.role_claim) == ("scheduler", "https://app.example/role")
    assert told.warnings == ()


def test_without_an_issuer_no_jwt_is_taken_and_what_has_no_effect_is_said() -> None:
    told = read(ADMIN_JWT_AUDIENCE="scheduler", ADMIN_ROLE_CLAIM="role")
    assert told.jwt is None
    assert [line.split(" ")[0] for line in told.warnings] == [
        "ADMIN_JWT_AUDIENCE",
        "ADMIN_ROLE_CLAIM",
    ]
    assert all("has no effect without ADMIN_JWT_ISSUER" in line for line in told.warnings)


def test_with_an_issuer_nobody_is_told_to_set_the_static_token() -> None:
    told = {"SERVICE_TOKEN": TOKEN, "CLERK_PUBLISHABLE_KEY": CLERK_KEY, "ADMIN_ROLE_CLAIM": "role"}
    assert ApiSettings.from_environment(told).warnings == ()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, True),
        ({"JOBS_DATABASE_URL": "sqlite"}, True),
        ({"JOBS_DATABASE_URL": "postgresql://db/app"}, False),
        ({"USERS_DATABASE_URL": "postgresql://db/app"}, False),
        ({"ADMIN_ROLE_CLAIM": "role"}, False),
    ],
)
def test_roles_that_would_be_looked_up_where_no_users_are_kept_are_said(
    environment: dict[str, str], said: bool
) -> None:
    lines = read(CLERK_PUBLISHABLE_KEY=CLERK_KEY, **environment).warnings
    assert [line for line in lines if line.startswith("the roles of users are looked up")] == list(
        lines
    )
    assert bool(lines) == said


def test_keys_that_come_in_the_clear_are_said_unless_they_come_from_this_machine() -> None:
    claim = {"CLERK_PUBLISHABLE_KEY": CLERK_KEY, "ADMIN_ROLE_CLAIM": "role"}
    (line,) = read(**claim, ADMIN_JWT_JWKS_URL="http://login.example/keys").warnings
    assert line == "ADMIN_JWT_JWKS_URL: whoever is on the way can put keys in - use https"
    assert read(**claim, ADMIN_JWT_JWKS_URL="http://127.0.0.1:80/keys").warnings == ()


def test_no_secret_of_a_url_is_shown_or_logged() -> None:
    password, access = "a-password-of-tests", "0123456789abcdef0123"
    told = read(
        CLERK_PUBLISHABLE_KEY=CLERK_KEY,
        USERS_DATABASE_URL=f"postgresql://app:{password}@db/app",
        ADMIN_JWT_JWKS_URL=f"https://login.example/keys?key={access}",
    )
    for secret in (password, access):
        assert secret not in repr(told)
        assert secret not in logs.without_secrets(f"it is {secret}")
    with pytest.raises(ConfigurationError) as caught:
        read(ADMIN_JWT_JWKS_URL=f"login.example/{access}")
    assert access not in str(caught.value)
