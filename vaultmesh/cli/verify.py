"""Adds `verify`: receipts, batches and events are checked from the files up to the live ledger."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from vaultmesh.cli import output, temporal, verify_offline
from vaultmesh.cli.output import settings_with_root
from vaultmesh.cli.progress import Counter
from vaultmesh.domain.checks import Check
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.process.settings import Settings
from vaultmesh.verification.batch_levels import BatchLevels, batch_levels
from vaultmesh.verification.event_proof import event_path
from vaultmesh.verification.live import CheckedFile, Verifier


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="check receipts, a batch or an event against files and ledgers",
        description="Check receipts, a batch or an event from the files up to the live ledger, a line per check. "
        "Exit 0 only if every check passed.",
        epilog="example: python starter.py verify --batch 1761300000",
    )
    parser.add_argument(
        "receipts",
        nargs="*",
        type=Path,
        metavar="RECEIPT",
        help="anchor or event receipts; with --offline proof files too",
    )
    parser.add_argument("--batch", metavar="ID", help="every anchor receipt of this batch")
    parser.add_argument("--namespace", metavar="N", help="with --batch: only this namespace's")
    parser.add_argument("--event", metavar="ID", help="this event, its batch and its anchors")
    verify_offline.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_verify, many="receipts")


def run_verify(arguments: argparse.Namespace) -> int:
    """Check, and say what came of it; 0 only if every check passed."""
    chosen = [bool(arguments.receipts), arguments.batch is not None, arguments.event is not None]
    if sum(chosen) != 1:
        message = "name receipts, or --batch, or --event: one of them"
        raise output.Usage(message)
    if "" in (arguments.batch, arguments.event):
        message = "--batch and --event need an id"
        raise output.Usage(message)
    if arguments.namespace and arguments.batch is None:
        message = "--namespace goes with --batch"
        raise output.Usage(message)
    if arguments.offline:
        return verify_offline.run_offline(arguments)
    verify_offline.refuse_without_offline(arguments)
    verify_offline.refuse_proof_files(arguments.receipts)
    settings = settings_with_root()
    files = temporal.run(_verify(settings, arguments))
    batch, namespace = arguments.batch, arguments.namespace or ""
    levels = batch_levels(settings, batch, files, namespace) if batch is not None else None
    if arguments.json:
        output.print_json(_document(files, levels))
    else:
        _print(files, levels)
    return output.SUCCESS if all(checked.verdict.proven for checked in files) else output.FAILURE


async def checks_of(receipt_path: Path, settings: Settings) -> list[Check]:
    """Check one receipt, an anchor's or an event's; every failure is a check that did not pass."""
    verifier = Verifier(settings)
    try:
        return list((await verifier.checked(receipt_path)).verdict.checks)
    finally:
        await verifier.close()


async def _verify(settings: Settings, arguments: argparse.Namespace) -> list[CheckedFile]:
    verifier = Verifier(settings)
    try:
        paths = _paths(verifier, settings, arguments)
        files = []
        with Counter("receipts verified", len(paths)) as counter:
            for path in paths:
                files.append(await verifier.checked(path))
                counter.advance()
        return files
    finally:
        await verifier.close()


def _paths(verifier: Verifier, settings: Settings, arguments: argparse.Namespace) -> list[Path]:
    """Return the receipts that are meant.

    Raises:
        Refusal: there is none.
    """
    if arguments.event is not None:
        return [event_path(settings, arguments.event)]
    if arguments.batch is None:
        return list(arguments.receipts)
    try:
        receipts = verifier.receipts_of(arguments.batch, arguments.namespace or "")
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    if not receipts:
        whose = f" of namespace {arguments.namespace}" if arguments.namespace else ""
        message = f"batch {arguments.batch} has no anchor receipt{whose} below {settings.root}"
        raise output.Refusal(message)
    return receipts


def _print(files: Sequence[CheckedFile], levels: BatchLevels | None) -> None:
    for file in files:
        print(file.path)
        verdict = file.verdict
        for check in verdict.checks:
            output.print_line(f"{'✓' if check.passed else '✗'} {check.name}: {check.detail}")
        failed = sum(not check.passed for check in verdict.checks)
        output.print_line(
            verdict.statement if verdict.proven else f"not verified: {failed} checks failed"
        )
    for line in levels.lines() if levels is not None else ():
        print(line, flush=True)


def _document(files: Sequence[CheckedFile], levels: BatchLevels | None) -> JsonValue:
    """Return what `--json` prints; `levels` is there with `--batch` only."""
    return {
        "verified": all(checked.verdict.proven for checked in files),
        "receipts": [
            {
                "path": checked.path,
                "passed": checked.verdict.proven,
                "proven": checked.verdict.statement if checked.verdict.proven else None,
                "checks": [
                    {"name": check.name, "passed": check.passed, "detail": check.detail}
                    for check in checked.verdict.checks
                ],
            }
            for checked in files
        ],
        **({"levels": levels.document()} if levels is not None else {}),
    }
