"""Says how what runs differs from what namespaces.yaml says."""

from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.status import NamespaceView

_UNNAMED = "confirmations or phase"
"""Keys that neither memo nor `status` shows."""


def changed_keys(spec: NamespaceSpec, view: NamespaceView) -> list[str]:
    """Return which keys differ, with what runs and what the file says."""
    changes = []
    if spec.batches != view.batches:
        changes.append(f"batches {view.batches or 'default'} -> {spec.batches or 'default'}")
    for label in sorted({*spec.cadences, *view.cadences}):
        wanted, runs = spec.cadences.get(label), view.cadences.get(label)
        if wanted is None or runs is None:
            changes.append(f"{label} {'added' if runs is None else 'removed'}")
            continue
        if str(wanted.target) != runs.target:
            changes.append(f"{label}.target {runs.target} -> {wanted.target}")
        if wanted.every != runs.every:
            changes.append(f"{label}.every {runs.every} -> {wanted.every}")
    return changes or [_UNNAMED]
