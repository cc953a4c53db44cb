"""Runs a program as if the packages of a lock file were all that is installed.

`python only_locked.py LOCK PROGRAM ARGUMENT…`: every other package that this environment has can't be imported.
"""

import re
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

from typing_extensions import override


class OnlyLocked(MetaPathFinder):
    """Refuses modules of packages that a lock file does not name."""

    def __init__(self, lock: str) -> None:
        self._locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
        self._packages = packages_distributions()

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        packages = {
            re.sub(r"[-_.]+", "-", name).lower() for name in self._packages.get(fullname, ())
        }
        if path is None and packages and not packages & self._locked:
            message = f"{fullname} is in no package of the lock"
            raise ModuleNotFoundError(message, name=fullname)
        return None


if __name__ == "__main__":
    _, lock_file, program, *arguments = sys.argv
    sys.meta_path.insert(0, OnlyLocked(Path(lock_file).read_text(encoding="utf-8")))
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).resolve().parent))
    runpy.run_path(program, run_name="__main__")
