"""Reads what maintenance commands are told by the environment: the names that the scheduler before us documented."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr
from pydantic import ValidationError as Invalid

from vaultmesh.domain.errors import ConfigurationError, InvalidValue, problems_of
from vaultmesh.domain.setting_values import Url
from vaultmesh.process.logs import register_secret, register_url
from vaultmesh.process.version import VERSION

SERVICE_NAME = "battlescope-scheduler"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _headers(text: SecretStr) -> SecretStr:
    for pair in filter(None, text.get_secret_value().split(",")):
        name, equals, _ = pair.partition("=")
        if not equals or not _HEADER.fullmatch(name.strip()):
            message = "holds what is no header - write name=value,name=value"
            raise InvalidValue(message)
    return text


class _Variables(BaseModel):
    """The variables, by their names in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    database_url: SecretStr | None = None
    node_env: str | None = None
    otel_exporter_otlp_endpoint: Url | None = None
    otel_exporter_otlp_headers: Annotated[SecretStr, AfterValidator(_headers)] | None = None
    otel_service_name: str = SERVICE_NAME
    service_instance_id: str | None = None
    service_version: str = VERSION


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where metrics of a run go, and under which name."""

    endpoint: SecretStr
    """`OTEL_EXPORTER_OTLP_ENDPOINT`, without `/v1/metrics`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    service: str = SERVICE_NAME
    instance: str = ""
    version: str = VERSION


@dataclass(frozen=True, slots=True)
class MaintenanceSettings:
    """What the environment says; an empty variable counts as unset."""

    database_url: SecretStr | None = None
    telemetry: Telemetry | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; what is secret never appears in a line from then on.

        Raises:
            ConfigurationError: with every variable that has a bad value.
        """
        names = {field_name.upper(): field_name for field_name in _Variables.model_fields}
        stated = {key: environment[name] for name, key in names.items() if environment.get(name)}
        try:
            read = _Variables.model_validate(stated)
        except Invalid as error:
            raise ConfigurationError(
                f"{str(problem.path[0]).upper()}: {problem.message}"
                for problem in problems_of(error, _Variables)
            ) from None
        for url in (read.database_url, read.otel_exporter_otlp_endpoint):
            if url is not None:
                register_url(url.get_secret_value())
        return cls(read.database_url, _telemetry(read))


def _telemetry(read: _Variables) -> Telemetry | None:
    if read.otel_exporter_otlp_endpoint is None or read.node_env == "test":
        return None
    headers: dict[str, str] = {}
    text = read.otel_exporter_otlp_headers
    for pair in filter(None, text.get_secret_value().split(",") if text else ()):
        name, _, value = pair.partition("=")
        headers[name.strip().lower()] = unquote(value.strip())
        register_secret(headers[name.strip().lower()])
    return Telemetry(
        endpoint=read.otel_exporter_otlp_endpoint,
        headers=headers,
        service=read.otel_service_name,
        instance=read.service_instance_id or socket.gethostname(),
        version=read.service_version,
    )
