"""Fetches `promtool`, which judges metrics pages and alerts, out of Debian's package, which is not installed."""

import shutil
from collections.abc import Callable
from pathlib import Path

from devnet.errors import PartError
from devnet.supply import Supply, run_fetching

PROMTOOL_VERSION = "debian"
"""An archive keeps one version per suite; any of them reads the text format."""


def program_of(package: str, program: str, *, keep: str = "") -> Callable[[Path], None]:
    """Return what puts one program of a Debian package into a folder, without installing it; `keep` is a folder that comes along."""

    def fetch(folder: Path) -> None:
        try:
            run_fetching(["apt-get", "download", package], folder)
        except PartError:
            run_fetching(["apt-get", "update"], folder)
            run_fetching(["apt-get", "download", package], folder)
        (archive,) = folder.glob(f"{package}_*.deb")
        run_fetching(["dpkg-deb", "-x", str(archive), "content"], folder)
        (folder / "content" / "usr" / "bin" / program).rename(folder / program)
        if keep:
            place = folder / "content" / keep.lstrip("/")
            place.rename(folder / place.name)
        shutil.rmtree(folder / "content")
        archive.unlink()

    return fetch


PROMTOOL = Supply(
    name="promtool",
    version=PROMTOOL_VERSION,
    variable="PROMTOOL",
    product="promtool",
    fetch=program_of("prometheus", "promtool"),
    takes="10 seconds",
    needs="apt-get",
)


def promtool() -> Path:
    """Return the `promtool` program."""
    return PROMTOOL.obtain()
