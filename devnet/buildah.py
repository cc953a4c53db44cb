"""Obtains `buildah`, which builds container images without a daemon, from Debian's package."""

from functools import partial
from pathlib import Path

from devnet.installed import install
from devnet.supply import Supply

BUILDAH_VERSION = "debian"
"""An archive keeps one version per suite; any of them builds a Dockerfile."""

BUILDAH = Supply(
    name="buildah",
    version=BUILDAH_VERSION,
    variable="BUILDAH",
    product="buildah",
    fetch=partial(install, "buildah"),
    takes="15 seconds",
    needs="apt-get",
)


def buildah() -> Path:
    """Return the `buildah` program."""
    return BUILDAH.obtain()
