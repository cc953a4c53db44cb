"""Adds `proof`: one file that shows to anyone, without us, that an event is in the ledgers."""

import argparse
import sys
from pathlib import Path

from vaultmesh.cli import output
from vaultmesh.cli.output import settings_with_root
from vaultmesh.domain.checks import Trust, lacking
from vaultmesh.verification.event_proof import proof_of
from vaultmesh.verification.offline import verify_offline
from vaultmesh.verification.proof_file import ProofFile, proof_document


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `proof`."""
    parser = subparsers.add_parser(
        "proof",
        help="write one self-contained file from an event to every ledger that holds it",
        description="Write one self-contained file from an event to every ledger that holds it. "
        "Anyone can check it with verify --offline and a trust of their own.",
        epilog="example: python starter.py proof evt-0001 -o evt-0001.proof.json",
    )
    parser.add_argument("event", metavar="EVENT_ID", help="event id, as `seal` printed it")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="not to standard output")
    parser.set_defaults(run=run_proof)


def run_proof(arguments: argparse.Namespace) -> int:
    """Write the proof; refuse one that would not hold."""
    settings = settings_with_root()
    proof = proof_of(settings, arguments.event)
    _say_what_it_proves(proof)
    text = proof_document(proof)
    if arguments.output is None:
        sys.stdout.write(text + "\n")
        return output.SUCCESS
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{arguments.output} can't be written: {error.strerror or error}"
        raise output.Refusal(message) from error
    output.note(f"{arguments.output}: {', '.join(str(anchor.network) for anchor in proof.anchors)}")
    return output.SUCCESS


def _say_what_it_proves(proof: ProofFile) -> None:
    """Say of each ledger what its reader must trust, and where its part would prove nothing, whatever one trusts."""
    for anchor in proof.anchors:
        (part,) = verify_offline(anchor, Trust()).ledgers
        gaps = [check.detail for check in lacking(part.verdict.checks)]
        output.warn(f"{proof.event_id} is not proven in {part.network}: {gap}" for gap in gaps)
        if not gaps:
            caveat = f"; {part.verdict.caveat}" if part.verdict.caveat else ""
            output.note(f"{part.network}: by {part.when}, to whoever has {part.trust}{caveat}")
