"""Holds what one look at namespaces and targets showed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from vaultmesh.domain.status import NamespaceView, TargetView
from vaultmesh.process.failing import Failing


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that one look showed."""

    namespaces: Sequence[NamespaceView]
    targets: Sequence[TargetView]
    silent: Sequence[NamespaceView] = ()
    """Namespaces whose workflow runs, but did not answer: what files and Temporal itself say of them."""
    silent_targets: Sequence[str] = ()
    """Targets whose aggregator runs, but did not answer."""
    failing: Sequence[Failing] = ()
    """Workflows that can't go on; they are among `namespaces` and `targets` too."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with a configuration file, by its name: what it holds is not known."""
    silence: str = ""
    """Why something that runs did not answer, as far as Temporal knows; empty if all did."""

    @property
    def unanswered(self) -> Sequence[str]:
        """What did not answer, in words."""
        names = [view.namespace for view in self.silent]
        return [*names, *(f"target {target}" for target in self.silent_targets)]

    @property
    def all_answered(self) -> bool:
        """Whether everything that runs answered."""
        return not self.unanswered and not self.failing

    def document(self) -> JsonValue:
        """Return it as `--json` prints it."""
        return {
            "namespaces": [view.model_dump(mode="json") for view in self.namespaces],
            "targets": [target.model_dump(mode="json") for target in self.targets],
            "unanswered": list(self.unanswered),
            "silent": [view.model_dump(mode="json") for view in self.silent],
            "refused": dict(self.refused),
        }
