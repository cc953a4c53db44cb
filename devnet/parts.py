"""Lists all programs of local parts; `python -m devnet.parts fetch` gets them beforehand.

A new part is one file of its own and one line here.
"""

import argparse
import sys

from devnet.anvil import ANVIL
from devnet.bitcoind_fetch import BITCOIND
from devnet.chromium import CHROMIUM
from devnet.errors import PartError
from devnet.promtool import PROMTOOL
from devnet.solc import SOLC
from devnet.supply import Supply
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
        CHROMIUM,
    )
}


def main(arguments: list[str] | None = None) -> int:
    """Print where programs of local parts are, and fetch what is missing."""
    parser = argparse.ArgumentParser(prog="python -m devnet.parts", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="fetch the programs that are not there yet")
    fetch.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(SUPPLIES)}")
    wanted = parser.parse_args(arguments).names or list(SUPPLIES)
    unknown = sorted(set(wanted) - SUPPLIES.keys())
    if unknown:
        parser.error(f"unknown part {', '.join(unknown)}; known are {', '.join(SUPPLIES)}")
    failed = False
    for name in wanted:
        try:
            print(f"{name}\t{SUPPLIES[name].obtain()}", flush=True)
        except PartError as error:
            print(error, file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
