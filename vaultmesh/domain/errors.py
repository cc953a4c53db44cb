"""Starts the product's error tree.

DomainError
├── InvalidValue     a text or number from outside that cannot mean anything: says what, where and how to mend it
└── AnchorError      a step of anchoring failed; carries its failure kind (`vaultmesh.domain.failures`)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import get_args

from pydantic import BaseModel, JsonValue, ValidationError
from typing_extensions import override

from vaultmesh.domain.complaints import complaint, unknown_key


def printable(text: str) -> str:
    """Return a text that can be encoded: of a file's name that is not UTF-8, Python makes half characters."""
    return text.encode(errors="backslashreplace").decode()


class DomainError(Exception):
    """Anything this product refuses or fails at, in words an operator can act on."""

    @override
    def __str__(self) -> str:
        """Return the message in a form that logs, JSON and Temporal take."""
        return printable(super().__str__())


class InvalidValue(DomainError, ValueError):
    """A value from outside that has no meaning here; also a ValueError, so that pydantic reports it."""


_LONGEST_QUOTE = 60
_MOST_PROBLEMS = 1_000
"""Nobody reads more, and a file of millions of keys would take minutes."""
_MOST_PROBLEMS_SHOWN = 3
LONGEST_MESSAGE = 500
"""Characters of a message that are kept in workflow state."""
KeyPath = tuple[str, ...]
"""Keys from the document's top; the index of a list's entry is written as text."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong at one place."""

    path: KeyPath
    message: str

    @override
    def __str__(self) -> str:
        """Return `key.path: message`."""
        return f"{'.'.join(self.path)}: {self.message}" if self.path else self.message


class InvalidDocument(InvalidValue):
    """A document that cannot be used; `problems` holds all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep every problem once, in the order given."""
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigurationError(DomainError):
    """Configuration that stops the start; one line for each problem, with its place and how to mend it."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep every line once, in the order given."""
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


def problems_of(error: ValidationError, model: object) -> list[Problem]:
    """Return what pydantic found wrong with a document of the form `model`, a model or a type made of models."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False, include_input=False)[:_MOST_PROBLEMS]:
        location = detail["loc"]
        if detail["type"] == "extra_forbidden":
            message = unknown_key(str(location[-1]), _known_keys(model, location[:-1]))
        else:
            message = complaint(detail["type"], detail.get("ctx", {}), detail["msg"])
        problems.append(Problem(tuple(str(part) for part in location), message))
    return problems


def _known_keys(model: object, location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the model at `location` below `model` knows."""
    place: object = model
    for part in location:
        place = _below(place, str(part))
    return list(_fields(place))


def _below(annotation: object, key: str) -> object:
    """Return the type of what lies at `key` in a model, a mapping or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        annotation = _fields(annotation).get(key)
    elif arguments := get_args(annotation):
        annotation = arguments[-1]
    optional = [argument for argument in get_args(annotation) if argument is not NoneType]
    return optional[0] if NoneType in get_args(annotation) else annotation


def _fields(annotation: object) -> dict[str, object]:
    """Return the type of each field by the key it has in a document; none if this is no model."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return {}
    fields = annotation.model_fields.items()
    return {field.alias or name: field.annotation for name, field in fields}


def described(value: object) -> str:
    """Return what kind of JSON value this is, for a message; of a text its beginning."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return repr(value if len(value) <= _LONGEST_QUOTE else value[:_LONGEST_QUOTE] + "…")
        case Mapping():
            return "an object"
        case _:
            return "a list"


def only_argument(arguments: Sequence[JsonValue]) -> JsonValue:
    """Return the one argument, null if there is none."""
    if len(arguments) > 1:
        message = f"{len(arguments)} arguments; send one at most, an object if there is more to say"
        raise InvalidValue(message)
    return arguments[0] if arguments else None


def bounded_text(value: JsonValue, what: str) -> str:
    """Return a text that can be kept: not too long, and no half characters, which JSON can't hold."""
    if not isinstance(value, str):
        message = f"{what} is {described(value)}; write a text"
        raise InvalidValue(message)
    return value[:LONGEST_MESSAGE].encode(errors="replace").decode()


def one_line(error: ValidationError, model: object) -> str:
    """Return what pydantic found wrong, without the values it looked at."""
    problems = [str(problem) for problem in problems_of(error, model)]
    return in_one_line("; ".join(problems[:_MOST_PROBLEMS_SHOWN]))


def in_one_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a foreign text as one line that any table, log and terminal holds: no control or half characters."""
    printed = "".join(c if c.isprintable() else " " for c in text[: 10 * longest])
    line = " ".join(printed.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
