"""Fetches packages from Debian's archive and unpacks them; nothing is installed.

1. apt works on folders of its own: it reads no list, pin, hook or source of the host, and changes nothing there.
   What the host says about fetching (`Acquire`: a proxy, dates) is kept; packages are verified by Debian's key.
2. Which library packages are needed is asked of the archive, since their names change.
3. An archive keeps one version of a suite, so no version is pinned: the cache holds what was newest.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from devnet.errors import PartError
from devnet.supply import run_fetching

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ASK_SECONDS = 60
_ONLY_NEEDED = [
    "--no-recommends",
    "--no-suggests",
    "--no-conflicts",
    "--no-breaks",
    "--no-replaces",
    "--no-enhances",
]


class DebianSuite:
    """One suite of the archive, as apt knows it in a folder of its own."""

    def __init__(self, name: str, place: Path) -> None:
        """Read its lists.

        Raises:
            PartError: apt can't.
        """
        self.name = name
        self._place = place
        self._environment = {"APT_CONFIG": str(_configure(name, place))}
        run_fetching(["apt-get", "update"], place, self._environment)

    def depends(self, package: str) -> list[str]:
        """Return the packages that one needs."""
        told = ask(["apt-cache", "depends", *_ONLY_NEEDED, package], self._environment)
        return re.findall(r"Depends: (\S+)", told)

    def libraries_of(self, package: str) -> list[str]:
        """Return the library packages that a package needs, and those that they need."""
        first = [name for name in self.depends(package) if name.startswith("lib")]
        every = ask(["apt-cache", "depends", "--recurse", *_ONLY_NEEDED, *first], self._environment)
        names = {line for line in every.splitlines() if not line.startswith((" ", "<"))}
        found = sorted(name for name in names if name.startswith("lib"))
        if not first or not found:
            message = f"{self.name} has no {package} for this machine"
            raise PartError(message)
        return found

    def unpack(self, packages: Collection[str], tree: Path) -> None:
        """Download packages and unpack them into one tree."""
        downloads = self._place / "downloads"
        downloads.mkdir(exist_ok=True)
        run_fetching(["apt-get", "download", *packages], downloads, self._environment)
        for package in sorted(downloads.glob("*.deb")):
            run_fetching(["dpkg-deb", "-x", str(package), str(tree)], self._place)


@contextmanager
def debian_suite(name: str, beside: Path) -> Iterator[tuple[DebianSuite, Path]]:
    """Return a suite and a folder for what is unpacked, both for a while and beside a folder.

    Raises:
        PartError: the archive can't be read.
    """
    if not KEYRING.exists():
        message = f"{KEYRING} is missing; install debian-archive-keyring"
        raise PartError(message)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=beside.parent) as temporary:
        place = Path(temporary)
        yield DebianSuite(name, place), place / "tree"


def _configure(suite: str, place: Path) -> Path:
    """Write a configuration of apt that uses `place` alone, and return it."""
    for name in ("lists/partial", "cache/archives/partial", "none"):
        (place / name).mkdir(parents=True)
    (place / "status").touch()
    sources = place / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::Main": os.devnull,
        "Dir::Etc::Parts": place / "none",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": place / "none",
        "Dir::Etc::Preferences": os.devnull,
        "Dir::Etc::PreferencesParts": place / "none",
        "Dir::State": place,
        "Dir::State::Lists": place / "lists",
        "Dir::State::Status": place / "status",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",
    }
    file = place / "apt.conf"
    file.write_text(
        "\n".join([*(f'{key} "{value}";' for key, value in settings.items()), *fetch_settings()])
    )
    return file


def fetch_settings() -> list[str]:
    """Return what the host says about fetching, a line of apt's configuration each."""
    return [
        line
        for line in ask(["apt-config", "dump"]).splitlines()
        if line.startswith("Acquire::") and not line.startswith("Acquire::IndexTargets")
    ]


def _mirror() -> str:
    """Return where this host gets Debian's main archive from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    addresses = sorted(set(ask(command).split()))
    for address in addresses:
        if urlsplit(address).path.rstrip("/").endswith("/debian"):
            return address
    message = "apt here has no source of Debian's main archive"
    raise PartError(message)


def ask(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints.

    Raises:
        PartError: it failed.
    """
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_ASK_SECONDS,
    )
    if done.returncode:
        message = f"{' '.join(command[:2])} failed: {done.stderr.strip()[-300:]}"
        raise PartError(message)
    return done.stdout
