"""Reads a message to a namespace, by its name, as one command with the cadences it means."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import FailureNote
from vaultmesh.domain.names import (
    CONFIGURE,
    FORCE_ANCHOR,
    NOTE_FAILURE,
    PAUSE,
    RESUME,
    SET_CADENCE,
    STOP,
)
from vaultmesh.domain.namespaces.orders import (
    parse_force_anchor,
    parse_model,
    parse_pause,
    parse_resume,
    parse_set_cadence,
    parse_stop,
)
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration


@dataclass(frozen=True, slots=True)
class Pause:
    """Let no new slot of these cadences start."""

    cadences: list[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Let slots of these cadences start again."""

    cadences: list[str]


@dataclass(frozen=True, slots=True)
class Force:
    """Anchor these cadences now."""

    cadences: list[str]


@dataclass(frozen=True, slots=True)
class SetCadence:
    """Run with these cadences from now on."""

    cadences: dict[str, CadenceConfig]
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain and complete."""


@dataclass(frozen=True, slots=True)
class Note:
    """Remember a reported failure."""

    note: FailureNote


Order = Pause | Resume | Force | SetCadence | Stop | Note

EARLIEST_YEAR, LATEST_YEAR = 1970, 9_000
"""Instants beyond them overflow when they are shown in UTC."""
VERBS = (PAUSE, RESUME, FORCE_ANCHOR, SET_CADENCE)
"""What operators send, as signals and as updates."""


def read(name: str, values: list[JsonValue], configuration: Configuration, now: datetime) -> Order:
    """Return what a message orders.

    Raises:
        InvalidValue: unknown name, or arguments that mean nothing.
    """
    cadences = list(configuration.cadences)
    match name:
        case "pause":
            pause = parse_pause(values, cadences)
            return Pause(_meant(pause.cadence, cadences), pause.reason)
        case "resume":
            return Resume(_meant(parse_resume(values, cadences).cadence, cadences))
        case "force_anchor":
            return Force(_meant(parse_force_anchor(values, cadences).cadence, cadences))
        case "set_cadence":
            change = parse_set_cadence(
                values,
                namespace=configuration.namespace,
                current=configuration.cadences,
                now=now,
                known_schemes=configuration.schemes or None,
            )
            return SetCadence(change.cadences, change.memo)
        case "note_failure":
            return Note(_note(values))
        case _:
            message = f"a namespace knows no message {name!r}; there are: {', '.join(VERBS)}"
            raise InvalidValue(message)


def read_update(
    name: str, values: list[JsonValue], configuration: Configuration, now: datetime
) -> Order:
    """Return what an update orders: the verbs of the signals, and `stop`.

    Raises:
        InvalidValue: unknown name, or arguments that mean nothing.
    """
    if name == STOP:
        parse_stop(values)
        return Stop()
    if name in VERBS:
        return read(name, values, configuration, now)
    message = (
        f"a namespace knows no update {name!r}; there are: {', '.join((*VERBS, CONFIGURE, STOP))}"
    )
    raise InvalidValue(message)


def read_configuration(values: list[JsonValue], namespace: str) -> Configuration:
    """Return the configuration that an update `configure` carries.

    Raises:
        InvalidValue: malformed, periods that mean nothing, or another namespace's.
    """
    configuration = parse_model(values, Configuration)
    if configuration.namespace != namespace:
        message = f"the configuration is of {configuration.namespace!r}, but this is {namespace!r}"
        raise InvalidValue(message)
    configuration.periods()
    configuration.phases()
    return configuration


def is_report(name: str) -> bool:
    """Whether a message comes from the product itself, and is taken also while a namespace drains."""
    return name == NOTE_FAILURE


def _note(values: list[JsonValue]) -> FailureNote:
    note = parse_model(values, FailureNote)
    for instant in (note.at, note.next_retry):
        if instant.tzinfo is None or not EARLIEST_YEAR <= instant.year <= LATEST_YEAR:
            message = (
                f"{instant} is no instant of a failure; it has a time zone and a year of our time"
            )
            raise InvalidValue(message)
    return note


def _meant(cadence: str | None, cadences: list[str]) -> list[str]:
    return cadences if cadence is None else [cadence]
