"""Gives the pages about anchoring what they share: where the answers come from, and how states are shown."""

from collections.abc import Mapping
from typing import Any

from vaultmesh.api.admin.pages import Visit
from vaultmesh.api.answers import Refused
from vaultmesh.domain.status import NamespaceState, TargetState
from vaultmesh.overview import words
from vaultmesh.overview.anchoring import AnchoringOverview, Source, Unknown
from vaultmesh.overview.batch_reports import Step

_TONES: Mapping[NamespaceState | TargetState | Step, str] = {
    NamespaceState.RUNNING: "good",
    NamespaceState.PAUSED: "warn",
    NamespaceState.STOPPED: "warn",
    NamespaceState.DRAINING: "warn",
    TargetState.RUNNING: "good",
    TargetState.PAUSED: "warn",
    TargetState.MISSING: "calm",
}
"""Every other state wants somebody to look."""


def anchoring_of(visit: Visit) -> AnchoringOverview:
    """Return what the process knows of anchoring.

    Raises:
        Refused: nothing.
    """
    if visit.parts.anchoring is None:
        message = "This process knows nothing of anchoring. Ask a worker that has VMSH_ROOT."
        raise Refused(404, "Anchoring is not shown here", message)
    return visit.parts.anchoring


def not_there(unknown: Unknown) -> Refused:
    """Return the refusal to show what there is not."""
    return Refused(404, "There is no such thing", str(unknown))


def who(visit: Visit) -> str:
    """Return whom a log line and a reason name as the one who decided."""
    return visit.administrator.subject


def tone(state: NamespaceState | TargetState) -> str:
    """Return the class of a state's label."""
    return _TONES.get(state, "bad")


def shared(source: Source, silence: str = "") -> dict[str, Any]:
    """Return what the templates about anchoring know beside their own values."""
    return {
        "source": source,
        "silence": silence,
        "words": words,
        "tone": tone,
        "section": "namespaces",
    }
