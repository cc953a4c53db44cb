"""Lists all programs of local parts; `python -m devnet.parts fetch` gets them beforehand.

A new part is one file of its own and one line here.
"""

import argparse
import sys

from devnet.amtool import AMTOOL
from devnet.anvil import ANVIL
from devnet.bitcoind_fetch import BITCOIND
from devnet.buildah import BUILDAH
from devnet.chromium import CHROMIUM
from devnet.errors import PartError
from devnet.image_base import IMAGE_BASE, IMAGE_PACKAGES
from devnet.kubectl import KUBECTL
from devnet.postgres import PGBOUNCER, POSTGRES
from devnet.postgres_newest import POSTGRES_NEWEST
from devnet.prometheus import ALERTMANAGER, PROMETHEUS
from devnet.promtool import PROMTOOL
from devnet.solc import SOLC
from devnet.supply import Supply, obtain_all
from devnet.tctl import TCTL
from devnet.temporal import TEMPORAL
from devnet.test_server import TEST_SERVER
from devnet.timestamp_server import TIMESTAMP_SERVER

SUPPLIES: dict[str, Supply] = {
    supply.name: supply
    for supply in (
        ANVIL,
        BITCOIND,
        TEMPORAL,
        TEST_SERVER,
        TCTL,
        TIMESTAMP_SERVER,
        SOLC,
        PROMTOOL,
        AMTOOL,
        PROMETHEUS,
        ALERTMANAGER,
        CHROMIUM,
        POSTGRES,
        POSTGRES_NEWEST,
        PGBOUNCER,
        KUBECTL,
        BUILDAH,
        IMAGE_BASE,
        IMAGE_PACKAGES,
    )
}


def main(arguments: list[str] | None = None) -> int:
    """Print where programs of local parts are, and fetch what is missing, side by side."""
    parser = argparse.ArgumentParser(prog="python -m devnet.parts", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="fetch the programs that are not there yet")
    fetch.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(SUPPLIES)}")
    wanted = parser.parse_args(arguments).names or list(SUPPLIES)
    unknown = sorted(set(wanted) - SUPPLIES.keys())
    if unknown:
        parser.error(f"unknown part {', '.join(unknown)}; known are {', '.join(SUPPLIES)}")
    failed = False
    for supply, obtained in obtain_all(SUPPLIES[name] for name in wanted):
        if isinstance(obtained, PartError):
            print(obtained, file=sys.stderr, flush=True)
            failed = True
        else:
            print(f"{supply.name}\t{obtained}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
