"""Prints for commands: data on standard output, everything else on standard error.

Colours and progress are for terminals only; a failure is one clear line, or one for each problem of a file.
"""

import argparse
import getpass
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import TypeAlias

from pydantic import JsonValue
from rich.console import Console

from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import CONFIG_FOLDER
from vaultmesh.process.config_files import stand_in
from vaultmesh.process.logs import without_secrets
from vaultmesh.process.places import in_words, is_misnamed, why_no_folder
from vaultmesh.process.settings import Settings

SUCCESS, FAILURE, BAD_USAGE = 0, 1, 2
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
"""What a command adds its parser to; argparse has no public name for it."""
_PLAIN_WIDTH = 240
"""Columns of a table that goes to a file or another program: nothing is folded."""


class Usage(DomainError):
    """What was asked for means nothing here."""


class Refusal(DomainError):
    """What was asked for can't be done as things are."""


def exit_code(error: Exception) -> int:
    """Return 2 for bad usage or configuration, a root that can't be used among them; 1 for everything else."""
    bad_root = isinstance(error, NetworkFailure) and is_misnamed(error.__cause__)
    bad_usage = bad_root or isinstance(error, Usage | ConfigurationError)
    return BAD_USAGE if bad_usage or is_misnamed(error) else FAILURE


def complain(problem: object) -> None:
    """Say what went wrong, on standard error."""
    if isinstance(problem, OSError):
        problem = in_words(problem)
    print(f"starter.py: {without_secrets(str(problem))}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Say what is being done, on standard error."""
    print(without_secrets(text), file=sys.stderr, flush=True)


def warn(lines: Iterable[str]) -> None:
    """Say what deserves a look, on standard error."""
    for line in lines:
        print(f"warning: {without_secrets(line)}", file=sys.stderr, flush=True)


def print_line(text: str) -> None:
    """Print one line whose words may be a file's own: none of them begins another line, or moves the cursor."""
    print(visible(text.replace("\n", "\N{REPLACEMENT CHARACTER}")), flush=True)


def visible(text: str) -> str:
    """Return a foreign text without what moves a terminal's cursor or colours it; its lines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(document: JsonValue) -> None:
    """Print data for a program."""
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


def console(*, stderr: bool = False) -> Console:
    """Return where tables and progress go; without a terminal there are no colours and no folding.

    Names hold colons, so nothing is taken for an emoji.
    """
    attached = Console(stderr=stderr, highlight=False, emoji=False)
    return (
        attached
        if attached.is_terminal
        else Console(stderr=stderr, highlight=False, emoji=False, width=_PLAIN_WIDTH)
    )


def who() -> str:
    """Return `user@host` of whoever runs this command; a container's user often has a number alone."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def operator() -> str:
    """Return whoever runs this command, as the audit names them."""
    return f"operator {who()}"


def settings_with_root() -> Settings:
    """Return the settings of a command; a mistyped root would look like one where nothing has happened yet.

    Raises:
        ConfigurationError: a variable has a bad value.
        Usage: the root is no folder.
    """
    settings = Settings.from_environment(os.environ)
    if reason := why_no_folder(settings.root):
        message = f"VMSH_ROOT: {settings.root} {reason} - name the right one, or make it"
        raise Usage(message)
    return settings


def tell_stand_in(settings: Settings) -> None:
    """Say which namespaces.yaml is used where the root has none: nobody would look for it in the repository."""
    if (path := stand_in(settings)) is not None:
        note(f"{settings.root / CONFIG_FOLDER} has no namespaces.yaml: {path} is used")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number between two."""

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else -1
        if not least <= number <= most:
            message = f"{text[:40]!r} is no whole number from {least} to {most}"
            raise argparse.ArgumentTypeError(message)
        return number

    return read
