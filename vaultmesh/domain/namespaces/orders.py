"""Reads what operators send, any JSON at all, as a command or one clear refusal.

1. A function here returns an order or raises InvalidValue; no JSON makes it raise anything else.
2. Surplus arguments, unknown keys and cadences are refused: no misspelt order is half obeyed.

What changes cadences is read in `vaultmesh.domain.namespaces.governance`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import Wire
from vaultmesh.domain.namespaces.arguments import bounded_text, one_line, only_argument
from vaultmesh.domain.namespaces.governance import CadenceOrder, merge_cadences, parse_set_cadence
from vaultmesh.domain.problems import described

__all__ = [
    "CadenceOrder",
    "ForceOrder",
    "PauseOrder",
    "ResumeOrder",
    "StopOrder",
    "merge_cadences",
    "parse_force_anchor",
    "parse_model",
    "parse_pause",
    "parse_resume",
    "parse_set_cadence",
    "parse_stop",
]

_MOST_KEYS_SHOWN = 3


class PauseOrder(Wire):
    """Start no new slot of a cadence, or of all of them if none is named."""

    cadence: str | None = None
    reason: str = ""


class ResumeOrder(Wire):
    """Start slots again."""

    cadence: str | None = None


class ForceOrder(Wire):
    """Anchor now whatever is owed."""

    cadence: str | None = None
    reason: str = ""


class StopOrder(Wire):
    """Drain and complete."""

    reason: str = ""


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_pause(arguments: Sequence[JsonValue], cadences: Collection[str]) -> PauseOrder:
    """Read nothing, `"reason"` or `{"cadence", "reason"}`."""
    argument = only_argument(arguments)
    if isinstance(argument, str):
        return PauseOrder(reason=bounded_text(argument, "the reason"))
    content = _object(argument, ("cadence", "reason"))
    return PauseOrder(cadence=_cadence(content, cadences), reason=_reason(content))


def parse_resume(arguments: Sequence[JsonValue], cadences: Collection[str]) -> ResumeOrder:
    """Read nothing, `"cadence"` or `{"cadence"}`."""
    argument = only_argument(arguments)
    content = (
        {"cadence": argument} if isinstance(argument, str) else _object(argument, ("cadence",))
    )
    return ResumeOrder(cadence=_cadence(content, cadences))


def parse_force_anchor(arguments: Sequence[JsonValue], cadences: Collection[str]) -> ForceOrder:
    """Read nothing, `"cadence"` or `{"cadence", "reason"}`."""
    argument = only_argument(arguments)
    content = (
        {"cadence": argument}
        if isinstance(argument, str)
        else _object(argument, ("cadence", "reason"))
    )
    return ForceOrder(cadence=_cadence(content, cadences), reason=_reason(content))


def parse_stop(arguments: Sequence[JsonValue]) -> StopOrder:
    """Read nothing, `"reason"` or `{"reason"}`."""
    argument = only_argument(arguments)
    content = {"reason": argument} if isinstance(argument, str) else _object(argument, ("reason",))
    return StopOrder(reason=_reason(content))


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
    unknown = [described(key) for key in argument if key not in keys]
    if unknown:
        message = (
            f"unknown key {', '.join(unknown[:_MOST_KEYS_SHOWN])}; the object may hold {allowed}"
        )
        raise InvalidValue(message)
    return argument


def _cadence(content: Mapping[str, JsonValue], cadences: Collection[str]) -> str | None:
    named = content.get("cadence")
    if named is None:
        return None
    if not isinstance(named, str) or named not in cadences:
        message = (
            f"{described(named)} is none of its cadences; there are: {', '.join(sorted(cadences))}"
        )
        raise InvalidValue(message)
    return named


def _reason(content: Mapping[str, JsonValue]) -> str:
    reason = content.get("reason")
    return "" if reason is None else bounded_text(reason, "reason")
