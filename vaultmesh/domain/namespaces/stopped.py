"""Defines the decision that a namespace stays stopped although namespaces.yaml names it."""

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.status import Instant


class StopDecision(BaseModel):
    """An operator unregistered a namespace; it holds until the namespace's entry changes."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    namespace: str
    config_hash: str
    """Hash of the entry at that time."""
    at: Instant
    by: str = ""
    """`user@host`."""
    reason: str = ""

    @property
    def text(self) -> str:
        """The decision in words, for people."""
        by = f" by {self.by}" if self.by else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"unregistered at {write_seconds(self.at)}{by}{reason}"

    def content(self) -> bytes:
        """Return the file's content."""
        return self.model_dump_json(by_alias=True, indent=2).encode()


def read_decision(namespace: str, content: bytes) -> StopDecision:
    """Return what a decision's file says.

    Raises:
        InvalidValue: it is damaged, or another namespace's.
    """
    try:
        decision = StopDecision.model_validate_json(content)
    except ValidationError as error:
        message = f"it is no decision ({error.error_count()} problems)"
        raise InvalidValue(message) from None
    if decision.namespace != namespace:
        message = f"it is a decision about {decision.namespace[:100]!r}"
        raise InvalidValue(message)
    return decision
