"""Dispatches operator commands; each group of them is a module of `vaultmesh.cli`.

Usage: python starter.py COMMAND --help
"""

import gc
import signal

if __name__ == "__main__":
    gc.disable()  # while modules load, of which nothing goes away; `run_and_exit` enables it
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Loading takes seconds on a busy machine. Until it is done Ctrl-C ends the process as it ends any other program:
    # not with a traceback, and not swallowed by a module that was just being loaded.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from vaultmesh.cli import maintenance, output
from vaultmesh.domain.errors import DomainError
from vaultmesh.process.exiting import INTERRUPTED, run_and_exit

MAINTENANCE = "maintenance"


def build_parser(first: str = "") -> argparse.ArgumentParser:
    """Return the parser of every command; each sets `run`, which takes the arguments and returns the exit code.

    A container that runs `maintenance` every few minutes must be small and quick: then nothing else is loaded.
    """
    parser = argparse.ArgumentParser(
        prog="starter.py",
        description="Operate VaultMesh's scheduler. Exit codes: 0 success, 1 failure, 2 bad usage or configuration.",
        epilog="example: python starter.py status",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    if first != MAINTENANCE:
        _add_parsers(subparsers)
    maintenance.add_parser(subparsers)
    return parser


def _add_parsers(subparsers: output.Subparsers) -> None:
    """Add every command but `maintenance`; what they load takes seconds on a busy machine."""
    from vaultmesh.cli import (  # noqa: PLC0415 - see above
        audit,
        contract,
        demo,
        dev,
        diff,
        doctor,
        jobs,
        operate,
        proof,
        record_deploy,
        register,
        resolve,
        seal,
        status,
        verify,
    )

    modules = (dev, demo, register, status, diff, doctor, operate, seal, verify, proof, contract)
    for module in (*modules, resolve, jobs, audit, record_deploy):
        module.add_parser(subparsers)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what was asked for; files may also come after an option, which argparse itself takes for surplus."""
    parser = build_parser(arguments[0] if arguments else "")
    parsed, surplus = parser.parse_known_args(arguments)
    files: list[Path] | None = getattr(parsed, getattr(parsed, "many", ""), None)
    if surplus and (files is None or any(argument.startswith("-") for argument in surplus)):
        parser.error(f"unrecognized arguments: {' '.join(surplus)}")
    if files is not None:
        files.extend(Path(argument) for argument in surplus)
    return parsed


def main(arguments: Sequence[str]) -> int:
    """Run one command; what goes wrong is one clear line on standard error."""
    parsed = parse(arguments)
    try:
        return int(parsed.run(parsed))
    except DomainError as error:
        output.complain(error)
        return output.exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (
        OSError
    ) as error:  # a place that can't be used, a full disk: nothing that a traceback explains
        output.complain(error)
        return output.exit_code(error)


def show_everything() -> None:
    """Escape what can't be shown: a file's name need not be text, and a terminal may lack the marks of checks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    show_everything()
    run_and_exit(lambda: main(sys.argv[1:]))
