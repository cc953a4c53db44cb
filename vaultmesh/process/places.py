"""Says why a folder or file that somebody named can't be used."""

import errno
import os
from pathlib import Path

_MISNAMED = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What is wrong with the place itself; a full or broken disk is not, nor is a connection."""


def is_misnamed(error: BaseException | None) -> bool:
    """Whether an error comes from a place that can't be used however often it is tried: another must be named."""
    return isinstance(error, OSError) and error.errno in _MISNAMED


def in_words(error: OSError) -> str:
    """Return an operating system's error as one line that says which place it is about and how to mend it."""
    reason = error.strerror or str(error) or type(error).__name__
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    mend = (
        "name a place that exists and may be written"
        if is_misnamed(error)
        else "check the storage, its space and the connections of this machine"
    )
    return f"{place}{reason} - {mend}"


def why_no_folder(folder: Path) -> str:
    """Return why a folder can't be entered; nothing if it can."""
    try:
        if not folder.is_dir():
            return "is a link that leads nowhere" if folder.is_symlink() else "is no folder"
    except OSError as error:
        return f"can't be looked at ({error.strerror})"
    return "" if os.access(folder, os.X_OK) else "may not be entered"


def why_not_written(folder: Path) -> str:
    """Return why nothing can be stored in a folder; nothing if that is possible, as far as can be seen without trying."""
    reason = why_no_folder(folder)
    if reason or os.access(folder, os.W_OK):
        return reason
    return "can't be written: its file system or its rights don't let us"


def why_not_made(place: Path) -> str:
    """Return why a file that is not there can't be made; nothing if it can, as far as can be seen without trying."""
    folder = next(parent for parent in place.parents if os.path.lexists(parent))
    reason = why_not_written(folder)
    return f"can't be made: {folder} {reason}" if reason else ""
