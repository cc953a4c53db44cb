"""Reads which services jobs may call, and with which secrets: a closed list, made by the environment alone.

1. `<NAME>_SERVICE_URL` is the URL of `<name>-service`; `JOBS_SERVICES=name=url,...` names others. No other variable is read as a
   URL: `DATABASE_URL` is the address of something else.
2. `<SERVICE>_TOKEN` and `<SERVICE>_HMAC_KEY` are what its calls prove themselves with.
3. A service is found by its name in capitals with `_` for `-`, as its variables are called.
4. Everything that is wrong is said at once, and nothing of a secret or of a URL's password is repeated.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.jobs.job import (
    SERVICES_VARIABLE,
    check_endpoint,
    is_service_url,
    unknown_service,
    variable_of,
)
from vaultmesh.process.logs import register_secret, register_url

SHORTEST_SECRET = 8
"""Characters of a token or key; what is shorter is guessed, and can't be kept out of texts."""
NO_SERVICES = f"no service is known, so no job can call one - set <NAME>_SERVICE_URL, or {SERVICES_VARIABLE}=name=url"
_URL = "URL"
_OURS = frozenset({"ADMIN", "SERVICE"})
"""A service of this name would be sent ADMIN_TOKEN or SERVICE_TOKEN, which open our own API."""
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253
_FORM = "write http:// or https:// with a host, such as http://email:7006"


@dataclass(frozen=True, slots=True)
class Service:
    """One service that jobs may call."""

    name: str
    url: str
    """Begins every address that is called; has no slash at its end."""
    token: SecretStr | None = None
    """Sent as bearer token."""
    hmac_key: SecretStr | None = None
    """Signs each call."""


class Services:
    """The services that jobs may call."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        """Hold them by their names in capitals, as `variable_of` writes them."""
        self._services = dict(services)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Services":
        """Read them; an empty variable counts as unset.

        Raises:
            ConfigurationError: holds everything that is wrong, each with its variable and how to mend it.
        """
        reader = _Reader(environment)
        services = reader.read()
        if reader.problems:
            raise ConfigurationError(reader.problems)
        return cls(services)

    @property
    def names(self) -> list[str]:
        """Their names, sorted."""
        return sorted(service.name for service in self._services.values())

    def find(self, name: str) -> Service:
        """Return a service by the name that a job has for it.

        Raises:
            InvalidValue: it has no URL here; says what to set.
        """
        service = self._services.get(_key(name))
        if service is None:
            raise InvalidValue(unknown_service(name, self.names))
        return service

    def lines(self) -> list[str]:
        """Return a line for each, to be printed at start: what is called, and how a call proves itself."""
        if not self._services:
            return [NO_SERVICES]
        return [_line(service) for _, service in sorted(self._services.items())]


class _Reader:
    """Reads the environment, and gathers what is wrong with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def read(self) -> dict[str, Service]:
        services: dict[str, Service] = {}
        for variable, name, text in chain(self._own_variables(), self._listed()):
            service, key = self._service(variable, name, text), _key(name)
            other = services.setdefault(key, service) if service else None
            if service and other and other.url != service.url:
                self.problems.append(
                    f"{variable}: {name!r} has two different URLs here - leave one of them out"
                )
        return services

    def _own_variables(self) -> Iterator[tuple[str, str, str]]:
        """Return variable, service and URL of each variable of a service."""
        for variable, text in sorted(self._environment.items()):
            if text and is_service_url(variable):
                name = variable.removesuffix(f"_{_URL}").lower().replace("_", "-")
                yield variable, name, text

    def _listed(self) -> Iterator[tuple[str, str, str]]:
        """Return variable, service and URL of each entry of the list."""
        text = self._environment.get(SERVICES_VARIABLE, "")
        for entry in filter(None, map(str.strip, text.split(","))):
            name, equals, url = (part.strip() for part in entry.partition("="))
            if not (name and equals and url):
                self.problems.append(
                    f"{SERVICES_VARIABLE}: an entry is not name=url - write entries such as report=http://report:7007, with commas between them"
                )
            elif _key(name) in _OURS:
                self.problems.append(
                    f"{SERVICES_VARIABLE}: {name!r} can't name a service, since {variable_of(name, 'TOKEN')} opens our own API - use another name"
                )
            else:
                yield SERVICES_VARIABLE, name, url

    def _service(self, variable: str, name: str, text: str) -> Service | None:
        try:
            url = _checked_url(text)
        except InvalidValue as error:
            place = f"{variable}: {name!r}" if variable == SERVICES_VARIABLE else f"{variable}:"
            self.problems.append(f"{place} {error}")
            return None
        register_url(url)
        return Service(name, url, self._secret(name, "TOKEN"), self._secret(name, "HMAC_KEY"))

    def _secret(self, name: str, suffix: str) -> SecretStr | None:
        variable = variable_of(name, suffix)
        text = self._environment.get(variable)
        if not text:
            return None
        register_secret(text)
        if not (text.isascii() and text.isprintable()) or " " in text:
            self.problems.append(
                f"{variable}: holds a blank, a line break or a character beyond ASCII - remove it"
            )
        if len(text) < SHORTEST_SECRET:
            self.problems.append(
                f"{variable}: is too short for a secret - use at least {SHORTEST_SECRET} characters"
            )
        return SecretStr(text)


def _key(name: str) -> str:
    return variable_of(name, _URL).removesuffix(f"_{_URL}")


def _line(service: Service) -> str:
    proofs = (("bearer token", service.token), ("signature", service.hmac_key))
    proved = " and ".join(word for word, secret in proofs if secret) or "no proof of origin"
    return f"service {service.name}: {service.url}, called with {proved}"


def _checked_url(text: str) -> str:
    """Return a URL without the slash at its end.

    Raises:
        InvalidValue: nothing can be called there, or not safely; never holds the URL.
    """
    parts = _parts(text)
    if parts is None:
        message = f"is not a URL we can use - {_FORM}"
        raise InvalidValue(message)
    if "@" in parts.netloc:
        message = "has a user or a password - remove them, and set the service's _TOKEN instead"
        raise InvalidValue(message)
    if "?" in text or "#" in text:
        message = "has ? or # - end it with host, port or path: a job's endpoint is put behind it"
        raise InvalidValue(message)
    return f"{parts.scheme}://{parts.netloc}{_checked_path(text, parts)}"


def _parts(text: str) -> SplitResult | None:
    """Return the parts of a URL; None if there is no host that can be called."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and _has_host(parts) and parts.port != 0
    except ValueError:
        return None
    return parts if sound else None


def _has_host(parts: SplitResult) -> bool:
    """Whether there is a host; raises ValueError for an address that is none."""
    host = parts.hostname or ""
    labels = host.removesuffix(".").split(".")
    if ":" in host or labels[-1].isdigit():
        return bool(ip_address(host))
    return len(host) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _checked_path(text: str, parts: SplitResult) -> str:
    if not (text.isascii() and text.isprintable()) or " " in text:
        message = "holds a blank, a line break or a character beyond ASCII - remove it, or percent-encode it"
        raise InvalidValue(message)
    path = parts.path.rstrip("/")
    return check_endpoint(path) if path else ""
