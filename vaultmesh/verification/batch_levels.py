"""Says for `verify --batch` what is proven so far, and what is still awaited.

1. Receipts and batch files below the root and namespaces.yaml are all that is read: no server.
2. What can't be told is said, not left out: a namespace that is not configured has unknown targets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from vaultmesh.domain.batches.batch import Batch, parse_batch
from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.instants import of_seconds, write_seconds
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.receipts.levels import Level, Levels, Owed, Seen, levels_of
from vaultmesh.process.config_files import load_namespaces, namespaces_path
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.verification.live import CheckedFile


@dataclass(frozen=True, slots=True)
class BatchLevels:
    """How far the trust in one batch has grown."""

    batch_id: str
    levels: Levels
    unknown: Sequence[str] = ()
    """Why something else may be awaited, one line each."""

    def document(self) -> JsonValue:
        """Return it as `--json` prints it."""
        return {**self.levels.document(), "unknown": list(self.unknown)}

    def lines(self) -> list[str]:
        """Return it for people."""
        lines = [f"levels of batch {self.batch_id}"]
        for entry in self.levels.proven:
            line = f"  {entry.namespace} {entry.target}: {entry.level} since {write_seconds(entry.since)}"
            if entry.level is Level.FINAL:
                line += f", in its block since {write_seconds(entry.at)}"
            lines.append(line)
        lines += [
            f"  {entry.namespace} {entry.target}: awaiting: {entry.view.text}"
            for entry in self.levels.awaited
        ]
        if not self.levels.awaited and not self.unknown:
            lines.append("  nothing is awaited")
        return [*lines, *(f"  {reason}" for reason in self.unknown)]


def batch_levels(
    settings: Settings, batch_id: str, files: Iterable[CheckedFile], namespace: str = ""
) -> BatchLevels:
    """Return the levels of a batch whose receipts were checked; of one namespace, or of all it is for."""
    seen = [Seen(file.receipt, file.verdict.proven) for file in files if file.receipt is not None]
    return levels_seen(settings, batch_id, seen, namespace)


def levels_seen(
    settings: Settings, batch_id: str, seen: Sequence[Seen], namespace: str = ""
) -> BatchLevels:
    """Return the levels of a batch with these receipts; of one namespace, or of all it is for. Blocks."""
    named = {entry.receipt.metadata.namespace for entry in seen} | ({namespace} - {""})
    path = namespaces_path(settings)
    try:
        specs = load_namespaces(path).specs
    except ConfigurationError:
        unknown = [f"{path} can't be read: what else is awaited is not known"]
        return BatchLevels(batch_id, levels_of(seen, ()), unknown)
    store = LocalStore(settings.root)
    asked = [specs[namespace]] if namespace in specs else [] if namespace else specs.values()
    owed = [entry for spec in asked if (entry := _owed(store, spec, batch_id)) is not None]
    unknown = [
        f"{name} is not in {path}: what else is awaited for it is not known"
        for name in sorted(named - specs.keys())
    ]
    return BatchLevels(batch_id, levels_of(seen, owed), unknown)


def _owed(store: LocalStore, spec: NamespaceSpec, batch_id: str) -> Owed | None:
    """Return where a namespace is to anchor a batch; None if the batch is not one of its."""
    batch = _batch(store, f"{spec.batches or BATCHES_FOLDER}/{batch_id}.json", batch_id)
    if batch is None or batch.namespace not in ("", spec.name):
        return None
    targets = list(dict.fromkeys(cadence.target for cadence in spec.cadences.values()))
    return Owed(spec.name, targets, _created_at(batch))


def _batch(store: LocalStore, place: str, batch_id: str) -> Batch | None:
    """Return a batch; a broken file has its own line among the checks."""
    content = store.read(place) if "/" not in batch_id else None
    try:
        return None if content is None else parse_batch(content, name=batch_id)
    except InvalidValue:
        return None


def _created_at(batch: Batch) -> datetime | None:
    if batch.created_at is None:
        return None
    try:
        return of_seconds(batch.created_at)
    except InvalidValue:
        return None
