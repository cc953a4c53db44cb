"""Tokens are written in many ways; how one is written refuses none that is good, and what is bad is called by its name."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from asn1crypto import algos, core, keys, parser
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.ledgers.rfc3161.core.second_judge import openssl_objects, openssl_verifies
from tests.second_verifier.der_trees import tree_of
from tests.simulators.certificates import (
    attribute_certificate,
    issuer_of,
    printable_name,
    rsa_key,
    signed_again,
    signer_of,
    with_other_parts,
)
from tests.simulators.timestamps import Forgery, Holder, new_key
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.rfc3161.core.certificates import read_certificate
from vaultmesh.ledgers.rfc3161.core.judge import TOKEN_FORM, TokenReport, judge
from vaultmesh.ledgers.rfc3161.core.token import build_request, read_reply
from vaultmesh.ledgers.rfc3161.core.trust import read_pinned

COMMITMENT = bytes(range(32))
REQUEST = build_request(COMMITMENT, 7)
ROOT = issuer_of("root")
SIGNER = signer_of(ROOT)
RSA_SIGNER = signer_of(ROOT, key=rsa_key())
ED25519_SIGNER = signer_of(ROOT, key=ed25519.Ed25519PrivateKey.generate())
GOOD = Forgery(SIGNER).reply(REQUEST)


def judged(reply: bytes, request: bytes | None = REQUEST, **how: Any) -> TokenReport:
    """Judge a reply to the request."""
    return judge(reply, COMMITMENT, read_pinned(ROOT.pem), request=request, **how)


def failed(report: TokenReport) -> dict[str, str]:
    """Return what does not hold: names and details."""
    assert not report.sound
    return {one.name: one.detail for one in report.findings if not one.passed}


@dataclass
class Case:
    """A good token that is written in an odd way."""

    forgery: Forgery
    request: bytes = REQUEST
    keeps_request: bool = True
    as_cms: bool = False
    """Whether openssl's `ts` can't judge it, but `cms` can."""
    allows_sha1: bool = False
    shows: bytes = field(default=b"")
    """Bytes that must be in the token, or the case is none."""


def _with_critical_false(made: Holder) -> Holder:
    """Return a certificate whose extensions write `critical FALSE` out."""
    body = made.certificate.tbs_certificate_bytes
    identifier = x509.SubjectKeyIdentifier.from_public_key(made.certificate.public_key())
    plain = core.Sequence(
        contents=core.ObjectIdentifier("2.5.29.14").dump()
        + core.OctetString(identifier.public_bytes()).dump()
    ).dump()
    assert body.count(plain) == 1
    return signed_again(made, ROOT, _grown(body, plain, b"\x01\x01\x00", 5))


def _grown(der: bytes, part: bytes, insertion: bytes, at: int) -> bytes:
    """Return DER with more bytes inside one part; every length around it is written anew."""
    kind, method, tag, _header, content, _ = parser.parse(der)
    if der == part:
        grown = content[:at] + insertion + content[at:]
    else:
        parts = []
        while content:
            size = sum(map(len, parser.parse(content)[3:6]))
            child, content = content[:size], content[size:]
            parts.append(_grown(child, part, insertion, at) if part in child else child)
        grown = b"".join(parts)
    return bytes(parser.emit(kind, method, tag, grown))


def _for_pss_alone(made: Holder, hashed: str = "sha256") -> Holder:
    """Return a certificate whose key is marked for RSASSA-PSS with one hash."""
    parameters = {
        "hash_algorithm": {"algorithm": hashed},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": hashed}},
        "salt_length": 32,
    }
    parsed = keys.PublicKeyInfo.load(_public_key(made))
    algorithm = {"algorithm": "rsassa_pss", "parameters": algos.RSASSAPSSParams(parameters)}
    marked = keys.PublicKeyInfo({"algorithm": algorithm, "public_key": parsed["public_key"]})
    return with_other_parts(made, ROOT, subject_public_key_info=marked)


def _public_key(made: Holder) -> bytes:
    public = made.certificate.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


CASES: dict[str, Callable[[], Case]] = {
    "ordering FALSE is written out": lambda: Case(
        Forgery(SIGNER, writes_ordering=True), shows=b"\x01\x01\x00\x02\x01\x07"
    ),
    "a negative nonce of somebody else's request": lambda: Case(
        Forgery(SIGNER), build_request(COMMITMENT, -(2**63))
    ),
    "a negative nonce, request lost": lambda: Case(
        Forgery(SIGNER), build_request(COMMITMENT, -5), keeps_request=False
    ),
    "unsigned attributes that are not sorted": lambda: Case(
        Forgery(SIGNER, unsigned=[("1.2.3.9", b"zz"), ("1.2.3.1", b"a")]), shows=b"zz"
    ),
    "an attribute certificate among the certificates": lambda: Case(
        Forgery(SIGNER, attribute_certificates=[attribute_certificate(ROOT)]), as_cms=True
    ),
    "an underscore in a PrintableString": lambda: Case(
        Forgery(with_other_parts(SIGNER, ROOT, subject=printable_name("TSA_2"))),
        shows=b"\x13\x05TSA_2",
    ),
    "critical FALSE is written out in a certificate": lambda: Case(
        Forgery(_with_critical_false(SIGNER)), shows=b"\x06\x03\x55\x1d\x0e\x01\x01\x00"
    ),
    "RSASSA-PSS": lambda: Case(Forgery(RSA_SIGNER, pads_pss=True), as_cms=True),
    "RSASSA-PSS with a short salt": lambda: Case(
        Forgery(RSA_SIGNER, pads_pss=True, salt=20), as_cms=True
    ),
    "RSASSA-PSS by a key that makes nothing else": lambda: Case(
        Forgery(_for_pss_alone(RSA_SIGNER), pads_pss=True), as_cms=True
    ),
    "the algorithm is named by the key alone": lambda: Case(
        Forgery(SIGNER, algorithm="1.2.840.10045.2.1")
    ),
    "issuer and serial number are stated": lambda: Case(
        Forgery(SIGNER, names_issuer=SIGNER.certificate)
    ),
    "ESSCertID without v2, which is allowed": lambda: Case(
        Forgery(SIGNER, names_by_sha1=True, names_issuer=SIGNER.certificate), allows_sha1=True
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_however_a_good_token_is_written_it_is_taken(case: str) -> None:
    good = CASES[case]()
    reply = good.forgery.reply(good.request)
    assert good.shows in reply
    kept = good.request if good.keeps_request else None
    report = judged(reply, kept, allows_sha1=good.allows_sha1)
    assert report.sound, report.problems
    assert openssl_objects(reply, good.request, [ROOT], as_cms=good.as_cms) == ""


# --- SHA-1 ----------------------------------------------------------------------------------------


def test_without_leave_sha1_binds_nothing_and_the_refusal_says_how_to_give_it() -> None:
    reply = Forgery(SIGNER, names_by_sha1=True).reply(REQUEST)
    refusal = failed(judged(reply))
    assert list(refusal) == ["certificate"]
    assert "SHA-1" in refusal["certificate"]
    assert "allowSha1CertId: true" in refusal["certificate"]
    allowed = judged(reply, allows_sha1=True)
    details = {one.name: one.detail for one in allowed.findings}
    assert details["certificate"] == "bound by sha1 alone, which allowSha1CertId allows"


def test_leave_for_sha1_is_leave_for_nothing_else() -> None:
    for forgery in (
        Forgery(SIGNER, names_by_sha1=True, names=ROOT),
        Forgery(SIGNER, names_by_sha1=True, names_issuer=RSA_SIGNER.certificate),
        Forgery(SIGNER, names_none=True),
    ):
        reply = forgery.reply(REQUEST)
        assert list(failed(judged(reply, allows_sha1=True))) == ["certificate"]
        assert openssl_objects(reply, REQUEST, [ROOT])
    stranger = Forgery(SIGNER, names_by_sha1=True, signs_with=new_key()).reply(REQUEST)
    assert list(failed(judged(stranger, allows_sha1=True))) == ["signature"]


def test_another_issuer_beside_the_right_hash_is_another_certificate() -> None:
    reply = Forgery(SIGNER, names_issuer=RSA_SIGNER.certificate).reply(REQUEST)
    assert failed(judged(reply)) == {"certificate": "bound by sha256, but to another one"}
    assert openssl_objects(reply, REQUEST, [ROOT])


# --- signatures -----------------------------------------------------------------------------------

UNSUPPORTED: dict[str, tuple[Callable[[], Forgery], str]] = {
    "an algorithm that nobody knows": (
        lambda: Forgery(SIGNER, algorithm="1.2.3.4.5"), "1.2.3.4.5 is not supported",
    ),
    "DSA": (lambda: Forgery(SIGNER, algorithm="sha256_dsa"), "dsa is not supported"),
    "ECDSA with SHA-1": (
        lambda: Forgery(SIGNER, algorithm="sha1_ecdsa"), "ecdsa with sha1 is not supported",
    ),
    "ECDSA with SHA-3": (
        lambda: Forgery(SIGNER, algorithm="sha3_256_ecdsa"), "sha3_256_ecdsa is not supported",
    ),
    "RSASSA-PSS with a mask by SHA-1": (
        lambda: Forgery(RSA_SIGNER, pads_pss=True, mask="sha1"),
        "rsassa_pss with a mask by sha1 is not supported",
    ),
    "RSASSA-PSS without parameters": (
        lambda: Forgery(RSA_SIGNER, algorithm="rsassa_pss"), "is not supported",
    ),
    "Ed448": (
        lambda: Forgery(SIGNER, algorithm="ed448"), "ed448 is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_a_signature_of_an_unsupported_kind_is_refused_as_that_and_nothing_else(case: str) -> None:
    forgery, says = UNSUPPORTED[case]
    refusal = failed(judged(forgery().reply(REQUEST)))
    assert list(refusal) == ["signature"]
    assert says in refusal["signature"]
    assert "not supported" in refusal["signature"]


def test_ed25519_is_taken_and_openssl_verifies_its_parts() -> None:
    """Version 3.0 of openssl knows Ed25519 neither in `ts` nor in `cms`: it judges signature and chain one by one."""
    reply = Forgery(ED25519_SIGNER).reply(REQUEST)
    report = judged(reply)
    assert report.sound, report.problems
    assert report.token is not None
    (signer,) = report.token.signers
    signature, signed = signer.signature, signer.signed_bytes
    assert openssl_verifies(ED25519_SIGNER, ROOT, signature, signed)
    assert not openssl_verifies(ED25519_SIGNER, ROOT, signature, signed + b"x")
    stranger = ed25519.Ed25519PrivateKey.generate()
    forged = Forgery(ED25519_SIGNER, signs_with=stranger).reply(REQUEST)
    assert list(failed(judged(forged))) == ["signature"]


WRONG_SIGNATURES: dict[str, tuple[Callable[[], Forgery], bool]] = {
    "another RSA key": (lambda: Forgery(RSA_SIGNER, pads_pss=True, signs_with=rsa_key()), True),
    "the other padding": (lambda: Forgery(_for_pss_alone(RSA_SIGNER)), False),
    "another hash than the key is marked for": (
        lambda: Forgery(_for_pss_alone(RSA_SIGNER, "sha512"), pads_pss=True), True,
    ),
    "an algorithm of another key": (
        lambda: Forgery(SIGNER, algorithm="sha256_rsa", signs_with=new_key()), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_SIGNATURES)
def test_a_wrong_signature_of_a_supported_kind_is_wrong(case: str) -> None:
    make, as_cms = WRONG_SIGNATURES[case]
    reply = make().reply(REQUEST)
    refusal = failed(judged(reply))
    assert list(refusal) == ["signature"]
    assert "not supported" not in refusal["signature"]
    assert openssl_objects(reply, REQUEST, [ROOT], as_cms=as_cms)


# --- what can't be read ---------------------------------------------------------------------------


def _reply_with(token: bytes) -> bytes:
    granted = bytes.fromhex("3003020100")
    return bytes(core.Sequence(contents=granted + token).dump())


INFO = read_reply(GOOD).token.content  # type: ignore[union-attr]
UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "HTML": b"<html></html>",
    "half a reply": GOOD[: len(GOOD) // 2],
    "a token that is rubbish": _reply_with(core.Sequence(contents=bytes(40)).dump()),
    "a token that is a certificate": _reply_with(ROOT.der),
    "a token of another kind": _reply_with(
        core.Sequence(contents=core.ObjectIdentifier("1.2.840.113549.1.7.1").dump()).dump()
    ),
    "a time that is none": GOOD.replace(b"20260115100000Z", b"20269915100000Z"),
    "contents that are no time-stamp info": GOOD.replace(INFO, b"\x31" + INFO[1:]),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_can_not_be_read_is_refused_for_its_form(case: str) -> None:
    report = judged(UNREADABLE[case])
    assert list(failed(report)) == [TOKEN_FORM] == ["token form"]
    assert report.token is None
    assert openssl_objects(UNREADABLE[case], REQUEST, [ROOT])


def test_a_foreign_certificate_that_can_not_be_read_refuses_no_token() -> None:
    odd = replace(ROOT)
    broken = with_other_parts(odd, ROOT, serial_number=77)
    reply = Forgery(SIGNER, chain=[broken]).reply(REQUEST)
    place = reply.index(broken.der)
    bad = broken.der.replace(b"\x55\x1d\x0e", b"\x55\x1d\x23")  # one extension stands there twice
    assert bad != broken.der
    changed = reply[:place] + bad + reply[place + len(bad) :]
    report = judged(changed)
    assert report.sound, report.problems


def test_a_key_of_an_unknown_kind_is_told() -> None:
    odd = signer_of(ROOT, key=ed448.Ed448PrivateKey.generate())  # type: ignore[arg-type]
    reply = Forgery(odd, signs_with=new_key()).reply(REQUEST)
    assert failed(judged(reply)) == {"signature": "ecdsa does not go with the certificate's key"}


def test_a_key_on_a_curve_without_a_name_is_not_read() -> None:
    """The library knows some curves by their numbers; RFC 5480 wants names, and no other verifier need know the numbers."""
    named = core.ObjectIdentifier("1.2.840.10045.3.1.7").dump()
    algorithm = core.Sequence(
        contents=core.ObjectIdentifier("1.2.840.10045.2.1").dump() + named
    ).dump()
    body = SIGNER.certificate.tbs_certificate_bytes
    assert body.count(algorithm) == 1
    without = _grown(body, algorithm, core.Null().dump(), len(algorithm) - 2 - len(named))
    made = signed_again(SIGNER, ROOT, without)
    report = judged(Forgery(made, signs_with=SIGNER.key).reply(REQUEST))
    assert "not named" in failed(report)["certificate"]


def test_texts_of_a_refusal_that_nobody_knows_are_told_all_the_same() -> None:
    """Bit 8 has no name, and what a reply says was put together from names."""
    odd = core.Sequence(
        contents=core.Sequence(contents=bytes.fromhex("020102" + "0303000080")).dump()
    ).dump()
    assert failed(judged(odd))["status"] == "rejected (8)"


def test_a_certificate_whose_length_ends_like_an_open_one_keeps_its_bytes() -> None:
    """The parser takes `30 82 xx 80` for a value without a length, and wrote it anew without what it thought needless."""
    for extra in (*range(256),) * 20:  # signatures differ in length: one sweep may miss it
        further = [
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(extra)), False)
        ]
        odd = _with_critical_false(signer_of(ROOT, further=further))
        if odd.der[3] == 0x80:
            break
    assert odd.der[3] == 0x80
    reply = tree_of(Forgery(odd, carries_leaf=False).reply(REQUEST))
    signed = reply.children[1].children[1].children[0]
    signed.children[3].children = [tree_of(odd.der)]
    report = judged(reply.der())
    assert report.sound, report.problems
    assert report.token is not None
    assert report.token.certificates == (odd.der,)


@pytest.mark.parametrize("further", [b"\x05\x00", b"\x23\x80\x03\x01\x01\x00\x00"])
def test_what_stands_behind_an_accuracy_says_nothing(further: bytes) -> None:
    plain = Forgery(SIGNER).reply(REQUEST)
    info = read_reply(plain).token.content  # type: ignore[union-attr]
    accuracy = bytes.fromhex("3003020101")
    assert info.count(accuracy) == 1
    changed = _grown(plain, accuracy, further, 3)
    report = judged(changed)
    assert report.token is not None
    assert report.token.accuracy is not None
    assert "token form" not in failed(report)


@pytest.mark.parametrize(
    "content", [b"\x30\x00", b"\x30\x02\x30\x00", b"\x00\x00", b"\x30\x80\x00\x00"]
)
def test_an_empty_certificate_is_told_as_unreadable(content: bytes) -> None:
    with pytest.raises(InvalidValue, match="can't be read"):
        read_certificate(content)


def test_a_certificate_whose_key_is_empty_is_told_as_unreadable() -> None:
    made = tree_of(SIGNER.der)
    key = made.children[0].children[6]
    key.children = []
    with pytest.raises(InvalidValue, match="can't be read"):
        read_certificate(made.der())
