"""Verifies a time stamp offline: by the receipt alone, and the roots that the user trusts.

1. Every rule about the token is checked without trusting anybody: it must hold up to some root.
2. Whether that root is one of those the user trusts is the one open question when none is named.
3. The token's own time counts: a certificate that has expired since is no objection.
"""

from vaultmesh.domain.checks import (
    TRUSTED,
    Check,
    SchemeFindings,
    Trust,
    holds,
    stays_open,
    wrong,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.ledgers.rfc3161.core.certificates import Certificate
from vaultmesh.ledgers.rfc3161.core.evidence import (
    ALLOWS_SHA1,
    EvidenceReport,
    Stamped,
    carried_roots,
    description_check,
    examine,
)
from vaultmesh.ledgers.rfc3161.core.judge import CHAIN, TokenReport, tolerance
from vaultmesh.ledgers.rfc3161.core.signature import needs_sha1
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, read_pinned

_TRUSTED_ROOT = f"{TRUSTED}root"


def find(receipt: AnchorReceipt, commitment: MerkleRoot, trust: Trust) -> SchemeFindings:
    """Find out what a receipt's time stamps prove."""
    evidence = receipt.scheme_evidence
    try:
        pins = [read_pinned(pem) for pem in trust.authorities]
    except InvalidValue as error:
        unread = wrong("trusted roots", f"the file {error}")
        return SchemeFindings((unread,), "", "")
    trusted = [root for pinned in pins for root in pinned.roots]
    lists = [revocations for pinned in pins for revocations in pinned.lists]
    between = [certificate for pinned in pins for certificate in pinned.intermediates]
    stamped = Stamped(
        commitment=commitment.digest,
        tx_ref=receipt.tx_ref,
        block_number=receipt.block_number,
        anchor_ts=receipt.anchor_ts,
        evidence=evidence,
    )
    carried = carried_roots(evidence)
    report = examine(stamped, Pinned([*trusted, *carried], lists, between))
    checks = [_as_carried(finding, chain_is_carried=bool(carried)) for finding in report.findings]
    checks.append(description_check(evidence, report.reports))
    known = {root.der: root for root in trusted}
    vouched = [judged for judged in report.reports if judged.sound and judged.root in known]
    checks.append(_trust_check(report, vouched, trust, trusted))
    leading = vouched or [judged for judged in report.reports if judged.sound]
    earliest = min(leading, key=lambda judged: _when(judged)[0], default=None)
    weak = any(judged.token is not None and needs_sha1(judged.token) for judged in report.reports)
    caveat = f"SHA-1 alone binds the signer's certificate ({ALLOWS_SHA1})" if weak else ""
    if earliest is None or earliest.token is None:
        return SchemeFindings(tuple(checks), "", "", caveat)
    names = sorted({_name_of(judged.root, [*trusted, *carried]) for judged in leading})
    trust_in = f"trust in {' and '.join(names)}"
    if not vouched:  # whoever makes a certificate gives it its name
        trust_in = f"trust in what calls itself {' and '.join(names)}"
    place = f"{earliest.token.tx_ref} of {earliest.authority}"
    return SchemeFindings(tuple(checks), _when(earliest)[1], trust_in, caveat, place)


def _name_of(root: bytes, certificates: list[Certificate]) -> str:
    """Return the name of a root that a sound token leads to."""
    return next(certificate.name for certificate in certificates if certificate.der == root)


def _as_carried(finding: Check, *, chain_is_carried: bool) -> Check:
    """Without a root of its own, a receipt says nothing about its chain that could be wrong."""
    if finding.name == CHAIN and not finding.passed and not chain_is_carried:
        return stays_open(finding.name, finding.detail)
    return finding


def _trust_check(
    report: EvidenceReport, vouched: list[TokenReport], trust: Trust, trusted: list[Certificate]
) -> Check:
    if vouched:
        return holds(_TRUSTED_ROOT, f"{len(vouched)} of {len(report.reports)} tokens lead to one")
    detail = "the tokens lead to none of those that you trust"
    if not trusted:
        detail = "whether the authority's root can be trusted: state it with --trust-roots"
    if trust.authorities and not trusted:
        detail = "no certificate that you trust signs itself, as roots do: name the root, too, with --trust-roots"
    return stays_open(_TRUSTED_ROOT, detail)


def _when(judged: TokenReport) -> tuple[str, str]:
    token = judged.token
    if token is None:
        return "", ""
    moment = write_time(token.gen_time)
    accuracy = f" {tolerance(token.accuracy)}" if token.accuracy is not None else ""
    return moment, f"{moment}{accuracy} (clock of {judged.authority})"
