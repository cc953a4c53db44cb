"""Makes what images are built on where no registry of images can be reached: a base, and the packages of a lock file.

1. The base has what the official image of Python has that our Dockerfile uses: Debian 12, Python 3.11 as `python`, pip. It is made by
   mmdebstrap from Debian's archive, as one archive of files, and holds PostgreSQL's client too, of Debian's version.
2. Packages are fetched once for each content of a lock file, so that a build of an image needs no network.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from devnet.debian import fetch_settings
from devnet.errors import PartError
from devnet.installed import install
from devnet.supply import Supply, run_fetching

SUITE, PYTHON = "bookworm", "3.11"
LOCK = Path(__file__).resolve().parents[1] / "requirements-runtime.lock"
"""Of the worker's image; what the other one needs is among it."""
_PACKAGES = "python3-minimal,python3-pip,python-is-python3,ca-certificates,postgresql-client"
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's own, in memory: thousands of small files are written
_ENOUGH = 2 * 1024**3


def _make_base(folder: Path) -> None:
    """Make the base; it takes root."""
    if os.geteuid() != 0:
        message = "only root may make it"
        raise PartError(message)
    install("mmdebstrap", folder)
    options = [
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        "--dpkgopt=force-unsafe-io",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={setting}" for setting in fetch_settings()),
        # As the official image has it: packages may be installed beside Debian's.
        '--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
    ]
    fast = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH
    run_fetching(
        ["mmdebstrap", "--quiet", "--variant=apt", f"--include={_PACKAGES}", *options, SUITE, "base.tar"],
        folder,
        {"TMPDIR": str(_MEMORY)} if fast else {},
    )  # fmt: skip


def _fetch_packages(folder: Path) -> None:
    """Download the wheels that the lock names, for the base's Python."""
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--require-hashes"]
    wanted = ["--only-binary=:all:", f"--python-version={PYTHON}", "--dest=wheels"]
    run_fetching(
        [sys.executable, "-m", "pip", "download", *options, *wanted, "-r", str(LOCK)], folder
    )


IMAGE_BASE = Supply(
    name="image-base",
    version=SUITE,
    variable="IMAGE_BASE",
    product="base.tar",
    fetch=_make_base,
    takes="a minute",
    needs="apt-get",
    on_path=False,
)
IMAGE_PACKAGES = Supply(
    name="image-packages",
    version=hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12] if LOCK.exists() else "none",
    variable="IMAGE_PACKAGES",
    product="wheels",
    fetch=_fetch_packages,
    takes="20 seconds",
    needs="",
    on_path=False,
)
