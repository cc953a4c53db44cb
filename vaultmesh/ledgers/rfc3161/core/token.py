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

from asn1crypto import cms, core, tsp  # type: ignore[import-untyped]

from vaultmesh.domain.errors import InvalidValue

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


_VERSION = "v1"
_CERTIFICATE = "certificate"
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
class Signer:
    """The one signature of a token, and what it covers."""

    digest_algorithm: str
    signature_algorithm: str
    """`rsassa_pkcs1v15`, `ecdsa`, or another name that nobody checks."""
    signature_hash: str
    """Hash under the signature."""
    signature: bytes
    signed_bytes: bytes
    """The signed attributes, as they were signed."""
    content_types: tuple[str, ...]
    message_digests: tuple[bytes, ...]
    certificate_hashes: tuple[tuple[str, bytes], ...]
    """Of ESSCertID(v2): hash algorithm and hash, the signer's certificate first."""
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
    sorted_der: bytes
    """The token with its certificates in DER order: they are not signed, and a strict parser wants them so."""

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
        return Reply(
            status=int(info["status"]),
            texts=tuple(info["status_string"].native or ()),
            failures=tuple(sorted(info["fail_info"].native or ())),
            token=_token(wrapped) if isinstance(wrapped, cms.ContentInfo) else None,
        )


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
    der = wrapped.dump()  # before parts are read: their defaults would have all of it encoded anew
    signed = wrapped["content"]
    inner = signed["encap_content_info"]
    content = bytes(inner["content"])
    info = tsp.TSTInfo.load(content, strict=True)
    imprint = info["message_imprint"]
    chosen = signed["certificates"]
    members = [member for member in chosen if member.name == _CERTIFICATE] if chosen else []
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
        certificates=tuple(member.dump() for member in members),
        signers=tuple(_signer(signer, members) for signer in signers),
        sorted_der=_sorted(der, chosen),
    )


def _signer(info: Any, members: list[Any]) -> Signer:  # noqa: ANN401 - the parser has no types
    attributes = info["signed_attrs"]
    encoded = attributes.untag().dump() if isinstance(attributes, cms.CMSAttributes) else b""
    values: dict[str, list[Any]] = {}
    for attribute in attributes:
        values.setdefault(attribute["type"].native, []).extend(attribute["values"])
    algorithm = info["signature_algorithm"]
    named = algorithm.signature_algo
    digest = info["digest_algorithm"]["algorithm"].native
    from_digest = algorithm["algorithm"].native == "rsassa_pkcs1v15" or named == "ed25519"
    return Signer(
        digest_algorithm=digest,
        signature_algorithm=named,
        signature_hash=digest if from_digest else algorithm.hash_algo,
        signature=info["signature"].native,
        signed_bytes=encoded,
        content_types=tuple(value.native for value in values.get("content_type", ())),
        message_digests=tuple(value.native for value in values.get("message_digest", ())),
        certificate_hashes=_certificate_hashes(values),
        certificate=_named_certificate(info["sid"], members),
    )


def _certificate_hashes(values: dict[str, list[Any]]) -> tuple[tuple[str, bytes], ...]:
    """Return what ESSCertIDv2 says, or where it is absent the older ESSCertID, whose hash is SHA-1."""
    newer, older = (
        [entry for value in values.get(attribute, ()) for entry in value["certs"]]
        for attribute in ("signing_certificate_v2", "signing_certificate")
    )
    if newer:
        return tuple(
            (entry["hash_algorithm"]["algorithm"].native, entry["cert_hash"].native)
            for entry in newer
        )
    return tuple(("sha1", entry["cert_hash"].native) for entry in older)


def _named_certificate(sid: Any, members: list[Any]) -> bytes | None:  # noqa: ANN401 - no types
    for member in members:
        certificate = member.chosen
        if sid.name == "issuer_and_serial_number":
            wanted = (sid.chosen["issuer"].dump(), sid.chosen["serial_number"].native)
            carried = (certificate.issuer.dump(), certificate.serial_number)
        else:
            wanted, carried = (sid.chosen.native, 0), (certificate.key_identifier, 0)
        if wanted == carried:
            encoded: bytes = member.dump()
            return encoded
    return None


def _sorted(der: bytes, chosen: Any) -> bytes:  # noqa: ANN401 - the parser has no types
    if not chosen:
        return der
    return der.replace(chosen.contents, b"".join(sorted(member.dump() for member in chosen)), 1)


def _moment(value: object) -> datetime:
    """Return genTime, which is in UTC (RFC 3161, 2.4.2)."""
    if not isinstance(value, datetime) or value.utcoffset() != timedelta(0):
        message = f"its time {value} is not in UTC"
        raise InvalidValue(message)
    return value.astimezone(UTC)


def _accuracy(field: Any) -> timedelta | None:  # noqa: ANN401 - the parser has no types
    parts = field.native
    if not parts:
        return None
    return timedelta(
        seconds=parts["seconds"] or 0,
        milliseconds=parts["millis"] or 0,
        microseconds=parts["micros"] or 0,
    )


def _dotted(field: Any) -> str:  # noqa: ANN401 - the parser has no types
    return field.dotted if isinstance(field, core.ObjectIdentifier) else ""
