"""Adds `doctor`: examines everything that the service rests on, a line for each thing, with what to do about it."""

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

from pydantic import JsonValue

from vaultmesh.cli import output
from vaultmesh.domain.diagnosis import Condition, Diagnosis, mended, wrong
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process.places import in_words
from vaultmesh.process.settings import Settings

PARTS = ("temporal", "configuration", "targets", "storage", "jobs")
PART_SECONDS = 24.0
"""No part is waited for longer: with the start of the program an answer is there within half a minute."""
_MARKS = {Condition.OK: "ok     ", Condition.WARNING: "warning", Condition.WRONG: "WRONG  "}
_STYLES = {Condition.OK: "green", Condition.WARNING: "yellow", Condition.WRONG: "bold red"}


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="examine Temporal, endpoints, keys, balances, storage and databases",
        description="Examine everything that the service rests on, a line for each thing, with what to do about it. Nothing is "
        "signed or paid; each time-stamp authority is asked for one time stamp of a random hash. Exit code 0 if nothing is wrong "
        "(warnings are allowed), 1 if something is, so that an init container or CI can wait for it.",
        epilog="example: python starter.py doctor --only targets --json",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        metavar="PART",
        help=f"examine this alone; may be repeated: {', '.join(PARTS)}",
    )
    parser.add_argument("--strict", action="store_true", help="warnings make exit code 1 as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Examine, and print; 1 if anything is wrong."""
    try:
        settings = Settings.from_environment(os.environ)
    except ConfigurationError as error:
        if not arguments.json:
            raise
        _print_json(
            [mended("environment", "settings", each, "correct it") for each in error.problems]
        )
        return output.BAD_USAGE
    lines = _run(examine(settings, arguments.only or PARTS))
    if arguments.json:
        _print_json(lines)
    else:
        _print(lines)
    grave = {Condition.WRONG} | ({Condition.WARNING} if arguments.strict else set())
    return output.FAILURE if any(line.condition in grave for line in lines) else output.SUCCESS


def _run(work: Coroutine[Any, Any, list[Diagnosis]]) -> list[Diagnosis]:
    """Run to the end; threads that a storage keeps are not waited for, since the process ends without them."""
    return asyncio.new_event_loop().run_until_complete(work)


async def examine(settings: Settings, parts: Sequence[str]) -> list[Diagnosis]:
    """Return what was met; parts are examined side by side, and none hides another."""
    from vaultmesh.cli import doctor_parts  # noqa: PLC0415 - loads client libraries and SQLAlchemy

    looks: dict[str, Coroutine[Any, Any, list[Diagnosis]]] = {
        part: doctor_parts.LOOKS[part](settings) for part in PARTS if part in parts
    }
    lines = await asyncio.gather(*(_within(part, look) for part, look in looks.items()))
    return [line for of_part in lines for line in of_part]


async def _within(part: str, look: Coroutine[Any, Any, list[Diagnosis]]) -> list[Diagnosis]:
    try:
        async with asyncio.timeout(PART_SECONDS):
            return await look
    except TimeoutError:
        mend = "look which of its endpoints hangs, or a volume"
        return [wrong(part, "answers", f"not examined within {PART_SECONDS:g} s", mend)]
    except OSError as error:
        return [mended(part, "files", in_words(error), "check the storage")]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one part, the others have their lines
        mend = "look at that place; if it is as it should be, report this line"
        return [wrong(part, "examined", f"{type(error).__name__}: {error}", mend)]


def _document(line: Diagnosis) -> JsonValue:
    return {
        "part": line.part,
        "check": line.check,
        "condition": line.condition.value,
        "detail": line.detail,
        "mend": line.mend,
    }


def _print_json(lines: Sequence[Diagnosis]) -> None:
    output.print_json({"checks": [_document(line) for line in lines]})


def _print(lines: Sequence[Diagnosis]) -> None:
    console = output.console()
    for line in lines:
        mark = _MARKS[line.condition]
        mend = f" - {line.mend}" if line.mend else ""
        text = output.visible(f"{line.part}: {line.check}: {line.detail}{mend}".replace("\n", " "))
        console.print(mark, style=_STYLES[line.condition], end=" ")
        console.print(text, markup=False, soft_wrap=True)
    counts = Counter(line.condition for line in lines)
    said = ", ".join(
        f"{counts[condition]} {condition.value}" for condition in Condition if counts[condition]
    )
    console.print(said or "nothing was examined", markup=False)
