"""Starts the product's error tree.

DomainError
├── InvalidValue     a text or number from outside that cannot mean anything: says what, where and how to mend it
└── AnchorError      a step of anchoring failed; carries its failure kind (`vaultmesh.domain.failures`)
"""

from typing_extensions import override


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
