"""Records deployments: a record that is sealed as an event, and a row in the Remembrancer.

1. The record is written first and durably, then sealed, then the row is appended. Asked again after a crash, each step finds
   what is there: the record keeps its time and its bytes, so the event is the same, and the row has the same id.
2. One process at a time records, so that two that ask for the same make one record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultmesh.domain.audit_chain import KeptHead
from vaultmesh.domain.deployment import Deployment, number_of, read_deployment
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import DEPLOYMENTS_FOLDER, REMEMBRANCER_DATABASE
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.remembrancer import Remembrancer
from vaultmesh.storage.seal_batch import find_seal, seal_new_files, sealed_names

SUFFIX = ".receipt"
_LOCK = f"{DEPLOYMENTS_FOLDER}/.lock"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A deployment that is recorded."""

    deployment: Deployment
    path: str
    """Of its record, below the root."""
    event: str
    batch: str
    is_new: bool
    """Whether its row was missing."""


class Deployments:
    """Deployments below one root; every method blocks."""

    def __init__(self, root: Path) -> None:
        """Keep them below a root."""
        self._root = root
        self._store = LocalStore(root)
        self._remembrancer = Remembrancer(root / REMEMBRANCER_DATABASE)

    def record(self, asked: Deployment, folder: str, *, now: int) -> Recorded:
        """Record a deployment; its batch goes into a folder, `now` is in Unix seconds.

        The newest one asked for again changes nothing.

        Raises:
            InvalidValue: the version was another artifact, or what is in the way is no such record.
            NetworkFailure: the storage failed; ask again.
        """
        with self._store.alone(_LOCK):
            number = number_of(asked, self._remembrancer.deployments(asked.component))
            deployment, path = self._written(asked.model_copy(update={"number": number}))
            file = self._root / path
            event, batch = self._sealed(file, path, asked.namespace, folder, now)
            is_new = self._remembrancer.append_deployment(deployment, path, event, batch)
            return Recorded(deployment, path, event, batch, is_new)

    def _sealed(
        self, file: Path, path: str, namespace: str, folder: str, now: int
    ) -> tuple[str, str]:
        """Seal a record unless it is; returns by which event, and in which batch."""
        seal = find_seal(self._store, file)
        if seal is None and not sealed_names(self._store, [file]):
            seal_new_files(self._store, namespace, [file], now=now, folder=folder)
            seal = find_seal(self._store, file)
        if seal is None:
            message = f"{path} was changed since it was sealed; put it back as it was"
            raise InvalidValue(message)
        return seal

    def _written(self, asked: Deployment) -> tuple[Deployment, str]:
        """Write a record unless it is there; returns what stands there."""
        path = f"{DEPLOYMENTS_FOLDER}/{asked.file_name}"
        if self._store.create(path, asked.text().encode()):
            return asked, path
        there = _read(path, self._store.read(path))
        if there.sha256 != asked.sha256:
            message = (
                f"{path} records version {there.version} of {there.component} with SHA-256 {there.sha256}; a version names one "
                "artifact: give the other one another version"
            )
            raise InvalidValue(message)
        same = (asked.component, asked.version, asked.number)
        if (there.component, there.version, there.number) != same:
            message = f"{path} records version {there.version} of {there.component}; move it away, or use another version"
            raise InvalidValue(message)
        if there.namespace not in {"", asked.namespace}:
            message = f"{path} was begun for namespace {there.namespace!r}; name that one"
            raise InvalidValue(message)
        if there.namespace:
            return there, path
        return there.model_copy(update={"namespace": asked.namespace, "by": asked.by}), path

    def heads(self) -> tuple[Sequence[KeptHead], Sequence[str]]:
        """Return the heads of the audit that sealed records hold, and which records were changed since they were sealed.

        Raises:
            NetworkFailure: the storage failed.
        """
        names = [name for name in self._store.names(DEPLOYMENTS_FOLDER) if name.endswith(SUFFIX)]
        files = [self._root / DEPLOYMENTS_FOLDER / name for name in sorted(names)]
        sealed = sealed_names(self._store, files)
        heads: list[KeptHead] = []
        changed: list[str] = []
        for file in files:
            path = f"{DEPLOYMENTS_FOLDER}/{file.name}"
            if find_seal(self._store, file) is None:
                changed += [path] if file in sealed else []
                continue
            record = _read(path, self._store.read(path))
            if record.audit is not None and record.audit.entry:
                heads.append(KeptHead(record.audit, path))
        return heads, changed

    def removed(self) -> Sequence[str]:
        """Return the records that are gone, while the Remembrancer has rows of them.

        Raises:
            NetworkFailure: the storage failed, or the Remembrancer can't be read.
        """
        there = set(self._store.names(DEPLOYMENTS_FOLDER))
        paths = sorted(set(self._remembrancer.records()))
        return [path for path in paths if path.rpartition("/")[2] not in there]


def _read(path: str, content: bytes | None) -> Deployment:
    try:
        return read_deployment(content or b"")
    except InvalidValue as error:
        message = f"{path}: {error}; move it away"
        raise InvalidValue(message) from error
