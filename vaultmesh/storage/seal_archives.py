"""Seals what maintenance leaves behind: the manifests of archived rows, and the hashes of backups.

1. What is not sealed yet is found in the folder itself, so a run that died before it sealed is made good by the next one.
2. One run makes one batch, whatever it archived: a leaf for each file, in the order of their names.
3. Whatever goes wrong here, the archive stays as it is: the run's result says so, and the next run tries again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from vaultmesh.domain.errors import DomainError, InvalidValue, in_one_line
from vaultmesh.domain.maintenance.archived import (
    ArchiveDamaged,
    Manifest,
    is_note_of,
    note_of,
)
from vaultmesh.domain.maintenance.config import Kind, NamedTask, SealTo, seal_to
from vaultmesh.domain.maintenance.outcomes import Outcome, StepResult, TaskResult, worst
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.seal_batch import SealedBatch, find_seal, seal_new_files, sealed_names

_LONGEST_WHY = 300


class ArchiveSeals:
    """Seals below one root; blocks."""

    def __init__(self, root: Path, batches_folder: Callable[[str], str | None]) -> None:
        """Seal into a root.

        Args:
            root: folder below which batches and receipts, and relative folders of archives, lie.
            batches_folder: tells where the batches of a namespace go; None of one that nobody configured.
        """
        self._root = root
        self._store = LocalStore(root)
        self._batches_folder = batches_folder

    def sealed(self, named: NamedTask, result: TaskResult, now: int) -> TaskResult:
        """Seal what a task left and nobody sealed yet; return the run's result with what came of that.

        Args:
            named: the task that was run.
            result: how the run ended, in whatever way.
            now: Unix time in seconds.
        """
        target = seal_to(named.task)
        if target is None or result.outcome is Outcome.RUNNING:
            return result
        folder = self._root / target.folder
        files: Sequence[Path] = ()
        try:
            files, damaged = self._unsealed(named, folder)
            batch = self._seal(target, files, now) if files else None
            files = ()
            if damaged:
                raise damaged[0]
        except (DomainError, OSError) as error:
            why = in_one_line(str(error), _LONGEST_WHY)
            step = StepResult(
                subject=str(folder), outcome=Outcome.FAILED, detail=_not_sealed(target, files, why)
            )
        else:
            if batch is None:
                return result
            step = _done(folder, batch)
        return _with(result, step)

    def seal_of(self, archive: Path) -> tuple[str, str] | None:
        """Return by which event, and in which batch, the note of a file of rows or a backup is sealed; None if it is not.

        Raises:
            ArchiveDamaged: another note of this name was sealed.
            InvalidValue: the note can't be read, or its receipt is malformed.
            NetworkFailure: the storage failed.
        """
        note = archive.with_name(note_of(archive.name) or archive.name)
        seal = find_seal(self._store, note)
        if seal is None and sealed_names(self._store, [note]):
            message = f"{note} is not what was sealed: an event of its name has another SHA-256 - put it back from a copy"
            raise ArchiveDamaged(message)
        return seal

    def _unsealed(self, named: NamedTask, folder: Path) -> tuple[list[Path], list[ArchiveDamaged]]:
        """Return the notes of a task that are not sealed, and why others can't be."""
        if not folder.is_dir():
            return [], []
        kind = named.task.kind
        notes = sorted(path for path in folder.iterdir() if is_note_of(kind, named.name, path.name))
        sealed = sealed_names(self._store, notes)
        files: list[Path] = []
        damaged: list[ArchiveDamaged] = []
        for note in notes:
            try:
                if note not in sealed and _is_of(named, note):
                    files.append(note)
            except ArchiveDamaged as error:
                damaged.append(error)
        return files, damaged

    def _seal(self, target: SealTo, files: Sequence[Path], now: int) -> SealedBatch | None:
        folder = self._batches_folder(target.namespace)
        if folder is None:
            message = f"namespace {target.namespace!r} is not in namespaces.yaml - add it there, or correct sealTo"
            raise InvalidValue(message)
        return seal_new_files(self._store, target.namespace, files, now=now, folder=folder)


def _is_of(named: NamedTask, note: Path) -> bool:
    """Whether a note is of this task: several may share a folder."""
    if named.task.kind is Kind.BACKUP:
        return True
    try:
        content = note.read_bytes()
    except FileNotFoundError:  # listed, and deleted since by another task's `archive.keep`
        return False
    return Manifest.parse(content, note).task == named.name


def _done(folder: Path, sealed: SealedBatch) -> StepResult:
    batch = sealed.batch
    count = len(batch.leaves)
    what = f"{count} file{'' if count == 1 else 's'} sealed"
    detail = f"{what} for {batch.namespace} in batch {batch.id}"
    return StepResult(subject=str(folder), outcome=Outcome.DONE, detail=detail)


def _not_sealed(target: SealTo, files: Sequence[Path], why: str) -> str:
    what = f"{len(files)} archived files are" if len(files) > 1 else "what was archived is"
    return f"{what} not sealed for {target.namespace}: {why}. Nothing is lost: the next run tries again"


def _with(result: TaskResult, step: StepResult) -> TaskResult:
    """Return a result with what became of its seal; a run that did not seal has not succeeded."""
    outcome = worst((result.outcome, step.outcome))
    changes = {"outcome": outcome, "steps": (*result.steps, step)}
    failed = {} if step.outcome is Outcome.DONE else {"success_due": None}
    return result.model_copy(update={**changes, **failed})
