"""Fetches bitcoind from Debian's archive and unpacks it beside its own libraries; nothing is installed.

1. Debian's stable releases have no bitcoind, so the package is that of the suite `SUITE`, built against a newer C
   library than the host's. It runs with that library and its loader, which lie beside it.
2. apt works on folders of its own: it reads no list, pin, hook or source of the host, and changes nothing there.
   What the host says about fetching (`Acquire`: a proxy, dates) is kept; packages are verified by Debian's key.
3. Which library packages are needed is asked of the archive, since their names change; which libraries, of the loader.
4. An archive keeps one version of a suite, so the version is not pinned: the cache holds what was newest.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from devnet.errors import PartError
from devnet.supply import Supply, run_fetching

SUITE = "forky"
PACKAGE = "bitcoin-knots"
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
_LOADERS = "ld-linux*.so.*"
_LIBRARY = re.compile(r"\s*(?P<name>\S+)(?: => (?P<path>\S+))? \(0x[0-9a-f]+\)")
_LAUNCHER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/lib/{loader}" --argv0 bitcoind --library-path "$here/lib" "$here/libexec/bitcoind" "$@"
"""


def _fetch(folder: Path) -> None:
    if not KEYRING.exists():
        message = f"{KEYRING} is missing; install debian-archive-keyring"
        raise PartError(message)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder.parent) as temporary:
        place = Path(temporary)
        environment = {"APT_CONFIG": str(_configure(place))}
        run_fetching(["apt-get", "update"], place, environment)
        packages = [PACKAGE, *_libraries_of(PACKAGE, environment)]
        downloads, tree = place / "downloads", place / "tree"
        downloads.mkdir()
        run_fetching(["apt-get", "download", *packages], downloads, environment)
        for package in sorted(downloads.glob("*.deb")):
            run_fetching(["dpkg-deb", "-x", str(package), str(tree)], place)
        _assemble(tree, folder)


def _configure(place: Path) -> Path:
    """Write a configuration of apt that uses `place` alone, and return it."""
    for name in ("lists/partial", "cache/archives/partial", "none"):
        (place / name).mkdir(parents=True)
    (place / "status").touch()
    sources = place / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
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
    kept = [
        line
        for line in _ask(["apt-config", "dump"]).splitlines()
        if line.startswith("Acquire::") and not line.startswith("Acquire::IndexTargets")
    ]
    file = place / "apt.conf"
    file.write_text("\n".join([*(f'{key} "{value}";' for key, value in settings.items()), *kept]))
    return file


def _mirror() -> str:
    """Return where this host gets Debian's main archive from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    addresses = sorted(set(_ask(command).split()))
    for address in addresses:
        if urlsplit(address).path.rstrip("/").endswith("/debian"):
            return address
    message = "apt here has no source of Debian's main archive"
    raise PartError(message)


def _libraries_of(package: str, environment: Mapping[str, str]) -> list[str]:
    """Return the library packages that a package needs, and those that they need."""
    direct = _ask(["apt-cache", "depends", *_ONLY_NEEDED, package], environment)
    first = [name for name in re.findall(r"Depends: (\S+)", direct) if name.startswith("lib")]
    every = _ask(["apt-cache", "depends", "--recurse", *_ONLY_NEEDED, *first], environment)
    names = {line for line in every.splitlines() if not line.startswith((" ", "<"))}
    found = sorted(name for name in names if name.startswith("lib"))
    if not first or not found:
        message = f"{SUITE} has no {PACKAGE} for this machine"
        raise PartError(message)
    return found


def _assemble(tree: Path, folder: Path) -> None:
    """Copy the program, the loader and the libraries that the loader names; none may be the host's."""
    program = tree / "usr" / "bin" / "bitcoind"
    loader = next((one for one in tree.rglob(_LOADERS) if not one.is_symlink()), None)
    if loader is None or not program.exists():
        message = f"{PACKAGE} holds no bitcoind, or its C library no loader"
        raise PartError(message)
    folders = ":".join(sorted({str(one.parent) for one in tree.rglob("*.so*")}))
    told = _ask([str(loader), "--library-path", folders, "--list", str(program)])
    for name in ("lib", "libexec"):
        (folder / name).mkdir()
    shutil.copy2(program, folder / "libexec" / "bitcoind")
    shutil.copy2(loader, folder / "lib" / loader.name)
    for match in filter(None, map(_LIBRARY.match, told.splitlines())):
        path = Path(match["path"] or match["name"])
        if not path.is_absolute() or path.name.startswith("ld-linux"):
            continue
        if not path.is_relative_to(tree):
            message = f"{path} is the host's: a package of {path.name} is missing"
            raise PartError(message)
        shutil.copy2(path, folder / "lib" / path.name)
    launcher = folder / "bitcoind"
    launcher.write_text(_LAUNCHER.format(loader=loader.name))
    launcher.chmod(0o755)


def _ask(command: list[str], environment: Mapping[str, str] | None = None) -> str:
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


BITCOIND = Supply(
    name="bitcoind",
    version=f"knots-{SUITE}",
    variable="BITCOIND",
    product="bitcoind",
    fetch=_fetch,
    takes="10 seconds",
    needs="apt-get",
)


def bitcoind_binary() -> Path:
    """Return the bitcoind program: a launcher that becomes it, under the same process id."""
    return BITCOIND.obtain()
