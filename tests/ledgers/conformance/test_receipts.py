"""What every target's receipts owe their reader: form, size, and proof against the live ledger and without it."""

from dataclasses import replace

import pytest

from tests.ledgers.conformance.bench import Bench
from tests.ledgers.conformance.trial import Trial, claim_of
from vaultmesh.domain.checks import Standing, Trust
from vaultmesh.domain.receipts.receipt import parse_receipt, receipt_document
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.verification.offline import SCHEMES, verify_offline

LARGEST_EVIDENCE = 12_000
"""Bytes of a final receipt's evidence."""


@pytest.mark.parametrize("leaves", [1, 3])
async def test_a_final_receipt_is_proven_live_and_offline(
    bench: Bench, trial: Trial, leaves: int
) -> None:
    signed, view = await trial.final(leaves)
    receipt = await trial.receipt(signed, view)
    text = receipt_document(receipt)
    trial.texts.append(text)
    assert parse_receipt(text) == receipt
    assert receipt.is_final
    assert receipt.is_direct is (leaves == 1)
    evidence = receipt.model_dump_json(include={"evidence"})
    assert len(evidence.encode()) <= LARGEST_EVIDENCE
    checks = await trial.target.verify(claim_of(receipt))
    trial.texts.append(repr(checks))
    assert checks
    assert [one for one in checks if not one.passed] == []
    assert bench.SCHEME in SCHEMES
    assert verify_offline(receipt, Trust()).standing is Standing.CONSISTENT
    proven = verify_offline(receipt, bench.trust(receipt))
    assert proven.standing is Standing.PROVEN, proven
    assert receipt.root.receipt_form in proven.statement
    trial.texts.append(repr(proven))


async def test_a_forged_receipt_is_refuted_live_and_offline(bench: Bench, trial: Trial) -> None:
    signed, view = await trial.final()
    receipt = await trial.receipt(signed, view)
    other = await trial.receipt(*await trial.final())
    claim, trust = claim_of(receipt), bench.trust(receipt)
    assert receipt.tx_ref != other.tx_ref
    false_claims = [
        replace(claim, commitment=bytes(32)),
        replace(claim, tx_ref=other.tx_ref),
        replace(claim, evidence=other.scheme_evidence),
        replace(claim, block_number=claim.block_number + 1),
        replace(claim, evidence={}),
    ]
    for false in false_claims:
        checks = await trial.target.verify(false)
        trial.texts.append(repr(checks))
        assert [one for one in checks if not one.passed], false
    references = {"tx_ref": other.tx_ref, "tx_hash": other.tx_hash}
    for changes in ({"root": MerkleRoot(bytes(32))}, references, {"evidence": other.evidence}):
        forged = receipt.model_copy(update=changes)
        for given in (trust, Trust()):
            verdict = verify_offline(forged, given)
            assert verdict.standing is Standing.REFUTED, (changes, verdict)


async def test_trust_in_something_else_proves_nothing(bench: Bench, trial: Trial) -> None:
    receipt = await trial.receipt(*await trial.final())
    stranger = Trust(blocks=frozenset({"0x" + "11" * 32}), headers=frozenset({"11" * 32}))
    assert verify_offline(receipt, stranger).standing is Standing.CONSISTENT


async def test_a_young_receipt_fits_and_is_never_proven(bench: Bench, trial: Trial) -> None:
    signed = await trial.anchor()
    bench.advance()
    view = await trial.look(signed)
    receipt = await trial.receipt(signed, view)
    assert parse_receipt(receipt_document(receipt)) == receipt
    assert receipt.is_final is view.final
    standing = verify_offline(receipt, bench.trust(receipt)).standing
    assert standing is (Standing.CONSISTENT if bench.ADVANCES else Standing.PROVEN)
    checks = await trial.target.verify(claim_of(receipt))
    assert any(not one.passed for one in checks) is bench.ADVANCES
