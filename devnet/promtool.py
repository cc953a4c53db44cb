"""Fetches `promtool`, which judges metrics pages, out of Debian's package, which is not installed."""

import shutil
from pathlib import Path

from devnet.errors import PartError
from devnet.supply import Supply, run_fetching

PROMTOOL_VERSION = "debian"
"""An archive keeps one version per suite; any of them reads the text format."""


def _fetch(folder: Path) -> None:
    try:
        run_fetching(["apt-get", "download", "prometheus"], folder)
    except PartError:
        run_fetching(["apt-get", "update"], folder)
        run_fetching(["apt-get", "download", "prometheus"], folder)
    (package,) = folder.glob("prometheus_*.deb")
    run_fetching(["dpkg-deb", "-x", str(package), "content"], folder)
    (folder / "content" / "usr" / "bin" / "promtool").rename(folder / "promtool")
    shutil.rmtree(folder / "content")
    package.unlink()


PROMTOOL = Supply(
    name="promtool",
    version=PROMTOOL_VERSION,
    variable="PROMTOOL",
    product="promtool",
    fetch=_fetch,
    takes="10 seconds",
    needs="apt-get",
)


def promtool() -> Path:
    """Return the `promtool` program."""
    return PROMTOOL.obtain()
