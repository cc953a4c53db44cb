"""A token of a revoked certificate counts, or does not, by when and why it was revoked (T5; RFC 3161, section 4)."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import core, pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.ledgers.rfc3161.core.test_offline import COMMITMENT, REPLY, REQUEST, receipt_with
from tests.ledgers.rfc3161.core.test_offline import LEAF as SIGNER
from tests.ledgers.rfc3161.core.test_offline import ROOT as TRUSTED
from tests.simulators.certificates import with_other_parts
from tests.simulators.timestamps import (
    STAMPED_AT,
    Forgery,
    Holder,
    new_leaf,
    new_list,
    new_root,
)
from vaultmesh.domain.checks import Found, SchemeFindings, Trust
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.rfc3161.core.evidence import entry_of_list, text_of
from vaultmesh.ledgers.rfc3161.core.judge import TokenReport, judge
from vaultmesh.ledgers.rfc3161.core.offline import find
from vaultmesh.ledgers.rfc3161.core.trust import REVOCATION, read_pinned

ROOT = new_root()
MIDDLE = new_root("middle", ROOT)
LEAF = new_leaf(MIDDLE)
TOKEN = Forgery(LEAF, chain=(MIDDLE,)).reply(REQUEST)
BEFORE, AFTER = STAMPED_AT - timedelta(seconds=1), STAMPED_AT + timedelta(seconds=1)
WHY = x509.ReasonFlags
HARMLESS = [
    WHY.unspecified, WHY.affiliation_changed, WHY.superseded, WHY.cessation_of_operation,
]  # fmt: skip
List = x509.CertificateRevocationList


def judged(*lists: List, roots: tuple[Holder, ...] = (ROOT,)) -> TokenReport:
    pinned = replace(read_pinned(b"".join(one.pem for one in roots)), lists=lists)
    return judge(TOKEN, COMMITMENT.digest, pinned, request=REQUEST)


def said(report: TokenReport) -> str:
    (found,) = [one for one in report.findings if one.name == REVOCATION]
    assert report.sound is found.passed
    return found.detail


def test_without_a_list_nothing_is_said() -> None:
    report = judged()
    assert report.sound
    assert REVOCATION not in [one.name for one in report.findings]


def test_whoever_is_on_no_list_counts_and_the_lists_time_is_told() -> None:
    detail = said(judged(new_list(MIDDLE), new_list(ROOT)))
    assert detail == (
        "as of 2026-02-14T10:00:00Z by the list of CN=middle; "
        "as of 2026-02-14T10:00:00Z by the list of CN=root"
    )


@pytest.mark.parametrize("reason", HARMLESS)
def test_a_harmless_reason_keeps_what_was_stamped_before(reason: x509.ReasonFlags) -> None:
    kept = judged(new_list(MIDDLE, (LEAF, AFTER, reason)))
    assert kept.sound
    assert f"({reason.value}), after it stamped" in said(kept)
    lost = judged(new_list(MIDDLE, (LEAF, BEFORE, reason)))
    assert not lost.sound
    assert said(lost).endswith("before it stamped")
    assert not judged(new_list(MIDDLE, (LEAF, STAMPED_AT, reason))).sound


@pytest.mark.parametrize(
    "reason", [None, *(one for one in WHY if one not in (*HARMLESS, WHY.remove_from_crl))]
)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
def test_any_other_reason_or_none_takes_every_token(
    reason: x509.ReasonFlags | None, when: object
) -> None:
    assert isinstance(when, type(STAMPED_AT))
    lost = judged(new_list(MIDDLE, (LEAF, when, reason)))
    assert not lost.sound
    assert said(lost).endswith("none of its tokens counts")


def test_an_intermediate_that_was_revoked_counts_as_well() -> None:
    assert not judged(new_list(ROOT, (MIDDLE, AFTER, WHY.ca_compromise))).sound
    assert judged(new_list(ROOT, (MIDDLE, AFTER, WHY.superseded))).sound


def test_lists_of_others_do_nothing() -> None:
    impostor = new_root("middle", ROOT)  # the same name, another key
    for issuer in (impostor, new_root("stranger")):
        forged = new_list(issuer, (LEAF, BEFORE, WHY.key_compromise))
        report = judged(forged)
        assert report.sound
        assert REVOCATION not in [one.name for one in report.findings]
    other = new_list(MIDDLE, (new_leaf(MIDDLE), BEFORE, WHY.key_compromise))
    assert judged(other).sound


def test_an_older_list_counts_beside_a_newer_one() -> None:
    older = new_list(MIDDLE, (LEAF, BEFORE, WHY.key_compromise), issued=STAMPED_AT)
    assert not judged(new_list(MIDDLE), older).sound


def test_openssl_refuses_whom_the_list_names_and_takes_the_other(tmp_path: Path) -> None:
    for name, one, good in (
        ("named", new_list(TRUSTED, (SIGNER, BEFORE, WHY.key_compromise)), False),
        ("other", new_list(TRUSTED), True),
    ):
        (tmp_path / "pem").write_bytes(TRUSTED.pem + one.public_bytes(Encoding.PEM))
        (tmp_path / "r").write_bytes(REPLY)
        (tmp_path / "q").write_bytes(REQUEST)
        moment = str(int((STAMPED_AT + timedelta(days=31)).timestamp()))
        done = subprocess.run(
            ["openssl", "ts", "-verify", "-queryfile", "q", "-in", "r", "-CAfile", "pem",
             "-crl_check", "-attime", moment],
            cwd=tmp_path, capture_output=True, check=False, text=True,
        )  # fmt: skip
        pinned = read_pinned((tmp_path / "pem").read_bytes())
        ours = judge(REPLY, COMMITMENT.digest, pinned, request=REQUEST)
        assert (done.returncode == 0, ours.sound) == (good, good), (name, done.stderr)


# --- files and receipts ---------------------------------------------------------------------------


def test_roots_and_lists_are_read_from_one_file_in_any_order() -> None:
    lists = [new_list(ROOT), new_list(MIDDLE)]
    first, second = (one.public_bytes(Encoding.PEM) for one in lists)
    read = read_pinned(b"a note\n" + first + ROOT.pem + second + MIDDLE.pem)
    assert [one.der for one in read.roots] == [ROOT.der]
    assert [one.der for one in read.intermediates] == [MIDDLE.der]
    assert list(read.lists) == lists


@pytest.mark.parametrize(
    ("pem", "told"),
    [
        (b"", "no certificates"),
        (new_list(ROOT).public_bytes(Encoding.PEM), "no certificates"),
        (ROOT.pem.replace(b"MII", b"IIM", 1), "a certificate that can't be read"),
        (ROOT.pem.replace(b"MII", b"MI", 1), "a certificate that can't be read"),
        (ROOT.pem + ROOT.pem[: len(ROOT.pem) // 2], "it has no end"),
        (ROOT.pem[: len(ROOT.pem) // 2] + ROOT.pem, "it has no end"),
        (
            ROOT.pem + b"-----BEGIN X509 CRL-----\nbm9uZQ==\n-----END X509 CRL-----\n",
            "revocation list that can't be read",
        ),
    ],
)
def test_a_file_that_can_not_be_used_says_why(pem: bytes, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        read_pinned(pem)


def offline(*carried: object, trusted: bytes = TRUSTED.pem) -> SchemeFindings:
    receipt = receipt_with(revocation=list(carried))
    return find(receipt, COMMITMENT, Trust(authorities=(trusted,)))


def wrong(findings: SchemeFindings) -> list[str]:
    return [one.name for one in findings.checks if one.found is Found.WRONG]


def test_offline_a_list_counts_whether_it_is_carried_or_trusted() -> None:
    good, bad = new_list(TRUSTED), new_list(TRUSTED, (SIGNER, AFTER, WHY.key_compromise))
    assert wrong(offline(entry_of_list(good))) == []
    assert offline(entry_of_list(good)).trust == "trust in CN=first root"
    assert wrong(offline(entry_of_list(bad))) == [REVOCATION]
    assert wrong(offline(trusted=TRUSTED.pem + bad.public_bytes(Encoding.PEM))) == [REVOCATION]


def test_a_long_list_is_named_and_not_carried() -> None:
    many = [(new_leaf(TRUSTED), AFTER, WHY.superseded) for _ in range(150)]
    entry = entry_of_list(new_list(TRUSTED, *many))
    assert set(entry) == {"issuer", "thisUpdate", "sha256"}
    assert wrong(offline(entry)) == []


@pytest.mark.parametrize("key", ["issuer", "thisUpdate", "sha256", "list"])
def test_what_a_receipt_says_of_a_list_must_be_so(key: str) -> None:
    entry = entry_of_list(new_list(TRUSTED))
    assert wrong(offline(entry)) == []
    assert wrong(offline({**entry, key: "AAAA"})) == ["revocation lists"]
    for odd in ("text", None, 1, {"list": 1}, {**entry, "more": 1}):
        assert wrong(offline(odd)) == ["revocation lists"]


def odd_list(*entries: bytes, issuer: Holder = TRUSTED) -> bytes:
    """Return a list with entries that the library would not write, signed by its issuer."""
    plain = new_list(issuer, (SIGNER, AFTER, None)).public_bytes(Encoding.DER)
    body, algorithm, _ = (part.dump() for part in core.SequenceOf.load(plain, spec=core.Any))
    parts = [part.dump() for part in core.SequenceOf.load(body, spec=core.Any)]
    parts[5] = core.Sequence(contents=b"".join(entries)).dump()
    changed = core.Sequence(contents=b"".join(parts)).dump()
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = core.OctetBitString(issuer.key.sign(changed, ec.ECDSA(hashes.SHA256())))
    return bytes(core.Sequence(contents=changed + algorithm + signature.dump()).dump())


def entry(serial: int, extension: bytes = b"") -> bytes:
    """Return an entry of a list: a certificate revoked after it stamped."""
    extensions = core.Sequence(contents=core.Sequence(contents=extension).dump()).dump()
    moment = core.UTCTime(AFTER).dump()
    contents = core.Integer(serial).dump() + moment + (extensions if extension else b"")
    return bytes(core.Sequence(contents=contents).dump())


def test_a_reason_that_can_not_be_read_is_none_and_ends_nothing() -> None:
    unknown = bytes.fromhex("0603551d15") + bytes.fromhex("04030a010b")
    der = odd_list(entry(SIGNER.certificate.serial_number, unknown))
    known = x509.load_der_x509_crl(der)
    findings = offline(entry_of_list(known))
    assert wrong(findings) == [REVOCATION]
    assert "no reason given" in next(c.detail for c in findings.checks if c.name == REVOCATION)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_revoked_certificate_with_a_negative_number_counts_as_revoked() -> None:
    negative = with_other_parts(SIGNER, TRUSTED, serial_number=-5)
    reply = Forgery(negative).reply(REQUEST)
    for serial, sound in ((-5, False), (5, True), (251, True)):
        known = x509.load_der_x509_crl(odd_list(entry(serial)))
        pinned = replace(read_pinned(TRUSTED.pem), lists=[known])
        report = judge(reply, COMMITMENT.digest, pinned, request=REQUEST)
        assert report.sound is sound, report.problems


def test_a_list_whose_issuer_says_a_thing_twice_is_called_wrong_and_ends_nothing() -> None:
    der = new_list(TRUSTED).public_bytes(Encoding.DER)
    body, algorithm, signature = (part.dump() for part in core.SequenceOf.load(der, spec=core.Any))
    parts = [part.dump() for part in core.SequenceOf.load(body, spec=core.Any)]
    (name,) = (part.dump() for part in core.SequenceOf.load(parts[2], spec=core.Any))
    content = core.SetOf.load(name, spec=core.Any)[0].dump()
    parts[2] = core.Sequence(contents=core.Set(contents=content * 2).dump()).dump()
    changed = core.Sequence(contents=b"".join(parts)).dump()
    odd = core.Sequence(contents=changed + algorithm + signature).dump()
    said = {"issuer": "x", "thisUpdate": "x", "sha256": "x", "list": text_of(odd)}
    assert wrong(offline(said)) == ["revocation lists"]
    text = pem.armor("X509 CRL", odd)
    assert wrong(offline(trusted=TRUSTED.pem + text)) == ["trusted roots"]
