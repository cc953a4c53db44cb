"""Checks what a namespace may be called, and what a cadence may say: in the file or elsewhere."""

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, Field

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.cadence import parse_duration
from vaultmesh.domain.target import Target

LABELS = ("fast", "strong", "cold")
"""Every cadence a namespace can have, in the order they are shown."""
MOST_CONFIRMATIONS = 1_000_000
"""More than any of the ledgers grows in weeks: a slip."""
_LONGEST_NAME = 200
"""Bytes of a namespace's name: it is part of every request, which must stay small."""
_WITHOUT_MEANING = re.compile(r"[\s/\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_name(name: str) -> str:
    """Return a namespace's name.

    Raises:
        InvalidValue: no namespace can be called that.
    """
    too_long = len(name.encode(errors="replace")) > _LONGEST_NAME
    if not name or too_long or _WITHOUT_MEANING.search(name):
        message = (
            f"is not a namespace's name - use 1 to {_LONGEST_NAME} bytes without spaces and slashes"
        )
        raise InvalidValue(message)
    return name


def check_every(text: str) -> str:
    """Return `every`, if it is lower case; whether it means anything is seen with its neighbours."""
    if not text.isascii():
        message = (
            "every holds characters that are not ASCII; write <n>s|m|h|d|w or <n>*<other cadence>"
        )
        raise InvalidValue(message)
    if text != text.lower():
        message = f"every {text!r} has capitals; write it in lower case: {text.lower()!r}"
        raise InvalidValue(message)
    return text


def check_phase(text: str) -> str:
    """Return a cadence's phase, if it is a duration."""
    parse_duration(text)
    return text


def check_no_policy(text: str) -> str:
    """Refuse a policy of a cadence: all cadences of a target share one request to its authority."""
    if text:
        message = "is set for a whole authority: leave it empty, and write policyOID below rfc3161 in anchors.yaml"
        raise InvalidValue(message)
    return text


def unknown_scheme(target: Target, known_schemes: Collection[str]) -> str:
    """Return the refusal of a target whose scheme nobody here can anchor on."""
    return f"{str(target)!r} has an unknown scheme - use one of: {', '.join(sorted(known_schemes))}"


Every = Annotated[str, AfterValidator(check_every)]
Phase = Annotated[str, AfterValidator(check_phase)]
NoPolicy = Annotated[str, AfterValidator(check_no_policy)]
Confirmations = Annotated[int, Field(ge=0, le=MOST_CONFIRMATIONS)]
