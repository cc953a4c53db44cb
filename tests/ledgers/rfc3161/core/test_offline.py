"""A stamped receipt is proven by its own bytes and a root that the user names, and by nothing less."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.simulators.certificates import issuer_of, signer_of
from tests.simulators.timestamps import STAMPED_AT, Forgery, Holder, new_leaf, new_root
from vaultmesh.domain.checks import Found, SchemeFindings, Standing, Trust, standing_of
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    Finality,
    ReceiptFinality,
    ReceiptMetadata,
    Status,
)
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.rfc3161.core.evidence import text_of
from vaultmesh.ledgers.rfc3161.core.judge import tolerance
from vaultmesh.ledgers.rfc3161.core.offline import find
from vaultmesh.ledgers.rfc3161.core.token import build_request
from vaultmesh.verification.offline import verify_offline

ROOT, OTHER = new_root("first root"), new_root("second root")
COMMITMENT = MerkleRoot(bytes(range(32)))
REQUEST = build_request(COMMITMENT.digest, 7)
LEAF = new_leaf(ROOT)
ROUND = round_id(Target("rfc3161", "tsa"), COMMITMENT.digest)
LATER = STAMPED_AT + timedelta(seconds=2, milliseconds=500)
REPLY = Forgery(LEAF).reply(REQUEST)


def receipt_with(moment: datetime = STAMPED_AT, **evidence: Any) -> AnchorReceipt:
    """Return a receipt with the good token, unless something else is said."""
    carried: dict[str, Any] = {
        "token": text_of(REPLY),
        "tokens": [],
        "request": text_of(REQUEST),
        "certificates": [text_of(LEAF.der), text_of(ROOT.der)],
        **evidence,
    }
    return AnchorReceipt(
        root=COMMITMENT,
        chain="TSA",
        network=Target("rfc3161", "tsa"),
        tx_scheme="tsa",
        tx_ref="serial:abc",
        block_number=0,
        anchor_ts=moment,
        observed_at=datetime.now(UTC),
        status=Status.VERIFIED,
        finality=ReceiptFinality(observed_depth=0, required_depth=0, state=Finality.FINALIZED),
        verifier="test/1",
        evidence={"aggregation": None, "rfc3161": carried},
        metadata=ReceiptMetadata(
            namespace="dao:test", batch_id="1", cadence="cold", slot="s", round=ROUND, revision=1
        ),
    )


def found(receipt: AnchorReceipt, *trusted: Holder) -> SchemeFindings:
    """Return the findings under trust in roots."""
    return find(receipt, COMMITMENT, Trust(authorities=tuple(one.pem for one in trusted)))


def named(findings: SchemeFindings, what: Found) -> list[str]:
    """Return the names of the checks that came to something."""
    return [one.name for one in findings.checks if one.found is what]


def test_a_named_root_proves_the_time_and_says_whose_clock() -> None:
    findings = found(receipt_with(), OTHER, ROOT)
    assert standing_of(findings.checks) is Standing.PROVEN
    assert findings.when == "2026-01-15T10:00:00Z ± 1 s (clock of CN=authority)"
    assert findings.trust == "trust in CN=first root"


def test_times_and_how_far_they_may_be_off_are_written_as_everywhere_else() -> None:
    told = {one.name: one.detail for one in found(receipt_with(LATER), ROOT).checks}
    assert told["accuracy"] == "± 1 s"
    assert told["timestamp"] == "stamped 2026-01-15T10:00:00Z, claimed 2026-01-15T10:00:02.5Z"


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (timedelta(seconds=60), "± 60 s"),
        (timedelta(milliseconds=500), "± 0.5 s"),
        (timedelta(microseconds=1), "± 0.000001 s"),
        (timedelta(days=100), "± 8640000 s"),
        (timedelta(0), "± 0 s"),
    ],
)
def test_a_tolerance_is_told_in_seconds(accuracy: timedelta, words: str) -> None:
    assert tolerance(accuracy) == words


@pytest.mark.parametrize("trusted", [(), (OTHER,)])
def test_without_the_right_root_it_is_consistent_but_not_proven(
    trusted: tuple[Holder, ...],
) -> None:
    findings = found(receipt_with(), *trusted)
    assert standing_of(findings.checks) is Standing.CONSISTENT
    assert named(findings, Found.OPEN) == ["trusted root"]


def test_a_receipt_that_carries_no_root_still_proves_with_one() -> None:
    bare = receipt_with(certificates=[])
    assert standing_of(found(bare, ROOT).checks) is Standing.PROVEN
    assert named(found(bare), Found.OPEN) == ["chain", "trusted root"]


def test_a_forged_root_of_the_same_name_proves_nothing() -> None:
    forged = new_root("first root")
    leaf = new_leaf(forged)
    token = text_of(Forgery(leaf).reply(REQUEST))
    receipt = receipt_with(token=token, certificates=[text_of(leaf.der), text_of(forged.der)])
    assert standing_of(found(receipt, ROOT).checks) is Standing.CONSISTENT


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"token": None}, "token"),
    "no base64": ({"token": "%"}, "token"),
    "another request": ({"request": text_of(build_request(COMMITMENT.digest, 8))}, "nonce"),
    "no request": ({"request": "%"}, "request"),
    "signature": ({"token": text_of(Forgery(LEAF, signs_with=OTHER.key).reply(REQUEST))}, "signature"),
    "serial": ({"token": text_of(Forgery(LEAF, serial=5).reply(REQUEST))}, "serial number"),
    "time": ({"token": text_of(Forgery(LEAF, gen_time=LATER).reply(REQUEST))}, "timestamp"),
    "authority": ({"authority": "CN=another"}, "description"),
    "policy": ({"policyOID": "1.2.3"}, "description"),
    "imprint rule": ({"imprint": "sha1"}, "description"),
    "foreign certificate": ({"certificates": [text_of(LEAF.der), text_of(OTHER.der), text_of(ROOT.der)]}, "description"),
    "broken root": ({"certificates": [text_of(LEAF.der), text_of(ROOT.der[:-1])]}, "description"),
    "broken certificate": ({"certificates": [text_of(LEAF.der[:-1]), text_of(ROOT.der)]}, "description"),
    "further": ({"tokens": [{"token": "AAAA"}]}, "further tokens"),
    "further nothing": ({"tokens": [7]}, "further tokens"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_evidence_that_is_wrong_is_refuted_whoever_is_trusted(case: str) -> None:
    evidence, name = WRONG[case]
    for trusted in ((ROOT,), ()):
        findings = found(receipt_with(**evidence), *trusted)
        assert standing_of(findings.checks) is Standing.REFUTED
        assert name in named(findings, Found.WRONG)


def test_a_further_token_of_another_authority_proves_when_only_its_root_is_trusted() -> None:
    leaf = new_leaf(OTHER, name="second authority")
    other = Forgery(leaf, gen_time=LATER, serial=5).reply(REQUEST)
    entry = {"token": text_of(other), "certificates": [text_of(OTHER.der)]}
    findings = found(receipt_with(tokens=[entry]), OTHER)
    assert standing_of(findings.checks) is Standing.PROVEN
    assert findings.when == "2026-01-15T10:00:02.5Z ± 1 s (clock of CN=second authority)"
    assert findings.place == "serial:5 of CN=second authority"
    both = found(receipt_with(tokens=[entry]), ROOT, OTHER)
    assert both.when.startswith("2026-01-15T10:00:00Z")
    assert both.trust == "trust in CN=first root and CN=second root"


MIDDLE = issuer_of("middle", ROOT)
BELOW = signer_of(MIDDLE)
ALONE = Forgery(BELOW).reply(REQUEST)


def signer_only(*certificates: Holder) -> AnchorReceipt:
    """Return a receipt whose token carries its signer's certificate only."""
    return receipt_with(
        token=text_of(ALONE), certificates=[text_of(one.der) for one in certificates]
    )


def test_a_token_with_its_signers_certificate_only_is_proven_by_the_receipts_chain() -> None:
    receipt = signer_only(BELOW, MIDDLE, ROOT)
    assert standing_of(found(receipt, ROOT).checks) is Standing.PROVEN
    assert named(found(receipt), Found.OPEN) == ["trusted root"]
    assert named(found(receipt, OTHER), Found.OPEN) == ["trusted root"]


def test_a_token_with_its_signers_certificate_only_is_proven_by_the_users_intermediate() -> None:
    bare = signer_only()
    assert standing_of(found(bare, MIDDLE, ROOT).checks) is Standing.PROVEN
    both = Trust(authorities=(MIDDLE.pem + ROOT.pem,))
    assert standing_of(find(bare, COMMITMENT, both).checks) is Standing.PROVEN
    rootless = found(bare, MIDDLE)
    assert named(rootless, Found.OPEN) == ["chain", "trusted root"]
    assert "name the root, too" in rootless.checks[-1].detail
    without = found(bare, ROOT)
    assert named(without, Found.OPEN) == ["chain", "trusted root"]
    detail = next(one.detail for one in without.checks if one.name == "chain")
    assert "no certificate of CN=middle is at hand" in detail


def test_a_carried_intermediate_is_trusted_by_nobody() -> None:
    forged = issuer_of("middle", OTHER)
    leaf = signer_of(forged)
    token = text_of(Forgery(leaf).reply(REQUEST))
    carried = [text_of(one.der) for one in (leaf, forged, OTHER)]
    receipt = receipt_with(token=token, certificates=carried)
    assert standing_of(found(receipt, ROOT).checks) is Standing.CONSISTENT
    assert standing_of(found(receipt, OTHER).checks) is Standing.PROVEN


def test_a_chain_with_a_certificate_that_leads_nowhere_is_called_wrong() -> None:
    stray = issuer_of("stray", ROOT)
    receipt = signer_only(BELOW, MIDDLE, stray, ROOT)
    assert named(found(receipt, ROOT), Found.WRONG) == ["description"]


def by_sha1(**evidence: Any) -> AnchorReceipt:
    """Return a receipt whose token binds its certificate by SHA-1 alone."""
    token = text_of(Forgery(LEAF, names_by_sha1=True).reply(REQUEST))
    return receipt_with(token=token, **evidence)


def test_sha1_is_named_beside_the_trust() -> None:
    findings = found(by_sha1(allowSha1CertId=True), ROOT)
    assert standing_of(findings.checks) is Standing.PROVEN
    assert findings.trust == "trust in CN=first root"
    assert findings.caveat == "SHA-1 alone binds the signer's certificate (allowSha1CertId)"
    assert found(receipt_with(allowSha1CertId=True), ROOT).caveat == ""


def test_the_verdict_says_that_sha1_alone_binds_the_certificate() -> None:
    trust = Trust(authorities=(ROOT.pem,))
    verdict = verify_offline(by_sha1(allowSha1CertId=True), trust)
    assert verdict.proven
    assert verdict.statement.endswith(
        "under trust in CN=first root; SHA-1 alone binds the signer's certificate (allowSha1CertId)"
    )


@pytest.mark.parametrize("trusted", [(ROOT,), ()])
def test_what_the_authority_proves_is_told_with_its_weakness_whoever_is_trusted(
    trusted: tuple[Holder, ...],
) -> None:
    receipt = by_sha1(allowSha1CertId=True, certificates=[text_of(ROOT.der)])
    trust = Trust(authorities=tuple(root.pem for root in trusted))
    (part,) = verify_offline(receipt, trust).ledgers
    assert part.verdict.proven is bool(trusted)
    own_words = "" if trusted else "what calls itself "
    assert part.trust == f"trust in {own_words}CN=first root"
    assert part.when
    assert "SHA-1 alone binds" in part.verdict.caveat
    assert "SHA-1 alone binds" in part.summary
    assert f"under {part.trust}" in part.summary


@pytest.mark.parametrize("leave", [{}, {"allowSha1CertId": False}, {"allowSha1CertId": "yes"}])
def test_sha1_without_recorded_leave_is_refuted(leave: dict[str, Any]) -> None:
    assert named(found(by_sha1(**leave), ROOT), Found.WRONG) == ["certificate"]


def test_what_is_no_pem_is_told_as_such() -> None:
    findings = find(receipt_with(), COMMITMENT, Trust(authorities=(b"no pem",)))
    assert named(findings, Found.WRONG) == ["trusted roots"]


def test_very_many_certificates_or_tokens_do_not_keep_a_verifier_busy_for_hours() -> None:
    many = [text_of(ROOT.der)] * 300
    for crowd in ({"certificates": many}, {"tokens": [{"token": text_of(REPLY)}] * 65}):
        findings = find(receipt_with(**crowd), COMMITMENT, Trust(authorities=(ROOT.pem,)))
        assert [check.name for check in findings.checks if check.found is Found.WRONG] == [
            "evidence"
        ]
