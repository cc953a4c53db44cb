"""Reads what the job API is told by its environment: where it listens, who may ask, from where, and how often."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic import ValidationError as Invalid

from vaultmesh.domain.errors import ConfigurationError, InvalidValue, problems_of
from vaultmesh.domain.setting_values import Count, Flag
from vaultmesh.process import logs
from vaultmesh.process.jwt_settings import (
    ClaimPath,
    ClerkHost,
    JwtSettings,
    KeysUrl,
    Visible,
    jwt_settings,
    jwt_warnings,
)
from vaultmesh.process.settings import Port

Network = IPv4Network | IPv6Network
ALIASES: Mapping[str, str] = {
    "API_PORT": "PORT",
    "API_HOST": "HOST",
    "ADMIN_JWT_JWKS_URL": "ADMIN_JWKS_URL",
}
"""Other names, among them those that the scheduler before us had; ours count more."""
UNREAD = "CLERK_SECRET_KEY"
"""Variable of the scheduler before us that is not needed: tokens are checked by public keys."""
SHORTEST_TOKEN = 16
"""Characters; a shorter one can be guessed."""
_VISIBLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[0-9A-Za-z.:_-]{1,255}")


def _token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value().strip()
    if not _VISIBLE.fullmatch(text):
        message = "holds blanks or characters that no header carries - write visible ASCII letters"
        raise InvalidValue(message)
    return SecretStr(text)


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        message = "is no address to listen on - write one such as 0.0.0.0, :: or 127.0.0.1"
        raise InvalidValue(message)
    return text


def _entries(value: object) -> object:
    """Return the entries of a comma list."""
    if not isinstance(value, str):
        return value
    return tuple(part for entry in value.split(",") if (part := entry.strip()))


def _origin(text: str) -> str:
    """Return an origin as browsers send it."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        sound = sound and parts.path in ("", "/") and not (parts.query or parts.fragment)
        sound = sound and "@" not in parts.netloc
    except ValueError:
        sound = False
    if not sound:
        message = (
            "is no origin - write each as http://host or https://host, with its port if it has one"
        )
        raise InvalidValue(message)
    return text.rstrip("/").lower()


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value, strict=False)
    except ValueError as error:
        message = f"{value[:60]!r} is no address or network - write such as 10.0.0.0/8"
        raise InvalidValue(message) from error


Token = Annotated[SecretStr, AfterValidator(_token)]
Origin = Annotated[str, AfterValidator(_origin)]


class _Variables(BaseModel):
    """The variables, by their names in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    api_port: Port = 7_007
    api_host: Annotated[str, AfterValidator(_host)] = "0.0.0.0"  # noqa: S104 - services call from other pods
    service_token: Token | None = None
    allow_anonymous_registration: Flag = False
    admin_token: Token | None = None
    clerk_publishable_key: ClerkHost | None = None
    admin_jwt_issuer: Visible | None = None
    admin_jwt_jwks_url: KeysUrl | None = None
    admin_jwt_audience: Visible | None = None
    admin_role_claim: ClaimPath | None = None
    users_database_url: SecretStr | None = None
    allowed_origins: Annotated[tuple[Origin, ...], BeforeValidator(_entries)] = (
        "http://localhost:3000",
    )
    rate_limit_max: Annotated[Count, Field(ge=1)] = 100
    rate_limit_window: Annotated[Count, Field(ge=1_000, le=86_400_000)] = 60_000
    trusted_proxies: Annotated[
        tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_entries)
    ] = ()


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the job API was told; an empty variable counts as unset."""

    port: int = 7_007
    """`API_PORT`, else `PORT`."""
    host: str = "0.0.0.0"  # noqa: S104 - as the variable's default
    """`API_HOST`, else `HOST`: the address to listen on."""
    service_token: SecretStr | None = None
    """`SERVICE_TOKEN`: what services register with."""
    anonymous_registration: bool = False
    """`ALLOW_ANONYMOUS_REGISTRATION`: without SERVICE_TOKEN, anybody may register."""
    admin_token: SecretStr | None = None
    """`ADMIN_TOKEN`; without it and `jwt` every route of administrators is closed."""
    jwt: JwtSettings | None = None
    """Whose JWTs prove an administrator as well; None if no issuer is named."""
    users_database_url: SecretStr | None = None
    """`USERS_DATABASE_URL`: has the table `users`; without it the store of jobs is asked."""
    allowed_origins: tuple[str, ...] = ("http://localhost:3000",)
    """`ALLOWED_ORIGINS`: pages from there may call from a browser."""
    rate_limit: int = 100
    """`RATE_LIMIT_MAX`: requests of one client in each window."""
    rate_window_milliseconds: int = 60_000
    """`RATE_LIMIT_WINDOW`."""
    trusted_proxies: tuple[Network, ...] = ()
    """`TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed."""
    warnings: tuple[str, ...] = ()
    """One line each; nothing that stops a start."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings. Tokens never appear in a log line from then on.

        Raises:
            ConfigurationError: with every variable that has a bad value.
        """
        variables, sources = _stated(environment)
        try:
            read = _Variables.model_validate(variables)
        except Invalid as error:
            raise ConfigurationError(
                f"{sources[str(problem.path[0])]}: {problem.message}"
                for problem in problems_of(error, _Variables)
            ) from None
        jwt = _jwt(read)
        _keep_secret(read, environment)
        return cls(
            port=read.api_port,
            host=read.api_host,
            service_token=read.service_token,
            anonymous_registration=read.allow_anonymous_registration,
            admin_token=read.admin_token,
            jwt=jwt,
            users_database_url=read.users_database_url,
            allowed_origins=read.allowed_origins,
            rate_limit=read.rate_limit_max,
            rate_window_milliseconds=read.rate_limit_window,
            trusted_proxies=read.trusted_proxies,
            warnings=(
                *_warnings(read, jwt),
                *jwt_warnings(jwt, environment),
                *_unread(environment),
            ),
        )


def _stated(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables that are set, and the name under which each one is."""
    variables, sources = {}, {}
    for field in _Variables.model_fields:
        name = field.upper()
        for source in filter(None, (name, ALIASES.get(name))):
            if field not in variables and (value := environment.get(source)):
                variables[field], sources[field] = value, source
    return variables, sources


def _jwt(read: _Variables) -> JwtSettings | None:
    try:
        return jwt_settings(
            read.clerk_publishable_key,
            read.admin_jwt_issuer,
            read.admin_jwt_jwks_url,
            read.admin_jwt_audience,
            read.admin_role_claim,
        )
    except InvalidValue as error:
        raise ConfigurationError([str(error)]) from None


def _keep_secret(read: _Variables, environment: Mapping[str, str]) -> None:
    """Have no log line hold a token, or what is secret in a URL."""
    for token in (read.service_token, read.admin_token):
        if token is not None:
            logs.register_secret(token.get_secret_value())
    for url in (read.users_database_url, read.admin_jwt_jwks_url):
        if url is not None:
            logs.register_url(url.get_secret_value())
    logs.register_secret(environment.get(UNREAD, ""))


def _warnings(read: _Variables, jwt: JwtSettings | None) -> list[str]:
    """Return a line for each thing that is open, closed or weak and may not be meant so."""
    lines = []
    if read.service_token is None and read.allow_anonymous_registration:
        lines.append(
            "ALLOW_ANONYMOUS_REGISTRATION: whoever reaches the API may register jobs - set SERVICE_TOKEN here and at the services"
        )
    elif read.service_token is None:
        lines.append(
            "SERVICE_TOKEN is not set: no service can register - set it, or ALLOW_ANONYMOUS_REGISTRATION=true"
        )
    elif read.allow_anonymous_registration:
        lines.append(
            "ALLOW_ANONYMOUS_REGISTRATION has no effect while SERVICE_TOKEN is set - remove one of them"
        )
    if read.admin_token is None and jwt is None:
        lines.append(
            "ADMIN_TOKEN is not set, nor any issuer of JWTs: every route of administrators answers 403 - set ADMIN_TOKEN, or CLERK_PUBLISHABLE_KEY or ADMIN_JWT_ISSUER"
        )
    for name, token in (("SERVICE_TOKEN", read.service_token), ("ADMIN_TOKEN", read.admin_token)):
        if token is not None and len(token.get_secret_value()) < SHORTEST_TOKEN:
            lines.append(
                f"{name} is short and can be guessed - use {SHORTEST_TOKEN} letters or more"
            )
    return lines


def _unread(environment: Mapping[str, str]) -> list[str]:
    """Return a line if a secret lies here that nothing needs."""
    if not environment.get(UNREAD):
        return []
    return [f"{UNREAD} is no longer needed: tokens are checked by public keys - remove it"]
