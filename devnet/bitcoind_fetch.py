"""Fetches bitcoind from Debian's archive and unpacks it beside its own libraries; nothing is installed.

1. Debian's stable releases have no bitcoind, so the package is that of the suite `SUITE`, built against a newer C
   library than the host's. It runs with that library and its loader, which lie beside it.
2. Which library packages are needed is asked of the archive; which libraries, of the loader.
"""

import re
import shutil
from pathlib import Path

from devnet.debian import ask, debian_suite
from devnet.errors import PartError
from devnet.supply import Supply

SUITE = "forky"
PACKAGE = "bitcoin-knots"
_LOADERS = "ld-linux*.so.*"
_LIBRARY = re.compile(r"\s*(?P<name>\S+)(?: => (?P<path>\S+))? \(0x[0-9a-f]+\)")
_LAUNCHER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/lib/{loader}" --argv0 bitcoind --library-path "$here/lib" "$here/libexec/bitcoind" "$@"
"""


def _fetch(folder: Path) -> None:
    with debian_suite(SUITE, folder) as (suite, tree):
        suite.unpack([PACKAGE, *suite.libraries_of(PACKAGE)], tree)
        _assemble(tree, folder)


def _assemble(tree: Path, folder: Path) -> None:
    """Copy the program, the loader and the libraries that the loader names; none may be the host's."""
    program = tree / "usr" / "bin" / "bitcoind"
    loader = next((one for one in tree.rglob(_LOADERS) if not one.is_symlink()), None)
    if loader is None or not program.exists():
        message = f"{PACKAGE} holds no bitcoind, or its C library no loader"
        raise PartError(message)
    folders = ":".join(sorted({str(one.parent) for one in tree.rglob("*.so*")}))
    told = ask([str(loader), "--library-path", folders, "--list", str(program)])
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
