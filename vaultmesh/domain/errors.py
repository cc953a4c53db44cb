"""The place where the product's error tree starts.

DomainError
├── InvalidValue     a text or number from outside that cannot mean anything: says what, where and how to mend it
└── AnchorError      a step of anchoring failed; carries its failure kind (`vaultmesh.domain.failures`)
"""


class DomainError(Exception):
    """Anything this product refuses or fails at, in words an operator can act on."""


class InvalidValue(DomainError, ValueError):  # noqa: N818 - reads as what it says
    """A value from outside that has no meaning here; also a ValueError, so that pydantic reports it."""
