"""A time stamp is taken when everything about it is right, and refused for each thing that can be wrong."""

import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledgers.rfc3161.core.second_judge import openssl_objects
from tests.simulators.timestamps import (
    POLICY,
    STAMPED_AT,
    Forgery,
    Holder,
    key_usage,
    new_key,
    new_leaf,
    new_root,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.rfc3161.core.judge import TokenReport, Window, judge
from vaultmesh.ledgers.rfc3161.core.token import build_request, read_reply, read_request
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, read_pinned

COMMITMENT = bytes(range(32))
NONCE = 0x1234_5678_9ABC_DEF0
REQUEST = build_request(COMMITMENT, NONCE)
ROOT = new_root()
LEAF = new_leaf(ROOT)
GOOD = Forgery(LEAF).reply(REQUEST)


def judged(reply: bytes | Forgery, roots: Sequence[Holder] = (ROOT,), **given: Any) -> TokenReport:
    """Judge a reply to the request; what is taken, openssl has to take too."""
    request = given.pop("request", REQUEST)
    by_cms = given.pop("by_cms", False)
    content = reply if isinstance(reply, bytes) else reply.reply(request)
    pinned = read_pinned(b"".join(one.pem for one in roots)) if roots else Pinned()
    report = judge(content, COMMITMENT, pinned, request=request, **given)
    if report.sound:
        assert openssl_objects(content, request, roots, as_cms=by_cms) == ""
    return report


def failed(report: TokenReport) -> list[str]:
    """Return the names of the rules that do not hold."""
    assert not report.sound
    return [one.name for one in report.findings if not one.passed]


def test_a_request_asks_for_the_imprint_of_the_commitment_and_for_certificates() -> None:
    read = read_request(build_request(COMMITMENT, NONCE, POLICY))
    assert (read.imprint_algorithm, read.imprint) == ("sha256", sha256(COMMITMENT).digest())
    assert (read.nonce, read.policy, read.wants_certificates) == (NONCE, POLICY, True)


def test_the_imprint_is_the_one_that_the_original_stored() -> None:
    root = bytes.fromhex("50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e")
    assert read_request(build_request(root, 1)).imprint.hex() == sha256(root).hexdigest()


def test_openssl_reads_our_request(tmp_path: Path) -> None:
    file = tmp_path / "query.tsq"
    file.write_bytes(build_request(COMMITMENT, NONCE, POLICY))
    shown = subprocess.run(
        ["openssl", "ts", "-query", "-in", str(file), "-text"],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    assert "Hash Algorithm: sha256" in shown
    assert f"Policy OID: {POLICY}" in shown
    assert f"Nonce: 0x{NONCE:X}" in shown
    assert "Certificate required: yes" in shown


def test_a_good_reply_is_sound_and_tells_who_stamped_when() -> None:
    report = judged(GOOD)
    assert report.sound, report.problems
    assert report.token is not None
    assert (report.token.tx_ref, report.token.gen_time) == ("serial:abc", STAMPED_AT)
    assert (report.authority, report.root) == ("CN=authority", ROOT.der)


def test_an_rsa_authority_is_taken_with_either_padding() -> None:
    leaf = new_leaf(ROOT, kind="rsa")
    report = judged(Forgery(leaf))
    assert report.sound, report.problems
    report = judged(Forgery(leaf, pads_pss=True), by_cms=True)
    assert report.sound, report.problems


def test_a_chain_with_an_intermediate_in_any_order_is_taken() -> None:
    intermediate = new_root("intermediate", ROOT)
    leaf = new_leaf(intermediate)
    report = judged(Forgery(leaf, chain=[intermediate, ROOT]))
    assert report.sound, report.problems
    assert failed(judged(Forgery(leaf))) == ["chain"]


def test_the_root_that_vouches_is_told_among_several() -> None:
    assert judged(GOOD, [new_root("other"), ROOT]).root == ROOT.der


def test_granted_with_modifications_is_taken_and_told() -> None:
    report = judged(Forgery(LEAF, status=1))
    assert report.sound, report.problems
    assert report.findings[0].detail == "granted with modifications"


@pytest.mark.parametrize("status", [2, 3, 4, 5, 77])
def test_any_other_status_is_refused(status: int) -> None:
    assert failed(judged(Forgery(LEAF, status=status))) == ["status", "token"]


WRONG: dict[str, tuple[Forgery, list[str]]] = {
    "nonce": (Forgery(LEAF, nonce=NONCE + 1), ["nonce"]),
    "no nonce": (Forgery(LEAF, leaves_nonce_out=True), ["nonce"]),
    "imprint": (Forgery(LEAF, imprint=sha256(b"other").digest()), ["imprint", "chain"]),
    "imprint algorithm": (Forgery(LEAF, imprint_algorithm="sha3_256"), ["imprint"]),
    "version": (Forgery(LEAF, version=2), ["version"]),
    "serial": (Forgery(LEAF, serial=-1), ["serial"]),
    "long serial": (Forgery(LEAF, serial=2**160), ["serial"]),
    "accuracy": (Forgery(LEAF, accuracy={"seconds": 61}), ["accuracy"]),
    "content type": (Forgery(LEAF, content_type="data"), ["signed attributes"]),
    "digest": (Forgery(LEAF, message_digest=bytes(32)), ["signed attributes", "chain"]),
    "bound to another": (Forgery(LEAF, names=ROOT), ["certificate"]),
    "bound to none": (Forgery(LEAF, names_none=True), ["certificate"]),
    "bound by SHA-1": (Forgery(LEAF, names_by_sha1=True), ["certificate"]),
    "two signatures": (Forgery(LEAF, signers=2), ["signer", "chain"]),
    "no signature": (Forgery(LEAF, signers=0), ["signer", "chain"]),
    "no certificate": (Forgery(LEAF, carries_leaf=False), ["certificate", "chain"]),
    "wrong signature": (Forgery(LEAF, signs_with=new_key()), ["signature", "chain"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_reply_that_is_wrong_in_one_thing_is_refused_for_it(case: str) -> None:
    forgery, rules = WRONG[case]
    assert set(failed(judged(forgery))) >= set(rules[:1])
    assert set(failed(judged(forgery))) <= set(rules)


def test_a_valid_chain_beside_another_signers_signature_is_refused() -> None:
    """The shape of CVE-2025-52556: the good chain is only carried along."""
    stranger = new_leaf(new_root("stranger"))
    forged = Forgery(LEAF, chain=[ROOT, stranger], signs_with=stranger.key)
    assert "signature" in failed(judged(forged))
    bound = replace(forged, leaf=stranger, chain=[LEAF, ROOT], signs_with=None)
    assert failed(judged(bound)) == ["chain"]


def test_the_policy_that_was_asked_for_is_required() -> None:
    asked = build_request(COMMITMENT, NONCE, POLICY)
    assert judged(Forgery(LEAF), request=asked).sound
    assert failed(judged(Forgery(LEAF, policy="1.2.3.4.9"), request=asked)) == ["policy"]


def test_a_request_that_was_not_kept_still_leaves_everything_but_the_nonce() -> None:
    pinned = read_pinned(ROOT.pem)
    assert judge(GOOD, COMMITMENT, pinned, request=None).sound
    assert failed(judge(GOOD, COMMITMENT, pinned, request=None, policy="1.2.3")) == ["policy"]
    assert failed(judge(GOOD, bytes(32), pinned, request=None)) == ["imprint"]


def test_a_request_for_another_commitment_is_refused() -> None:
    other = build_request(bytes(32), NONCE)
    reply = Forgery(LEAF).reply(other)
    assert failed(judged(reply, request=other)) == ["imprint"]


@pytest.mark.parametrize("seconds", [-70, 70])
def test_a_time_outside_the_window_is_refused(seconds: int) -> None:
    moment = STAMPED_AT + timedelta(seconds=seconds)
    window = Window(moment, moment + timedelta(seconds=1))
    assert failed(judged(GOOD, window=window)) == ["time"]
    near = STAMPED_AT + timedelta(seconds=seconds / 2)
    assert judged(GOOD, window=Window(near, near)).sound


def test_a_leaf_that_expired_after_stamping_is_no_objection_but_before_it_is() -> None:
    after = new_leaf(ROOT, ends=STAMPED_AT + timedelta(seconds=1))
    assert judged(Forgery(after)).sound
    before = new_leaf(ROOT, ends=STAMPED_AT - timedelta(seconds=1))
    assert failed(judged(Forgery(before))) == ["chain"]


PURPOSES: dict[str, dict[str, Any]] = {
    "missing": {"purposes": None},
    "not critical": {"critical": False},
    "another": {"purposes": [ExtendedKeyUsageOID.CODE_SIGNING]},
    "one more": {"purposes": [ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING]},
}


@pytest.mark.parametrize("case", PURPOSES)
def test_a_certificate_that_is_not_for_time_stamps_alone_is_refused(case: str) -> None:
    leaf = new_leaf(ROOT, **PURPOSES[case])
    assert "purpose" in failed(judged(Forgery(leaf)))


def test_a_certificate_that_may_certify_is_refused() -> None:
    leaf = new_leaf(ROOT, usage=key_usage(signs=True, certifies=True))
    assert "key usage" in failed(judged(Forgery(leaf)))
    leaf = new_leaf(ROOT, usage=key_usage(signs=False, certifies=True))
    assert "key usage" in failed(judged(Forgery(leaf)))


def test_no_pinned_root_or_another_one_is_refused() -> None:
    assert failed(judged(GOOD, [])) == ["chain"]
    assert failed(judged(GOOD, [new_root("other")])) == ["chain"]
    assert failed(judged(GOOD, [new_root("root")])) == ["chain"]


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\x30\x00", b"\x30\x82\xff\xff", b"\x30\x80" * 50_000, GOOD[:-1], GOOD + b"\0"])  # fmt: skip
def test_what_is_no_reply_is_refused(content: bytes) -> None:
    assert failed(judged(content)) == ["token form"]


def test_a_reply_that_is_too_large_is_not_read() -> None:
    with pytest.raises(InvalidValue, match="1048576"):
        read_reply(bytes((1 << 20) + 1))


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 7))
def test_no_flipped_bit_gives_another_meaning(position: int, bit: int) -> None:
    """A bit may flip where nothing is signed (the certificates' own copy of the root, say), never in what counts."""
    changed = bytearray(GOOD)
    changed[position] ^= 1 << bit
    report = judge(bytes(changed), COMMITMENT, read_pinned(ROOT.pem), request=REQUEST)
    if report.sound:
        good = judged(GOOD)
        assert report.token is not None
        assert good.token is not None
        assert report.token.content == good.token.content


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_bytes_come_reading_ends_in_a_report(content: bytes) -> None:
    assert not judged(content).sound


def test_openssl_agrees_about_a_forged_good_reply(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    request = build_request(COMMITMENT, secrets.randbits(64))
    (tmp_path / "q").write_bytes(request)
    (tmp_path / "r").write_bytes(Forgery(LEAF).reply(request))
    files = ["-queryfile", "q", "-in", "r", "-CAfile", "root.pem"]
    moment = ["-attime", str(int(STAMPED_AT.timestamp()))]
    done = subprocess.run(
        ["openssl", "ts", "-verify", *files, *moment],
        cwd=tmp_path, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_rubbish_is_refused_without_repeating_the_numbers_in_it() -> None:
    with pytest.raises(InvalidValue, match="not a time-stamp reply") as told:
        read_reply(b"\x30\x88" + b"\xf3" * 8 + bytes(3000))
    assert not any(len(word) > 20 and word.isdigit() for word in str(told.value).split())
    with pytest.raises(InvalidValue, match="not a time-stamp reply") as told:
        read_reply(b"\x30\xff" + b"\xf3" * 300)
    assert not any(len(word) > 20 and word.isdigit() for word in str(told.value).split())
