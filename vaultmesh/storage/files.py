"""Reads and writes every file below the root, through one port.

1. A final name only ever shows a whole file: content is written under a name that starts with a
   dot, made durable, and then moved or linked there.
2. What `write` and `create` answer for is durable before they return, its folder included.
3. Paths are relative and posix; a path that leaves the root is refused.
4. Whoever changes what it has read uses `replace`: a writer that stood still for minutes changes nothing any more.
"""

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.storage.folder_lock import FolderLocks

MOST_TRIES = 20
"""Changes of one file in a row that other writers may come between."""
ABSENT = ""
"""The version of a file that is not there."""
SETTLED_NS = 100_000_000
"""Age, in ns, at which a folder's time of change tells it from any later one: a kernel's clock for
files moves in steps of up to 10 ms, and two changes may share a step."""


class NoFile(NetworkFailure):
    """A folder or pipe lies in a file's place: that file alone can't be read or written, and the storage works."""


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells a file from the same file after a change."""

    size: int
    modified_ns: int
    """Unix time in nanoseconds."""
    identity: int = 0
    """Number of the file in its file system; 0 where there is none."""


class Store(Protocol):
    """Files below one root; every method may be called from any thread.

    Raises, from every method: `NetworkFailure` when the storage fails, `InvalidValue` for a path
    that leaves the root.
    """

    def read(self, path: str) -> bytes | None:
        """Return a file's content; None if there is none."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Put a file there durably, at once and as a whole, over whatever was there."""
        ...

    def create(self, path: str, content: bytes) -> bool:
        """Put a file there if there is none, durably; tells whether this call did.

        At most one of any callers does.
        """
        ...

    def replace(self, path: str, content: bytes, if_version: str) -> bool:
        """Put a file there durably if `version_of` what is there is this; tells whether this call did."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder."""
        ...

    def stamp(self, path: str) -> FileStamp | None:
        """Return what changes when the file does; None if there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder in no order; none if it is absent.

        Temporary files, whose names start with a dot, are left out.
        """
        ...

    def version(self, folder: str) -> str | None:
        """Return a token that changes when names come or go; None: not known at the moment.

        MUST be read before `names` to be compared later.
        """
        ...

    def delete(self, path: str) -> None:
        """Remove a file durably; nothing happens if there is none."""
        ...

    def remove(self, path: str, if_version: str) -> bool:
        """Remove a file durably if `version_of` what is there is this; tells whether nothing is there any more."""
        ...

    def alone(self, path: str) -> AbstractContextManager[None]:
        """Keep every other process that asks for the same path waiting; ends with the process."""
        ...


class LocalStore:
    """Files of a folder on this machine, or on a volume that is mounted here."""

    def __init__(self, root: Path) -> None:
        """Keep everything below `root`."""
        self.root = root
        self._locks = FolderLocks()

    def read(self, path: str) -> bytes | None:
        """Return a file's content; None if there is none."""
        return self._unless_absent(path, "read", _content)

    def write(self, path: str, content: bytes) -> None:
        """Put a file there, at once and as a whole, over whatever was there."""
        place = self._place(path)
        with self._reported("write", path):
            self._make_folder(place.parent)
            temporary = _temporary(place)
            try:
                _fill(temporary, content)
                temporary.replace(place)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            _settle(place.parent)

    def create(self, path: str, content: bytes) -> bool:
        """Put a file there if there is none, durably; tells whether this call did."""
        place = self._place(path)
        with self._reported("create", path):
            self._make_folder(place.parent)
            created = not place.exists() and _link(place, content)
            _settle(place.parent)
        return created

    def replace(self, path: str, content: bytes, if_version: str) -> bool:
        """Put a file there durably if nobody has changed it meanwhile; only its folder waits for other writers."""
        place = self._place(path)
        with self._reported("write", path):
            self._make_folder(place.parent)
            temporary = _temporary(place)
            try:
                _fill(temporary, content)
                with self._locks.locked(place.parent):
                    if version_of(self.read(path)) != if_version:
                        return False
                    temporary.replace(place)
            finally:
                temporary.unlink(missing_ok=True)
            _settle(place.parent)
        return True

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder."""
        return self.stamp(path) is not None

    def stamp(self, path: str) -> FileStamp | None:
        """Return what changes when the file does; None if there is none."""
        seen = self._unless_absent(path, "look at", os.stat)
        return None if seen is None else FileStamp(seen.st_size, seen.st_mtime_ns, seen.st_ino)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder in no order; none if it is absent."""
        names = self._unless_absent(folder, "list", os.listdir)
        return [name for name in names or () if name[0] != "."]

    def version(self, folder: str) -> str | None:
        """Return a token that changes with the names; None: they changed too recently to say."""
        seen = self._unless_absent(folder, "look at", os.stat)
        if seen is None:
            return "absent"
        age = time.time_ns() - seen.st_mtime_ns
        return f"{seen.st_ino}-{seen.st_mtime_ns}" if age > SETTLED_NS else None

    def delete(self, path: str) -> None:
        """Remove a file durably; nothing happens if there is none."""
        place = self._place(path)
        with self._reported("delete", path):
            try:
                place.unlink()
            except FileNotFoundError:
                return
            _settle(place.parent)

    def remove(self, path: str, if_version: str) -> bool:
        """Remove a file durably if nobody has changed it meanwhile; only its folder waits for other writers."""
        place = self._place(path)
        with self._reported("delete", path):
            if not place.exists():
                return True
            with self._locks.locked(place.parent):
                if version_of(self.read(path)) != if_version:
                    return False
                place.unlink()
            _settle(place.parent)
        return True

    @contextmanager
    def alone(self, path: str) -> Iterator[None]:
        """Hold the lock of a path, which is a file of its own; waits for whoever holds it."""
        place = self._place(path)
        with self._reported("lock", path):
            self._make_folder(place.parent)
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with self._reported("lock", path):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _place(self, path: str) -> Path:
        pure = PurePosixPath(path)
        if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in path:
            message = f"path {path!r} leaves the root; use a relative one"
            raise InvalidValue(message)
        return self.root / pure

    def _unless_absent(self, path: str, verb: str, act: Callable[[Path], Result]) -> Result | None:
        place = self._place(path)
        with self._reported(verb, path):
            try:
                return act(place)
            except (FileNotFoundError, NotADirectoryError):
                return None

    @contextmanager
    def _reported(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except IsADirectoryError as error:
            message = f"could not {verb} {path} below {self.root}: it is no file; take it away"
            raise NoFile(message) from error
        except OSError as error:
            message = (
                f"could not {verb} {path} below {self.root}: {error.strerror or error}; "
                "check the storage, its space and its permissions"
            )
            raise NetworkFailure(message) from error

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, durably from the first one that was there."""
        missing: list[Path] = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            _settle(place.parent)


def version_of(content: bytes | None) -> str:
    """Return what tells a file's content from any other; `ABSENT` if there is none."""
    return ABSENT if content is None else blake2b(content, digest_size=16).hexdigest()


def change(store: Store, path: str, make: Callable[[bytes | None], bytes | None]) -> bool:
    """Replace a file by what `make` makes of its content, None of an absent one; tells whether it was replaced.

    `make` is asked again when another writer came between, and leaves the file alone by returning None.

    Raises:
        NetworkFailure: the storage failed, or other writers keep coming between.
    """
    for _ in range(MOST_TRIES):
        content = store.read(path)
        made = make(content)
        if made is None:
            return False
        if store.replace(path, made, version_of(content)):
            return True
    message = f"other writers keep changing {path}; it is tried again"
    raise NetworkFailure(message)


def _content(place: Path) -> bytes:
    """Read a file; whatever is none fails at once: a pipe would keep its reader waiting for ever."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _temporary(place: Path) -> Path:
    """Return a name in the same folder that no other writer uses, on whatever machine."""
    return place.with_name(f".{secrets.token_hex(8)}.new")


def _fill(place: Path, content: bytes) -> None:
    with place.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _link(place: Path, content: bytes) -> bool:
    temporary = _temporary(place)
    try:
        _fill(temporary, content)
        os.link(temporary, place)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _settle(folder: Path) -> None:
    """Make the names of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
