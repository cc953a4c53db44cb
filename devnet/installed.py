"""Installs Debian packages whose programs need files at their places: libraries, configuration, other programs."""

import os
import shutil
from pathlib import Path

from devnet.errors import PartError
from devnet.supply import run_fetching

_INSTALL = [
    "apt-get",
    "install",
    "--yes",
    "--no-install-recommends",
    "--option=DPkg::Lock::Timeout=300",  # another program may be installing, too
]
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def install(package: str, folder: Path) -> None:
    """Install a package, and have a folder name the program that is called as it is.

    Raises:
        PartError: it can't be installed.
    """
    program = shutil.which(package) or _install(package, folder)
    if program is not None:
        (folder / package).symlink_to(program)


def _install(package: str, folder: Path) -> str | None:
    if os.geteuid() != 0:
        message = f"only root may install it: sudo apt-get install {package}"
        raise PartError(message)
    try:
        run_fetching([*_INSTALL, package], folder, _QUIET)
    except PartError:
        run_fetching(["apt-get", "update"], folder)
        run_fetching([*_INSTALL, package], folder, _QUIET)
    return shutil.which(package)
