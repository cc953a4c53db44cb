"""Reads a process's settings; those of Temporal are read by its SDK."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import ConfigurationError, InvalidValue, problems_of
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.setting_values import Url, parse_fine_duration

REPOSITORY = Path(__file__).resolve().parents[2]
"""Folder of the product; its `vmsh/config/` is where configuration is looked for last."""
STATE_FILE = Path("out") / "state" / "scheduler.json"
SHORTEST_ANCHOR_TIMEOUT = timedelta(seconds=1)
LONGEST_ANCHOR_TIMEOUT = timedelta(days=1)
"""`anchor` notices a dead worker only after it: more would leave a cadence without anchors."""
HIGHEST_BACKOFF_LEVEL = 20
"""From a base of 5 s this is 21 hours; above it the delay means never."""
LONGEST_BACKOFF_BASE_SECONDS = 3_600.0

_NOT_NEEDED = "VMSH_TICK_MS"
_SLIP = 0.85
"""How alike a variable's name must be to one of ours: other tools may have variables of their own."""
_PREFIX = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Registering(StrEnum):
    """Whether a worker gives namespaces what namespaces.yaml says."""

    AUTO = "auto"
    """It starts those that are missing, and applies changes."""
    REPORT = "report"
    """It shows what differs; `register` is left to people."""


class LogLevel(StrEnum):
    """Least severity that is logged; the words of earlier versions are kept."""

    TRACE = "trace"
    """As `debug`."""
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    FATAL = "fatal"
    SILENT = "silent"
    """Nothing."""


def _level(value: object) -> object:
    if not isinstance(value, str):
        return value
    word = {"warning": "warn", "critical": "fatal"}.get(value.lower(), value.lower())
    if word not in set(LogLevel):
        message = f"is not a level - use one of: {', '.join(LogLevel)}"
        raise InvalidValue(message)
    return LogLevel(word)


def _timeout(value: object) -> object:
    if not isinstance(value, str):
        return value
    timeout = parse_fine_duration(value)
    if not SHORTEST_ANCHOR_TIMEOUT <= timeout <= LONGEST_ANCHOR_TIMEOUT:
        message = f"{value!r} is out of range - use 1s to 1d"
        raise InvalidValue(message)
    return timeout


def _check_prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        message = f"{text!r} is not a prefix of metric names - use letters, digits and underscores"
        raise InvalidValue(message)
    return text


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        message = "begins with the home folder of an unknown user - write the whole path"
        raise InvalidValue(message) from error


def _number(value: object) -> object:
    """Let pydantic read plain digits alone: no signs, blanks, underscores or infinities."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        message = f"{value[:40]!r} is not a number - write digits"
        raise InvalidValue(message)
    return value


Folder = Annotated[Path, AfterValidator(_absolute)]
Port = Annotated[int, BeforeValidator(_number), Field(ge=0, le=65_535)]


_BACKOFF = Backoff()


class _Variables(BaseModel):
    """The variables, by their names in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    vmsh_root: Folder = REPOSITORY
    vmsh_namespaces: Folder | None = None
    vmsh_anchors: Folder | None = None
    vmsh_maintenance: Folder | None = None
    vmsh_state: Folder | None = None
    vmsh_base_backoff: Annotated[
        float, BeforeValidator(_number), Field(gt=0, le=LONGEST_BACKOFF_BASE_SECONDS)
    ] = _BACKOFF.base_seconds
    vmsh_max_backoff: Annotated[
        int, BeforeValidator(_number), Field(ge=1, le=HIGHEST_BACKOFF_LEVEL)
    ] = _BACKOFF.cap
    metrics_port: Port = 9_091
    metrics_prefix: Annotated[str, AfterValidator(_check_prefix)] = "scheduler"
    log_level: Annotated[LogLevel, BeforeValidator(_level)] = LogLevel.INFO
    vmsh_register: Registering = Registering.AUTO
    heartbeat_url: Url | None = None
    vmsh_anchor_timeout: Annotated[timedelta, BeforeValidator(_timeout)] = timedelta(minutes=5)
    vmsh_continue_after_events: Annotated[int, BeforeValidator(_number), Field(ge=5, le=40_000)] = (
        4_000
    )


_OF_CLOCKS = {
    "vmsh_base_backoff": "backoff",
    "vmsh_max_backoff": "backoff",
    "vmsh_anchor_timeout": "anchor_timeout_seconds",
    "vmsh_continue_after_events": "continue_after_events",
}
"""Variables that namespaces are configured with, and the field of `Configuration` that each one states."""


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like one of ours and is none: it would change nothing in silence."""
    known = [name.upper() for name in _Variables.model_fields]
    ours = [name for name in environment if name.startswith("VMSH_") and name not in known]
    return [
        f"{name} is not read - {meant}"
        for name in sorted(ours)
        if name != _NOT_NEEDED and (meant := did_you_mean(name, known, alike=_SLIP))
    ]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process was told by its environment; an empty variable counts as unset."""

    root: Path
    """Folder of batches, receipts and rounds (`VMSH_ROOT`)."""
    namespaces: Path | None
    """`VMSH_NAMESPACES`, if set."""
    anchors: Path | None
    """`VMSH_ANCHORS`, if set."""
    maintenance: Path | None
    """`VMSH_MAINTENANCE`, if set."""
    state: Path
    """State file of an earlier scheduler (`VMSH_STATE`); read for import only."""
    backoff: Backoff
    """`VMSH_BASE_BACKOFF` and `VMSH_MAX_BACKOFF`."""
    metrics_port: int
    metrics_prefix: str
    log_level: LogLevel
    registering: Registering
    """`VMSH_REGISTER`: what a worker does where namespaces.yaml differs from what runs."""
    heartbeat_url: SecretStr | None
    """`HEARTBEAT_URL`: called while all is as promised; secret, since it is a key to the receiver."""
    anchor_timeout: timedelta
    """`VMSH_ANCHOR_TIMEOUT`: one attempt of `anchor`."""
    continue_after_events: int
    """`VMSH_CONTINUE_AFTER_EVENTS`: length at which a workflow's history is begun anew."""
    unstated: tuple[str, ...] = ()
    """Fields of a namespace's `Configuration` that no variable states: a running namespace keeps its own."""
    warnings: tuple[str, ...] = ()
    """One line each; nothing that stops a start."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            ConfigurationError: with every variable that has a bad value.
        """
        variables = {
            name: environment[name.upper()]
            for name in _Variables.model_fields
            if environment.get(name.upper())
        }
        try:
            read = _Variables.model_validate(variables)
        except ValidationError as error:
            lines = [f"{p.path[0].upper()}: {p.message}" for p in problems_of(error, _Variables)]
            raise ConfigurationError(lines) from None
        warnings = _misspelt(environment)
        if environment.get(_NOT_NEEDED):
            warnings.append(
                f"{_NOT_NEEDED} is no longer needed: cadences wake on their own time - remove it"
            )
        return cls(
            root=read.vmsh_root,
            namespaces=read.vmsh_namespaces,
            anchors=read.vmsh_anchors,
            maintenance=read.vmsh_maintenance,
            state=read.vmsh_state or read.vmsh_root / STATE_FILE,
            backoff=Backoff(base_seconds=read.vmsh_base_backoff, cap=read.vmsh_max_backoff),
            metrics_port=read.metrics_port,
            metrics_prefix=read.metrics_prefix,
            log_level=read.log_level,
            registering=read.vmsh_register,
            heartbeat_url=read.heartbeat_url,
            anchor_timeout=read.vmsh_anchor_timeout,
            continue_after_events=read.vmsh_continue_after_events,
            unstated=tuple(
                sorted(set(_OF_CLOCKS.values()) - {_OF_CLOCKS.get(name) for name in variables})
            ),
            warnings=tuple(warnings),
        )
