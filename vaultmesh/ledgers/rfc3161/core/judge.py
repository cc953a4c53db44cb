"""Judges a time-stamp reply: with what it carries and pinned roots alone, at any later time.

1. Every rule is a finding of its own (T2, T3, T4, T5); a token is sound when all of them hold.
2. The signature is verified with the one certificate that the signer names and ESSCertID binds, and the chain of
   that certificate up to a pinned root, at the token's own time: a leaf that expired since is no objection.
3. Revocation is judged by the lists at hand; nobody is asked for one.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.rfc3161.core.certificates import read_all, read_certificate
from vaultmesh.ledgers.rfc3161.core.path import Path, find_paths
from vaultmesh.ledgers.rfc3161.core.path_by_hand import signed_with_sha1
from vaultmesh.ledgers.rfc3161.core.signature import signature_findings
from vaultmesh.ledgers.rfc3161.core.token import (
    IMPRINT_ALGORITHM,
    Reply,
    Token,
    build_request,
    read_reply,
    read_request,
)
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, revocation_finding

CLOCK_SKEW = timedelta(seconds=60)
"""How far an authority's clock and ours may differ when a token is made."""
LARGEST_ACCURACY = timedelta(seconds=60)
"""A token that is less certain about its time is refused."""

LONGEST_TEXT = 1_000
"""Characters of what is told about a reply: parts of it are whatever an authority sent."""
LARGEST_SERIAL = 2**160 - 1
"""More than 160 bits need not be supported (RFC 3161, 2.4.2)."""

CHAIN = "chain"
"""Name of the finding that depends on the pinned roots."""
TOKEN_FORM = "token form"  # noqa: S105 - the name of a finding
"""Name of the finding that a reply, or the token in it, can't be read."""
GRANTED, GRANTED_WITH_MODS = 0, 1
_STATUS_NAMES = (
    "granted", "granted with modifications", "rejected", "waiting", "revocation warning", "revoked",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """When a request was sent, and its reply received, by our own clock."""

    sent: datetime
    received: datetime


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What came out of a reply."""

    findings: tuple[Check, ...]
    token: Token | None
    path: Path = ()
    """From the signer's certificate to the pinned root that it leads to; empty if there is none."""

    @property
    def root(self) -> bytes:
        """The pinned root that the token's certificate leads to, DER; empty if there is none."""
        return self.path[-1].der if self.path else b""

    @property
    def sound(self) -> bool:
        """Whether every rule holds."""
        return self.token is not None and all(finding.passed for finding in self.findings)

    @property
    def problems(self) -> str:
        """What does not hold, in one line."""
        failed = [finding for finding in self.findings if not finding.passed]
        return "; ".join(f"{finding.name}: {finding.detail}" for finding in failed)[:LONGEST_TEXT]

    @property
    def authority(self) -> str:
        """Name of who signed a sound token, from the certificate; else empty."""
        return self.path[0].name if self.sound else ""


def judge(
    reply: bytes,
    commitment: bytes,
    pinned: Pinned,
    *,
    request: bytes | None,
    policy: str = "",
    window: Window | None = None,
    allows_sha1: bool = False,
) -> TokenReport:
    """Judge a TimeStampResp over a commitment.

    Args:
        reply: the whole reply, DER.
        commitment: the 32 bytes that were to be stamped.
        pinned: the only roots that count; intermediates and revocation lists if there are any.
        request: what was asked, DER; None for a token whose request nobody kept.
        policy: OID that the token must have; empty: the request's, if it names one.
        window: only known when the reply has just come.
        allows_sha1: whether SHA-1 may bind the signer's certificate (T3).
    """
    try:
        read = read_reply(reply)
    except InvalidValue as error:
        return TokenReport((wrong(TOKEN_FORM, str(error)),), None)
    status = _status(read)
    token = read.token
    if token is None or not status.passed:
        missing = () if token else (wrong("token", "the reply holds none"),)
        return TokenReport((status, *missing), None)
    path, chain, revocation = _chain(token, pinned)
    findings = (
        status,
        *_content(token, commitment, request, policy),
        *_times(token, window),
        *signature_findings(token, allows_sha1=allows_sha1),
        chain,
        *([revocation] if revocation is not None else ()),
    )
    return TokenReport(findings, token, path)


def _status(reply: Reply) -> Check:
    """Only granted, and granted with modifications, bring a token (T2); what was modified shows in the other rules."""
    known = 0 <= reply.status < len(_STATUS_NAMES)
    name = _STATUS_NAMES[reply.status] if known else f"status {reply.status}"
    said = ", ".join(" ".join(text.split())[:200] for text in (*reply.texts, *reply.failures))
    granted = reply.status in (GRANTED, GRANTED_WITH_MODS)
    return holds_if("status", f"{name} ({said})" if said else name, condition=granted)


def _content(
    token: Token, commitment: bytes, request: bytes | None, policy: str
) -> Iterator[Check]:
    try:
        asked = read_request(request if request is not None else build_request(commitment, 0))
    except InvalidValue as error:
        yield wrong("request", str(error))
        return
    yield holds_if("version", token.version, condition=token.version == "v1")
    wanted = hashlib.sha256(commitment).digest()
    imprinted = (token.imprint_algorithm, token.imprint) == (IMPRINT_ALGORITHM, wanted)
    fits = imprinted and (asked.imprint_algorithm, asked.imprint) == (IMPRINT_ALGORITHM, wanted)
    yield holds_if("imprint", f"{token.imprint_algorithm} {token.imprint.hex()}", condition=fits)
    if request is None:
        yield holds("nonce", "no request was kept to compare it with")
    else:
        same = asked.nonce is not None and token.nonce == asked.nonce
        yield holds_if(
            "nonce", "as asked" if same else "not the one that was asked for", condition=same
        )
    required = {policy, asked.policy} - {""}
    fits = required <= {token.policy}
    detail = token.policy if fits else f"{token.policy}, not {' and '.join(sorted(required))}"
    yield holds_if("policy", detail, condition=fits)
    right = 0 <= token.serial <= LARGEST_SERIAL
    yield holds_if(
        "serial", token.tx_ref if right else "negative, or above 160 bits", condition=right
    )


def _times(token: Token, window: Window | None) -> Iterator[Check]:
    moment = write_time(token.gen_time)
    if window is not None:
        early, late = window.sent - CLOCK_SKEW, window.received + CLOCK_SKEW
        inside = early <= token.gen_time <= late
        allowed = f"between {write_time(early)} and {write_time(late)}"
        yield holds_if("time", moment if inside else f"{moment}, not {allowed}", condition=inside)
    accuracy = token.accuracy
    exact = accuracy is None or accuracy <= LARGEST_ACCURACY
    yield holds_if(
        "accuracy", "not stated" if accuracy is None else tolerance(accuracy), condition=exact
    )


def tolerance(accuracy: timedelta) -> str:
    """Return how far a clock may be off, in words: `± 1 s`, `± 0.5 s`."""
    return f"± {f'{accuracy.total_seconds():.6f}'.rstrip('0').rstrip('.')} s"


def _chain(token: Token, pinned: Pinned) -> tuple[Path, Check, Check | None]:
    """Find the pinned root that the signer's certificate leads to at the token's time; if there are several, one whose path was not revoked."""
    if not pinned.roots:
        return (), wrong(CHAIN, "no root is pinned"), None
    signer = token.signers[0].certificate if token.signers else None
    if signer is None:
        return (), wrong(CHAIN, "the reply does not carry the signer's certificate"), None
    try:
        first = read_certificate(signer)
    except InvalidValue as error:
        return (), wrong(CHAIN, str(error)), None
    between = [*read_all(token.certificates), *pinned.intermediates]
    search = find_paths(first, between, pinned.roots, token.gen_time)
    if not search.paths:
        return (), wrong(CHAIN, f"leads to no pinned root: {search.refusal}"), None
    judged = [
        (path, revocation_finding(path, token.gen_time, pinned.lists)) for path in search.paths
    ]
    path, revocation = next(
        ((path, said) for path, said in judged if said is None or said.passed), judged[0]
    )
    old = [below.name for below in path[:-1] if signed_with_sha1(below)]
    detail = f"up to {path[-1].name}" + (f"; signed with SHA-1: {' and '.join(old)}" if old else "")
    return path, holds(CHAIN, detail), revocation
