"""Certificates and revocation lists that an auditor adds: none of them makes a good proof wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from tests.verifier_page.opened import AUTHORITY, ROOT, Opened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NOW = datetime(2026, 11, 28, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "some root", _ASN1Type.PrintableString)])


def _certificate() -> x509.Certificate:
    builder = x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, NOW, NOW + timedelta(1))
    return builder.sign(KEY, hashes.SHA256())


def _list() -> bytes:
    builder = x509.CertificateRevocationListBuilder(NAME, NOW, NOW + timedelta(1))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def _add(opened: Opened, file: Path, content: bytes) -> str:
    """Add a file, and return what is listed of it."""
    file.write_bytes(content)
    before = opened.page.locator(".authority").count()
    opened.choose(file)
    listed = opened.page.locator(".authority").nth(before)
    listed.wait_for()
    return listed.inner_text()


def test_a_revocation_list_alone_does_not_make_a_proof_wrong(
    opened: Opened, tmp_path: Path
) -> None:
    opened.load()
    assert "Revocation list\nCN=some root" in _add(opened, tmp_path / "some.crl", _list())
    assert opened.word() == "Consistent, not proven"
    opened.trust_root()
    opened.card(AUTHORITY).get_by_text("Confirmed by you").wait_for()
    assert opened.word() == "Proven"


def test_a_certificate_that_is_written_oddly_is_left_to_the_verifier(
    opened: Opened, tmp_path: Path
) -> None:
    opened.load()
    odd = _certificate().public_bytes(Encoding.DER).replace(b"some root", b"some_root")
    assert "name this page can’t show" in _add(opened, tmp_path / "odd.cer", odd)
    assert opened.word() == "Consistent, not proven"


def test_a_wrong_certificate_is_refused_and_those_before_it_stay(
    opened: Opened, tmp_path: Path
) -> None:
    opened.load()
    opened.choose(ROOT)
    opened.card(AUTHORITY).get_by_text("Confirmed by you").wait_for()
    broken = ROOT.read_bytes().replace(b"MII", b"MIJ", 1)
    (tmp_path / "broken.pem").write_bytes(broken)
    opened.choose(tmp_path / "broken.pem")
    assert "can’t be read" in opened.problem()
    assert opened.word() == "Proven"
