"""Obtains Chromium, in which the verifier's page is tested, from Debian's package."""

from functools import partial
from pathlib import Path

from devnet.installed import install
from devnet.supply import Supply

CHROMIUM_VERSION = "debian"
"""An archive keeps one version per suite; any of them opens the page."""
CHROMIUM = Supply(
    name="chromium",
    version=CHROMIUM_VERSION,
    variable="CHROMIUM",
    product="chromium",
    fetch=partial(install, "chromium"),
    takes="a minute",
    needs="apt-get",
)


def chromium() -> Path:
    """Return the `chromium` program."""
    return CHROMIUM.obtain()
