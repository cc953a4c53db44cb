"""Forges time stamps: every part of a reply can be right or wrong at will."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from typing import Any

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

POLICY = "1.3.6.1.4.1.13762.3.7"
STAMPED_AT = datetime(2026, 1, 15, 10, 0, 0, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_YEAR = timedelta(days=365)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def new_key(kind: str = "ec") -> Key:
    """Return a fresh key."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Holder:
    """A key and its certificate."""

    key: Key
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)


def _builder(subject: str, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
    )


def new_root(
    name: str = "root",
    issuer: Holder | None = None,
    *,
    ends: datetime = STAMPED_AT + 20 * _YEAR,
) -> Holder:
    """Return a certificate authority: a root, or one below another."""
    key = new_key()
    signer = issuer.key if issuer else key
    builder = (
        _builder(name, issuer.certificate.subject if issuer else _name(name), key)
        .not_valid_before(STAMPED_AT - 2 * _YEAR)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs=False, certifies=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Holder(key, builder.sign(signer, hashes.SHA256()))


def new_leaf(
    root: Holder,
    *,
    purposes: Sequence[ObjectIdentifier] | None = (ExtendedKeyUsageOID.TIME_STAMPING,),
    critical: bool = True,
    usage: x509.KeyUsage | None = None,
    ends: datetime = STAMPED_AT + _YEAR,
    kind: str = "ec",
    name: str = "authority",
) -> Holder:
    """Return an authority below a root; `purposes=None` leaves the extended key usage out."""
    key = new_key(kind)
    builder = (
        _builder(name, root.certificate.subject, key)
        .not_valid_before(STAMPED_AT - _YEAR)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage or _usage(signs=True, certifies=False), critical=True)
    )
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=critical)
    return Holder(key, builder.sign(root.key, hashes.SHA256()))


def new_list(
    issuer: Holder,
    *revoked: tuple[Holder, datetime, x509.ReasonFlags | None],
    issued: datetime = STAMPED_AT + timedelta(days=30),
) -> x509.CertificateRevocationList:
    """Return an issuer's revocation list: whom, since when, and why (None: no reason is given)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(issued)
        .next_update(issued + timedelta(days=30))
    )
    for holder, when, reason in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(holder.certificate.serial_number)
            .revocation_date(when)
        )
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    edwards = isinstance(issuer.key, ed25519.Ed25519PrivateKey)
    return builder.sign(issuer.key, None if edwards else hashes.SHA256())


def key_usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    """Return a key usage."""
    return _usage(signs=signs, certifies=certifies)


@dataclass
class Forgery:
    """How a reply is made; everything is right unless it is said otherwise."""

    leaf: Holder
    chain: Sequence[Holder] = ()
    gen_time: datetime = STAMPED_AT
    status: int = 0
    version: int = 1
    serial: int = 0xABC
    policy: str | None = None
    nonce: int | None = None
    """Instead of the request's."""
    leaves_nonce_out: bool = False
    imprint: bytes | None = None
    imprint_algorithm: str = "sha256"
    accuracy: dict[str, int] | None = field(default_factory=lambda: {"seconds": 1})
    content_type: str = "tst_info"
    message_digest: bytes | None = None
    names: Holder | None = None
    """Whose certificate ESSCertID names instead of the leaf's."""
    names_none: bool = False
    names_by_sha1: bool = False
    signs_with: Key | None = None
    """Instead of the leaf's key."""
    signers: int = 1
    carries_leaf: bool = True
    pads_pss: bool = False
    salt: int = 32
    mask: str = "sha256"
    """Hash under the mask of RSASSA-PSS."""
    algorithm: str = ""
    """OID or name that is written for the signature's algorithm instead of the right one."""
    names_issuer: x509.Certificate | None = None
    """Whose issuer and serial number ESSCertID states; nobody's if it is left out."""
    writes_ordering: bool = False
    """Whether `ordering` is written although it is FALSE, which is its default."""
    unsigned: Sequence[tuple[str, bytes]] = ()
    """Unsigned attributes in the order in which they are written: OID and octets."""
    attribute_certificates: Sequence[bytes] = ()

    def reply(self, request: bytes) -> bytes:
        """Return a whole TimeStampResp."""
        asked = tsp.TimeStampReq.load(request)
        status = tsp.PKIStatusInfo({"status": self.status})
        body: bytes = status.dump()
        if self.status < 2:
            body += self._token(asked)
        return bytes(core.Sequence(contents=body).dump())

    def _info(self, asked: Any) -> bytes:
        nonce = asked["nonce"].native if self.nonce is None else self.nonce
        wanted = asked["req_policy"].native
        fields: dict[str, Any] = {
            "version": self.version,
            "policy": self.policy or wanted or POLICY,
            "message_imprint": {
                "hash_algorithm": {"algorithm": self.imprint_algorithm},
                "hashed_message": self.imprint or asked["message_imprint"]["hashed_message"].native,
            },
            "serial_number": self.serial,
            "gen_time": self.gen_time,
        }
        if self.accuracy:
            fields["accuracy"] = self.accuracy
        if not self.leaves_nonce_out:
            fields["nonce"] = nonce
        info = bytes(tsp.TSTInfo(fields).dump())
        if not self.writes_ordering:
            return info
        parts = [part.dump() for part in core.SequenceOf.load(info, spec=core.Any)]
        before = len(parts) if self.leaves_nonce_out else len(parts) - 1
        parts.insert(before, core.Boolean(False).dump())
        return bytes(core.Sequence(contents=b"".join(parts)).dump())

    def _token(self, asked: Any) -> bytes:
        info = self._info(asked)
        carried = [*([self.leaf] if self.carries_leaf else []), *self.chain]
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [{"algorithm": "sha256"}],
                "encap_content_info": {
                    "content_type": "tst_info",
                    "content": cms.ParsableOctetString(info),
                },
                "certificates": [
                    *(asn1_x509.Certificate.load(one.der) for one in carried),
                    *(
                        cms.CertificateChoices("v2_attr_cert", cms.AttributeCertificateV2.load(one))
                        for one in self.attribute_certificates
                    ),
                ],
                "signer_infos": [self._signer(info, n) for n in range(self.signers)],
            }
        )
        return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())

    def _attributes(self, info: bytes, n: int) -> Any:
        moment = self.gen_time + timedelta(seconds=n)
        named = (self.names or self.leaf).der
        attributes: list[dict[str, Any]] = [
            {"type": "content_type", "values": [self.content_type]},
            {"type": "signing_time", "values": [cms.Time({"utc_time": moment})]},
            {
                "type": "message_digest",
                "values": [self.message_digest or sha256(info).digest()],
            },
        ]
        if self.names_by_sha1:
            digest = sha1(named, usedforsecurity=False).digest()
            value = {"certs": [{"cert_hash": digest, **self._stated()}]}
            attributes.append({"type": "signing_certificate", "values": [value]})
        elif not self.names_none:
            value = {"certs": [{"cert_hash": sha256(named).digest(), **self._stated()}]}
            attributes.append({"type": "signing_certificate_v2", "values": [value]})
        return cms.CMSAttributes(attributes)

    def _stated(self) -> dict[str, Any]:
        if self.names_issuer is None:
            return {}
        stated = asn1_x509.Certificate.load(self.names_issuer.public_bytes(Encoding.DER))
        issuer = [asn1_x509.GeneralName("directory_name", stated.issuer)]
        return {"issuer_serial": {"issuer": issuer, "serial_number": stated.serial_number}}

    def _signer(self, info: bytes, n: int) -> dict[str, Any]:
        attributes = self._attributes(info, n)
        key = self.signs_with or self.leaf.key
        data = attributes.dump()
        if isinstance(key, rsa.RSAPrivateKey):
            scheme: Any = padding.PKCS1v15()
            algorithm: dict[str, Any] = {"algorithm": "rsassa_pkcs1v15"}
            if self.pads_pss:
                hashed = {"sha256": hashes.SHA256, "sha1": hashes.SHA1}[self.mask]
                scheme = padding.PSS(padding.MGF1(hashed()), self.salt)
                mask = {"algorithm": "mgf1", "parameters": {"algorithm": self.mask}}
                parameters = {
                    "hash_algorithm": {"algorithm": "sha256"},
                    "mask_gen_algorithm": mask,
                    "salt_length": self.salt,
                }
                algorithm = {"algorithm": "rsassa_pss", "parameters": parameters}
            signature = key.sign(data, scheme, hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PrivateKey):
            signature, algorithm = key.sign(data), {"algorithm": "ed25519"}
        else:
            signature = key.sign(data, ec.ECDSA(hashes.SHA256()))
            algorithm = {"algorithm": "sha256_ecdsa"}
        if self.algorithm:
            algorithm = {"algorithm": self.algorithm}
        unsigned = [
            {"type": oid, "values": [core.OctetString(octets)]} for oid, octets in self.unsigned
        ]
        certificate = asn1_x509.Certificate.load(self.leaf.der)
        sid = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        return {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                {"issuer_and_serial_number": cms.IssuerAndSerialNumber(sid)}
            ),
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": attributes,
            "signature_algorithm": algorithm,
            "signature": signature,
            **({"unsigned_attrs": unsigned} if unsigned else {}),
        }
