"""Defines the decision that a namespace stays stopped, although a namespaces.yaml may name it.

1. It holds for the entry that it was made about: as the operator's file had it, or as it ran.
2. A file with another entry ends it only if that file was written later: a worker with an older one undoes no decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_seconds


class StopDecision(BaseModel):
    """An operator unregistered a namespace; it holds until the namespace's entry changes."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    namespace: str
    config_hash: str = ""
    """Hash of the entry in the file that the operator's command read; empty if there was none."""
    running_hash: str = ""
    """Hash of the entry that its workflow ran with; empty if it did not run, or nobody could say."""
    at: AwareDatetime
    """With its fraction: a file may be written within the same second."""
    by: str = ""
    """`user@host`."""
    reason: str = ""

    @property
    def text(self) -> str:
        """The decision in words, for people."""
        by = f" by {self.by}" if self.by else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"unregistered at {write_seconds(self.at)}{by}{reason}"

    def is_about(self, config_hash: str) -> bool:
        """Whether it was made about this entry; one that knows no entry is about any."""
        known = {self.config_hash, self.running_hash} - {""}
        return not known or config_hash in known

    def content(self) -> bytes:
        """Return the file's content."""
        return self.model_dump_json(by_alias=True, indent=2).encode()


@dataclass(frozen=True, slots=True)
class Entries:
    """What a namespaces.yaml says, as far as decisions need it."""

    hashes: Mapping[str, str]
    """Hash of each namespace's entry."""
    written_at: float
    """When the file was changed last, in Unix seconds."""


def read_decision(namespace: str, content: bytes) -> StopDecision:
    """Return what a decision's file says; any namespace's if none is named.

    Raises:
        InvalidValue: it is damaged, or another namespace's.
    """
    try:
        decision = StopDecision.model_validate_json(content)
    except ValidationError as error:
        message = f"it is no decision ({error.error_count()} problems)"
        raise InvalidValue(message) from None
    if namespace and decision.namespace != namespace:
        message = f"it is a decision about {decision.namespace[:100]!r}"
        raise InvalidValue(message)
    return decision
