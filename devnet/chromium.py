"""Obtains Chromium, in which the verifier's page is tested, from Debian's package."""

import os
import shutil
from pathlib import Path

from devnet.errors import PartError
from devnet.supply import Supply, run_fetching

CHROMIUM_VERSION = "debian"
"""An archive keeps one version per suite; any of them opens the page."""
_INSTALL = [
    "apt-get",
    "install",
    "--yes",
    "--no-install-recommends",
    "--option=DPkg::Lock::Timeout=300",  # another program may be installing, too
    "chromium",
]
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def _fetch(folder: Path) -> None:
    """Install the package, since a browser needs some hundred libraries at their places."""
    if os.geteuid() != 0:
        message = "only root may install it: sudo apt-get install chromium"
        raise PartError(message)
    try:
        run_fetching(_INSTALL, folder, _QUIET)
    except PartError:
        run_fetching(["apt-get", "update"], folder)
        run_fetching(_INSTALL, folder, _QUIET)
    program = shutil.which("chromium")
    if program is not None:
        (folder / "chromium").symlink_to(program)


CHROMIUM = Supply(
    name="chromium",
    version=CHROMIUM_VERSION,
    variable="CHROMIUM",
    product="chromium",
    fetch=_fetch,
    takes="a minute",
    needs="apt-get",
)


def chromium() -> Path:
    """Return the `chromium` program."""
    return CHROMIUM.obtain()
