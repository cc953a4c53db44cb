"""The place where operator commands are dispatched; each group of them is a module of `vaultmesh.cli`.

Usage: python starter.py COMMAND --help
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from devnet.errors import PartError
from vaultmesh.cli import (
    contract,
    operating,
    output,
    proof,
    registering,
    sealing,
    status,
    verifying,
)
from vaultmesh.domain.errors import DomainError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; each sets `run`, which takes the arguments and returns the exit code."""
    from vaultmesh.cli import demo, dev  # noqa: PLC0415 - local parts are no concern of the others

    parser = argparse.ArgumentParser(
        prog="starter.py",
        description="Operate VaultMesh's scheduler. Exit codes: 0 success, 1 failure, 2 bad usage or configuration.",
        epilog="example: python starter.py status",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (dev, demo, registering, status, operating, sealing, verifying, proof, contract):
        module.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run one command; what goes wrong is one clear line on standard error."""
    parsed = build_parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except (DomainError, PartError) as error:
        output.complain(error)
        return output.exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def leave(code: int) -> NoReturn:
    """End the process at once: threads of Temporal's SDK may crash an interpreter that is being taken down."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
