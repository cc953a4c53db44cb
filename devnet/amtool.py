"""Fetches `amtool`, which judges Alertmanager's configuration, out of Debian's package, which is not installed."""

from pathlib import Path

from devnet.promtool import PROMTOOL_VERSION, program_of
from devnet.supply import Supply

AMTOOL = Supply(
    name="amtool",
    version=PROMTOOL_VERSION,
    variable="AMTOOL",
    product="amtool",
    fetch=program_of("prometheus-alertmanager", "amtool"),
    takes="10 seconds",
    needs="apt-get",
)


def amtool() -> Path:
    """Return the `amtool` program."""
    return AMTOOL.obtain()
