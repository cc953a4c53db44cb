"""Reads time-stamp requests and replies (RFC 3161) from bytes, and writes requests.

1. Reading judges nothing: `vaultmesh.ledgers.rfc3161.core.judge` judges what a reply says.
2. The imprint is SHA-256 over the 32 bytes of the commitment, as in the original (T1).
3. Whatever the bytes hold, reading ends in a value or in `InvalidValue`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any

from asn1crypto import algos, cms, core, tsp  # type: ignore[import-untyped]

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.rfc3161.core.certificates import comparable, parts_of

IMPRINT_ALGORITHM = "sha256"
IMPRINT_RULE = "sha256(commitment)"
"""How the imprint comes from the commitment; kept with each token."""
NONCE_BITS = 64
LARGEST_REPLY = 1 << 20
"""Bytes; a token with a whole chain takes about 10 kB (T8)."""


class _Response(core.Sequence):  # type: ignore[misc]  # the parser has no types
    """TimeStampResp as it is: the parser's own has no reply without a token, which every rejection is."""

    _fields = [  # noqa: RUF012 - the parser's form
        ("status", tsp.PKIStatusInfo),
        ("time_stamp_token", cms.ContentInfo, {"optional": True}),
    ]


Members = list[tuple[Any, bytes]]
"""Certificates, parsed and as they came."""
_VERSION = "v1"
_CERTIFICATE, _DISTINGUISHED = "certificate", "directory_name"
_JUDGED = frozenset(
    {"content_type", "message_digest", "signing_certificate", "signing_certificate_v2"}
)
"""Signed attributes that are read."""
_PSS, _MASK = "rsassa_pss", "mgf1"
_BY_KEY = {"1.2.840.10045.2.1": "ecdsa"}
"""Some name the key's kind (`id-ecPublicKey`) for the signature's."""
_BARE = frozenset({"rsassa_pkcs1v15", "ecdsa", "dsa", "ed25519", *_BY_KEY})
"""Signature algorithms that leave the hash to the digest's."""
_MOST_READ = 2
_LONG_NUMBER = re.compile(r"\d{20,}")
"""What the parser makes of lengths in rubbish."""
_PARSING_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What the parser raises on hostile bytes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an authority is asked."""

    imprint_algorithm: str
    imprint: bytes
    nonce: int | None
    policy: str
    """OID in dotted form; empty when any policy will do."""
    wants_certificates: bool


@dataclass(frozen=True, slots=True)
class Padding:
    """How RSASSA-PSS fills up what is signed."""

    mask_hash: str
    salt_length: int


@dataclass(frozen=True, slots=True)
class CertificateId:
    """What ESSCertID(v2) says of a certificate."""

    algorithm: str
    digest: bytes
    issuer: str
    """In the form in which equal names are equal; empty where issuer and serial number are left out."""
    serial: int


@dataclass(frozen=True, slots=True)
class Signer:
    """The one signature of a token, and what it covers."""

    digest_algorithm: str
    signature_algorithm: str
    """`rsassa_pkcs1v15`, `rsassa_pss`, `ecdsa`, `ed25519`, or another name or OID that nobody checks."""
    signature_hash: str
    """Hash under the signature."""
    padding: Padding | None
    """Of `rsassa_pss`, else None."""
    signature: bytes
    signed_bytes: bytes
    """The signed attributes, as they were signed."""
    content_types: tuple[str, ...]
    message_digests: tuple[bytes, ...]
    certificate_ids: tuple[CertificateId, ...]
    """The signer's certificate first; of ESSCertIDv2 if it is there, else of the older one, whose hash is SHA-1."""
    certificate: bytes | None
    """The certificate that the signer names, DER; None when the token does not carry it."""


@dataclass(frozen=True, slots=True)
class Token:
    """What an authority signed."""

    version: str
    policy: str
    imprint_algorithm: str
    imprint: bytes
    serial: int
    gen_time: datetime
    accuracy: timedelta | None
    nonce: int | None
    content_type: str
    content: bytes
    """The signed content (TSTInfo), DER."""
    certificates: tuple[bytes, ...]
    """Every certificate that came along, DER."""
    signers: tuple[Signer, ...]
    """The first two at most: one is right, more are wrong."""

    @property
    def tx_ref(self) -> str:
        """What receipts call it."""
        return f"serial:{self.serial:x}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole TimeStampResp."""

    status: int
    """PKIStatus; 0 and 1 mean that there is a token."""
    texts: tuple[str, ...]
    failures: tuple[str, ...]
    token: Token | None


def build_request(commitment: bytes, nonce: int, policy: str = "") -> bytes:
    """Return a TimeStampReq: SHA-256, certificates wanted, the policy if one is named (T1)."""
    fields: dict[str, Any] = {
        "version": _VERSION,
        "message_imprint": {
            "hash_algorithm": {"algorithm": IMPRINT_ALGORITHM, "parameters": core.Null()},
            "hashed_message": sha256(commitment).digest(),
        },
        "nonce": nonce,
        "cert_req": True,
    }
    if policy:
        fields["req_policy"] = policy
    encoded: bytes = tsp.TimeStampReq(fields).dump()
    return encoded


def read_request(der: bytes) -> Request:
    """Read a TimeStampReq.

    Raises:
        InvalidValue: it is none.
    """
    with _parsing("a time-stamp request"):
        parsed = tsp.TimeStampReq.load(der, strict=True)
        imprint = parsed["message_imprint"]
        return Request(
            imprint_algorithm=imprint["hash_algorithm"]["algorithm"].native,
            imprint=imprint["hashed_message"].native,
            nonce=parsed["nonce"].native,
            policy=_dotted(parsed["req_policy"]),
            wants_certificates=bool(parsed["cert_req"].native),
        )


def read_reply(der: bytes) -> Reply:
    """Read a TimeStampResp.

    Raises:
        InvalidValue: it is none.
    """
    if len(der) > LARGEST_REPLY:
        message = f"a reply of more than {LARGEST_REPLY} bytes is not read"
        raise InvalidValue(message)
    with _parsing("a time-stamp reply"):
        parsed = _Response.load(der, strict=True)
        info = parsed["status"]
        wrapped = parsed["time_stamp_token"]
        status = int(info["status"])
        texts = tuple(info["status_string"].native or ())
        failures = tuple(sorted(map(str, info["fail_info"].native or ())))
    if not isinstance(wrapped, cms.ContentInfo):
        return Reply(status, texts, failures, None)
    with _parsing("a time-stamp token, though the reply around it is one"):
        return Reply(status, texts, failures, _token(wrapped))


@contextmanager
def _parsing(what: str) -> Iterator[None]:
    try:
        yield
    except _PARSING_ERRORS as error:
        said = _LONG_NUMBER.sub("…", " ".join(str(error).split()))
        message = f"not {what}: {said[:200]}"
        raise InvalidValue(message) from error


def _token(wrapped: Any) -> Token:  # noqa: ANN401 - the parser has no types
    if wrapped["content_type"].native != "signed_data":
        message = f"it holds {wrapped['content_type'].native}, not signed data"
        raise InvalidValue(message)
    signed = wrapped["content"]
    inner = signed["encap_content_info"]
    content = bytes(inner["content"])
    info = tsp.TSTInfo.load(content, strict=True)
    imprint = info["message_imprint"]
    chosen = signed["certificates"]
    members = [
        (member.chosen, der)
        for member, der in zip(chosen or (), parts_of(chosen.contents or b""), strict=True)
        if member.name == _CERTIFICATE
    ]  # as they came: the parser writes some of them anew
    signers = islice(signed["signer_infos"], _MOST_READ)
    return Token(
        version=info["version"].native,
        policy=_dotted(info["policy"]),
        imprint_algorithm=imprint["hash_algorithm"]["algorithm"].native,
        imprint=imprint["hashed_message"].native,
        serial=info["serial_number"].native,
        gen_time=_moment(info["gen_time"].native),
        accuracy=_accuracy(info["accuracy"]),
        nonce=info["nonce"].native,
        content_type=inner["content_type"].native,
        content=content,
        certificates=tuple(der for _, der in members),
        signers=tuple(_signer(signer, members) for signer in signers),
    )


def _signer(info: Any, members: Members) -> Signer:  # noqa: ANN401 - the parser has no types
    attributes = info["signed_attrs"]
    encoded = attributes.untag().dump() if isinstance(attributes, cms.CMSAttributes) else b""
    values: dict[str, list[Any]] = {}
    for attribute in attributes:
        if attribute["type"].native in _JUDGED:  # what nobody judges may be as odd as it likes
            values.setdefault(attribute["type"].native, []).extend(attribute["values"])
    digest = info["digest_algorithm"]["algorithm"].native
    algorithm, hashed, padding = _algorithm(info["signature_algorithm"], digest)
    return Signer(
        digest_algorithm=digest,
        signature_algorithm=algorithm,
        signature_hash=hashed,
        padding=padding,
        signature=info["signature"].native,
        signed_bytes=encoded,
        content_types=tuple(value.native for value in values.get("content_type", ())),
        message_digests=tuple(value.native for value in values.get("message_digest", ())),
        certificate_ids=_certificate_ids(values),
        certificate=_named_certificate(info["sid"], members),
    )


def _algorithm(field: Any, digest: str) -> tuple[str, str, Padding | None]:  # noqa: ANN401 - no types
    """Return a signature's algorithm, its hash, and its padding; an unknown one by its OID."""
    name = field["algorithm"].native
    if name == _PSS:
        return name, *_padding(field["parameters"])
    try:
        family = _BY_KEY.get(name) or field.signature_algo
        hashed = digest if name in _BARE else field.hash_algo
    except ValueError:
        return name, digest, None
    return family, hashed, None


def _padding(parameters: Any) -> tuple[str, Padding]:  # noqa: ANN401 - no types
    """Return the hash and the padding of RSASSA-PSS; without parameters both are by SHA-1 (RFC 4055, 3.1)."""
    if not isinstance(parameters, algos.RSASSAPSSParams):
        return "sha1", Padding("sha1", 20)
    mask = parameters["mask_gen_algorithm"]
    name = mask["algorithm"].native
    hashed = mask["parameters"]["algorithm"].native if name == _MASK else name
    padding = Padding(hashed, parameters["salt_length"].native)
    return parameters["hash_algorithm"]["algorithm"].native, padding


def _certificate_ids(values: dict[str, list[Any]]) -> tuple[CertificateId, ...]:
    """Return what ESSCertIDv2 says, or where it is absent the older ESSCertID, whose hash is SHA-1."""
    newer, older = (
        [entry for value in values.get(attribute, ()) for entry in value["certs"]]
        for attribute in ("signing_certificate_v2", "signing_certificate")
    )
    if newer:
        return tuple(
            _certificate_id(id_, id_["hash_algorithm"]["algorithm"].native) for id_ in newer
        )
    return tuple(_certificate_id(id_, "sha1") for id_ in older)


def _certificate_id(id_: Any, algorithm: str) -> CertificateId:  # noqa: ANN401 - no types
    digest, stated = id_["cert_hash"].native, id_["issuer_serial"]
    if not isinstance(stated, tsp.IssuerSerial):
        return CertificateId(algorithm, digest, "", 0)
    names = [comparable(name.chosen) for name in stated["issuer"] if name.name == _DISTINGUISHED]
    single = len(names) == len(stated["issuer"]) == 1
    issuer = names[0] if single else "not one distinguished name"
    return CertificateId(algorithm, digest, issuer, stated["serial_number"].native)


def _named_certificate(sid: Any, members: Members) -> bytes | None:  # noqa: ANN401 - no types
    for certificate, der in members:
        if sid.name == "issuer_and_serial_number":
            wanted = (sid.chosen["issuer"].dump(), sid.chosen["serial_number"].native)
            carried = (certificate.issuer.dump(), certificate.serial_number)
        else:
            wanted, carried = (sid.chosen.native, 0), (certificate.key_identifier, 0)
        if wanted == carried:
            return der
    return None


def _moment(value: object) -> datetime:
    """Return genTime, which is in UTC (RFC 3161, 2.4.2)."""
    if not isinstance(value, datetime) or value.utcoffset() != timedelta(0):
        message = f"its time {value} is not in UTC"
        raise InvalidValue(message)
    return value.astimezone(UTC)


def _accuracy(field: Any) -> timedelta | None:  # noqa: ANN401 - the parser has no types
    if not isinstance(field, tsp.Accuracy):
        return None
    seconds, millis, micros = (field[part].native or 0 for part in ("seconds", "millis", "micros"))
    return timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)


def _dotted(field: Any) -> str:  # noqa: ANN401 - the parser has no types
    return field.dotted if isinstance(field, core.ObjectIdentifier) else ""
