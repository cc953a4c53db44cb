"""Reads messages to a namespace, any JSON at all, as one command or one clear refusal.

1. A function here returns a command or raises InvalidValue; no JSON makes it raise anything else.
2. Surplus arguments, unknown keys and cadences are refused: no misspelt command is half obeyed.

What changes cadences is read in `vaultmesh.domain.namespaces.governance`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import InvalidValue, bounded_text, described, one_line, only_argument
from vaultmesh.domain.instants import is_tellable
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
from vaultmesh.domain.namespaces.governance import SetCadence, parse_set_cadence
from vaultmesh.domain.namespaces.state import Configuration

_MOST_KEYS_SHOWN = 3
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Pause:
    """Let no new slot of these cadences start."""

    cadences: list[str]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """Let slots of these cadences start again."""

    cadences: list[str]


@dataclass(frozen=True, slots=True)
class Force:
    """Anchor these cadences now."""

    cadences: list[str]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain and complete."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Remember a reported failure."""

    note: FailureNote


Command = Pause | Resume | Force | SetCadence | Stop | Note

VERBS = (PAUSE, RESUME, FORCE_ANCHOR, SET_CADENCE)
"""What operators send, as signals and as updates."""


def read(
    name: str, values: list[JsonValue], configuration: Configuration, now: datetime
) -> Command:
    """Return the command that a message is.

    Raises:
        InvalidValue: unknown name, or arguments that mean nothing.
    """
    cadences = list(configuration.cadences)
    match name:
        case "pause":
            return parse_pause(values, cadences)
        case "resume":
            return parse_resume(values, cadences)
        case "force_anchor":
            return parse_force_anchor(values, cadences)
        case "set_cadence":
            return parse_set_cadence(
                values,
                namespace=configuration.namespace,
                current=configuration.cadences,
                now=now,
                known_schemes=configuration.schemes or None,
            )
        case "note_failure":
            return Note(_note(values))
        case _:
            message = f"a namespace knows no message {name!r}; there are: {', '.join(VERBS)}"
            raise InvalidValue(message)


def read_update(
    name: str, values: list[JsonValue], configuration: Configuration, now: datetime
) -> Command:
    """Return the command that an update is: the verbs of the signals, and `stop`.

    Raises:
        InvalidValue: unknown name, or arguments that mean nothing.
    """
    if name == STOP:
        return parse_stop(values)
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
        message = (
            f"the configuration is of {described(configuration.namespace)}, but this is {namespace!r};"
            " send it to the namespace that it names"
        )
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
        if instant.tzinfo is None or not is_tellable(instant):
            message = (
                f"{instant} is no instant of a failure; it has a time zone and a year of our time"
            )
            raise InvalidValue(message)
    return note


# --- arguments of each verb --------------------------------------------------------------------


def parse_pause(arguments: Sequence[JsonValue], cadences: Collection[str]) -> Pause:
    """Read nothing, `"reason"` or `{"cadence", "reason"}`."""
    argument = only_argument(arguments)
    if isinstance(argument, str):
        return Pause(list(cadences), bounded_text(argument, "the reason"))
    content = _object(argument, ("cadence", "reason"))
    return Pause(_meant(content, cadences), _reason(content))


def parse_resume(arguments: Sequence[JsonValue], cadences: Collection[str]) -> Resume:
    """Read nothing, `"cadence"` or `{"cadence"}`."""
    argument = only_argument(arguments)
    content = (
        {"cadence": argument} if isinstance(argument, str) else _object(argument, ("cadence",))
    )
    return Resume(_meant(content, cadences))


def parse_force_anchor(arguments: Sequence[JsonValue], cadences: Collection[str]) -> Force:
    """Read nothing, `"cadence"` or `{"cadence", "reason"}`."""
    argument = only_argument(arguments)
    content = (
        {"cadence": argument}
        if isinstance(argument, str)
        else _object(argument, ("cadence", "reason"))
    )
    return Force(_meant(content, cadences), _reason(content))


def parse_stop(arguments: Sequence[JsonValue]) -> Stop:
    """Read nothing, `"reason"` or `{"reason"}`."""
    argument = only_argument(arguments)
    content = {"reason": argument} if isinstance(argument, str) else _object(argument, ("reason",))
    return Stop(_reason(content))


def parse_model(arguments: Sequence[JsonValue], model: type[ModelT]) -> ModelT:
    """Read the one argument as a message of our own, such as the configuration of `configure`."""
    if not arguments:
        message = f"an argument is needed: the object {model.__name__}"
        raise InvalidValue(message)
    argument = only_argument(arguments)
    try:
        return model.model_validate(argument)
    except ValidationError as error:
        raise InvalidValue(one_line(error, model)) from None


def _object(argument: JsonValue, keys: tuple[str, ...]) -> Mapping[str, JsonValue]:
    """Return an object that holds nothing but `keys`; null is an empty one."""
    if argument is None:
        return {}
    allowed = ", ".join(keys)
    if not isinstance(argument, dict):
        message = (
            f"{described(argument)} is no order; send nothing, a text, or an object with {allowed}"
        )
        raise InvalidValue(message)
    unknown = [key for key in argument if key not in keys]
    if unknown:
        listed = ", ".join(described(key) for key in unknown[:_MOST_KEYS_SHOWN])
        message = (
            f"unknown key {listed}; the object may hold {allowed}{_suggestion(unknown[0], keys)}"
        )
        raise InvalidValue(message)
    return argument


def _suggestion(name: str, known: Collection[str]) -> str:
    meant = did_you_mean(name, known)
    return f"; {meant}" if meant else ""


def _meant(content: Mapping[str, JsonValue], cadences: Collection[str]) -> list[str]:
    """Return the cadence that is named, or all of them."""
    named = content.get("cadence")
    if named is None:
        return list(cadences)
    if not isinstance(named, str) or named not in cadences:
        meant = _suggestion(named, cadences) if isinstance(named, str) else ""
        known = ", ".join(sorted(cadences))
        message = f"{described(named)} is none of its cadences; there are: {known}{meant}"
        raise InvalidValue(message)
    return [named]


def _reason(content: Mapping[str, JsonValue]) -> str:
    reason = content.get("reason")
    return "" if reason is None else bounded_text(reason, "reason")
