"""Makes single JSON values that came with a message safe to keep."""

from collections.abc import Sequence

from pydantic import BaseModel, JsonValue, ValidationError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import LONGEST_MESSAGE
from vaultmesh.domain.problems import described, problems_of

_MOST_PROBLEMS_SHOWN = 3


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


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what pydantic found wrong, without the values it looked at."""
    problems = [str(problem) for problem in problems_of(error, model)]
    shown = "; ".join(problems[:_MOST_PROBLEMS_SHOWN])
    return "".join(c if c.isprintable() else " " for c in shown)[:LONGEST_MESSAGE]
