"""Adds `verify --offline`: receipts and proof files are verified without ledger, server or configuration.

Only files are read: those that are named, and for an event receipt, --batch and --event those below VMSH_ROOT.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from asn1crypto import core, pem  # type: ignore[import-untyped]
from pydantic import JsonValue

from vaultmesh.cli import output
from vaultmesh.cli.output import settings_with_root
from vaultmesh.domain.batches.batch import Batch, parse_batch
from vaultmesh.domain.batches.event_receipt import (
    EventReceipt,
    parse_event_receipt,
)
from vaultmesh.domain.checks import (
    Found,
    LedgerPart,
    Trust,
    Verdict,
    verdict_of,
    wrong,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.receipts.receipt import parse_receipt
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.process.settings import Settings
from vaultmesh.verification import links, verify
from vaultmesh.verification.event_proof import anchors_of, event_path
from vaultmesh.verification.live import Verifier
from vaultmesh.verification.offline import verify_event_offline, verify_offline
from vaultmesh.verification.proof_file import gathered, is_proof_file

MARKS: Mapping[Found, str] = {Found.HOLDS: "✓", Found.OPEN: "?", Found.WRONG: "✗"}
_BLOCK_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_HEADER_HASH = re.compile(r"[0-9a-fA-F]{64}")
_PEM = b"-----BEGIN CERTIFICATE-----"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `verify` takes for it."""
    parser.add_argument(
        "--offline",
        action="store_true",
        help="by what receipts and proof files carry and the stated trust alone; exit 0 only if that proves it",
    )
    parser.add_argument(
        "--trust-block",
        action="append",
        default=[],
        metavar="HASH",
        help="with --offline: an EVM block hash known to be final on its chain; may be repeated",
    )
    parser.add_argument(
        "--trust-header",
        action="append",
        default=[],
        metavar="HASH",
        help="with --offline: hash of a Bitcoin block known to be in the chain: the anchor's, or one of those on top "
        "that its receipt carries; may be repeated",
    )
    parser.add_argument(
        "--trust-roots",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="with --offline: PEM file with root certificates of time-stamp authorities, and with intermediates that "
        "tokens leave out; may be repeated",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="SCHEME=FILE",
        help="with --offline: what is trusted in a ledger of another scheme; may be repeated",
    )


def refuse_without_offline(arguments: argparse.Namespace) -> None:
    """Raise `Usage` where a trust is stated that would not be looked at."""
    for name in ("trust_block", "trust_header", "trust_roots", "trust"):
        if getattr(arguments, name):
            message = f"--{name.replace('_', '-')} goes with --offline"
            raise output.Usage(message)


def refuse_proof_files(paths: Iterable[Path]) -> None:
    """Raise `Usage` for a proof file: it is about no files here, and carries all that it can be checked by."""
    for path in paths:
        try:
            is_proof = is_proof_file(path.read_bytes())
        except OSError:
            continue  # what can't be read is a check that fails
        if is_proof:
            message = f"{path} is a proof file, not a receipt; verify it with --offline and what you trust"
            raise output.Usage(message)


def run_offline(arguments: argparse.Namespace) -> int:
    """Verify what is meant; 0 only if all of it is proven."""
    trust = _trust(arguments)
    verdicts = list(_verdicts(arguments, trust))
    if arguments.json:
        output.print_json(_document(verdicts))
    else:
        for name, verdict in verdicts:
            print(name)
            for check in verdict.checks:
                output.print_line(f"{MARKS[check.found]} {check.name}: {check.detail}")
            for part in verdict.ledgers if _is_of_an_event(verdict) else ():
                output.print_line(f"{part.network}: {part.summary}")
            proven = f"{verdict.standing}: " if verdict.proven else ""
            output.print_line(f"{proven}{verdict.statement}")
    return output.SUCCESS if all(verdict.proven for _, verdict in verdicts) else output.FAILURE


def _is_of_an_event(verdict: Verdict) -> bool:
    """Whether there is more to say than what the one ledger of a receipt proves."""
    return any(part.verdict.checks != verdict.checks for part in verdict.ledgers)


def _trust(arguments: argparse.Namespace) -> Trust:
    for text in arguments.trust_block:
        if not _BLOCK_HASH.fullmatch(text):
            message = f"--trust-block {text!r} is no block hash; write 0x and 64 hex digits"
            raise output.Usage(message)
    for text in arguments.trust_header:
        if not _HEADER_HASH.fullmatch(text):
            message = f"--trust-header {text!r} is no block hash; write 64 hex digits"
            raise output.Usage(message)
    return Trust(
        blocks=frozenset(text.lower() for text in arguments.trust_block),
        headers=frozenset(text.lower() for text in arguments.trust_header),
        authorities=tuple(_roots(path) for path in arguments.trust_roots),
        further=_further(arguments.trust),
    )


def _further(stated: Sequence[str]) -> dict[str, tuple[bytes, ...]]:
    trusted: dict[str, tuple[bytes, ...]] = {}
    for text in stated:
        scheme, is_stated, place = text.partition("=")
        if scheme not in SCHEMES or not is_stated:
            message = f"--trust {text!r} names no ledger; write SCHEME=FILE with one of {', '.join(sorted(SCHEMES))}"
            raise output.Usage(message)
        try:
            trusted[scheme] = (*trusted.get(scheme, ()), Path(place).read_bytes())
        except OSError as error:
            message = f"--trust {text}: {error.strerror or error}; name a file that can be read"
            raise output.Usage(message) from error
    return trusted


def _roots(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"--trust-roots {path}: {error.strerror or error}; name a file that can be read"
        raise output.Usage(message) from error
    if _PEM not in content:
        message = f"--trust-roots {path} holds no certificate; name a PEM file"
        raise output.Usage(message)
    try:
        for _, _, der in pem.unarmor(content, multiple=True):
            core.Sequence.load(der, strict=True)
    except ValueError as error:
        message = f"--trust-roots {path} holds a certificate that can't be read; name a PEM file"
        raise output.Usage(message) from error
    return content


# --- what is verified --------------------------------------------------------------------------


def _verdicts(arguments: argparse.Namespace, trust: Trust) -> Iterator[tuple[str, Verdict]]:
    if arguments.receipts:
        for path in arguments.receipts:
            yield str(path), _verdict(path, trust)
        return
    settings = settings_with_root()
    if arguments.event is not None:
        path = event_path(settings, arguments.event)
        yield str(path), _verdict(path, trust, event_id=arguments.event)
        return
    try:
        paths = Verifier(settings).receipts_of(arguments.batch, arguments.namespace or "")
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    if not paths:
        message = f"batch {arguments.batch} has no anchor receipt below {settings.root}"
        raise output.Refusal(message)
    batch = _batch(settings, arguments.batch)
    for path in paths:
        yield str(path), _verdict(path, trust, batch)


def _verdict(
    path: Path, trust: Trust, batch: Batch | None = None, event_id: str | None = None
) -> Verdict:
    try:
        content = path.read_bytes()
        if links.is_event_receipt(content):
            return _event_verdict(parse_event_receipt(content), trust, event_id)
        if batch is not None:
            return verify_offline(parse_receipt(content), trust, batch)
        return verify(content, trust)
    except OSError as error:
        return _unreadable(f"can't be read: {error.strerror or error}")
    except InvalidValue as error:
        return _unreadable(f"not what we write: {error}")


def _event_verdict(event: EventReceipt, trust: Trust, event_id: str | None) -> Verdict:
    settings = settings_with_root()
    batch_id, receipts = anchors_of(settings, event)
    batch = _batch(settings, batch_id) if batch_id else None
    return verify_event_offline(event, gathered(receipts), trust, batch=batch, event_id=event_id)


def _batch(settings: Settings, batch_id: str) -> Batch | None:
    """Return the batch's file if it is at hand: it says more than a receipt, which does without it."""
    place = settings.root / BATCHES_FOLDER / f"{batch_id}.json"
    if "/" in batch_id or not place.is_file():
        return None
    try:
        return parse_batch(place.read_bytes(), name=batch_id)
    except InvalidValue as error:
        message = f"{place}: {error}"
        raise InvalidValue(message) from error


def _unreadable(reason: str) -> Verdict:
    return verdict_of([wrong("file", reason)], "")


def _document(verdicts: list[tuple[str, Verdict]]) -> JsonValue:
    return {
        "verified": all(verdict.proven for _, verdict in verdicts),
        "receipts": [
            {
                "path": name,
                "passed": verdict.proven,
                "standing": verdict.standing.value,
                "proven": verdict.statement if verdict.proven else None,
                "statement": verdict.statement,
                "ledgers": [_ledger_document(part) for part in verdict.ledgers],
                "checks": _checks_document(verdict),
            }
            for name, verdict in verdicts
        ],
    }


def _ledger_document(part: LedgerPart) -> JsonValue:
    return {
        "network": part.network,
        "place": part.place,
        "when": part.when,
        "trust": part.trust,
        "standing": part.verdict.standing.value,
        "statement": part.summary,
        "caveat": part.verdict.caveat,
        "checks": _checks_document(part.verdict),
    }


def _checks_document(verdict: Verdict) -> JsonValue:
    return [
        {
            "name": check.name,
            "passed": check.found is Found.HOLDS,
            "found": check.found.value,
            "detail": check.detail,
        }
        for check in verdict.checks
    ]
