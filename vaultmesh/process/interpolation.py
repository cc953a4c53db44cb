"""Replaces variables in configuration from the environment.

1. `${NAME}` is the variable's value; an unset one is an error.
   `${NAME:-default}` is the default if the variable is unset or empty.
2. A default written `""` or `''` means empty text. What a variable holds is not looked at again.
3. No message holds a value, only the variable's name.
"""

import re
from collections.abc import Mapping

from vaultmesh.domain.errors import InvalidValue

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}")
_EMPTY_DEFAULTS = ('""', "''")


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with every variable replaced.

    Raises:
        InvalidValue: a variable without a default is not set, or `${` begins something else.
    """
    pieces: list[str] = []
    unset: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        pieces.append(_plain(text[end : match.start()]))
        end = match.end()
        value, default = environment.get(match["name"]), match["default"]
        if default is not None:
            pieces.append(value or ("" if default in _EMPTY_DEFAULTS else default))
        elif value is None:
            unset.append(match["name"])
        else:
            pieces.append(value)
    pieces.append(_plain(text[end:]))
    if unset:
        names = ", ".join(unset)
        message = f"needs the environment variable {names}, which is not set - set it"
        raise InvalidValue(message)
    return "".join(pieces)


def _plain(text: str) -> str:
    if "${" in text:
        message = "holds a malformed variable - write ${NAME} or ${NAME:-default}"
        raise InvalidValue(message)
    return text
