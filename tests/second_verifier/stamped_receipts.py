"""Receipts with time stamps to be judged: good and bad ones, and what is made of them by changes."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any

from asn1crypto import pem
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.ledgers.rfc3161.core import test_forms, test_paths, test_token
from tests.second_verifier.der_trees import changed
from tests.simulators.certificates import issuer_of, signer_of
from tests.simulators.timestamps import STAMPED_AT, Forgery, Holder, new_list
from vaultmesh.domain.checks import SchemeFindings, Trust
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.ledgers.rfc3161.core.certificates import MALFORMED
from vaultmesh.ledgers.rfc3161.core.evidence import bytes_of, entry_of_list, text_of
from vaultmesh.ledgers.rfc3161.core.offline import find
from vaultmesh.ledgers.rfc3161.core.token import build_request

COMMITMENT = bytes(range(32))
REQUEST = build_request(COMMITMENT, 7)


@dataclass(frozen=True)
class Case:
    """What both verifiers are asked."""

    name: str
    evidence: dict[str, Any]
    authorities: tuple[bytes, ...] = ()
    tx_ref: str = "serial:abc"
    anchor_ts: str = write_time(STAMPED_AT)
    commitment: bytes = COMMITMENT

    def line(self) -> bytes:
        """Return it as the verifier in Go reads it."""
        asked = {
            "evidence": self.evidence,
            "txRef": self.tx_ref,
            "anchorTs": self.anchor_ts,
            "commitment": self.commitment.hex(),
            "authorities": [text.decode("latin-1") for text in self.authorities],
        }
        return json.dumps(asked).encode() + b"\n"


@dataclass(frozen=True)
class _Receipt:
    """What `find` reads of a receipt."""

    scheme_evidence: dict[str, Any]
    tx_ref: str
    anchor_ts: datetime
    block_number: int = field(default=0)


def our_answer(case: Case) -> dict[str, Any]:
    """Return what the product says, in the form of the verifier in Go."""
    moment = datetime.fromisoformat(case.anchor_ts).astimezone(UTC)
    receipt: Any = _Receipt(case.evidence, case.tx_ref, moment)
    found = find(receipt, MerkleRoot(case.commitment), Trust(authorities=case.authorities))
    return answer_of(found)


def answer_of(found: SchemeFindings) -> dict[str, Any]:
    """Return findings without details."""
    checks = [[check.name, str(check.found)] for check in found.checks]
    return {"checks": checks, "when": found.when, "trust": found.trust, "caveat": found.caveat}


def evidence_of(reply: bytes, *carried: Holder, **more: Any) -> dict[str, Any]:
    """Return a receipt's evidence."""
    return {
        "token": text_of(reply),
        "tokens": [],
        "request": text_of(REQUEST),
        "certificates": [text_of(holder.der) for holder in carried],
        **more,
    }


def base_cases() -> list[Case]:
    """Return good and bad receipts: every one with the right roots, with others, and with none."""
    return [*_form_cases(), *_bound_cases(), *_path_cases(), *_list_cases(), *_quorum_cases()]


def _form_cases() -> Iterator[Case]:
    for name, make in test_forms.CASES.items():
        made = make()
        more = {} if made.keeps_request else {"request": None}
        evidence = evidence_of(made.forgery.reply(made.request), test_forms.ROOT, **more)
        if made.keeps_request:
            evidence["request"] = text_of(made.request)
        evidence["allowSha1CertId"] = made.allows_sha1
        yield Case(f"form: {name}", evidence, (test_forms.ROOT.pem,))
        yield Case(f"form, untrusted: {name}", evidence, (test_paths.OTHER.pem,))
    for name, (forgery, _) in test_token.WRONG.items():
        yield Case(f"wrong: {name}", evidence_of(forgery.reply(REQUEST)), (test_token.ROOT.pem,))
    for name, (make_forgery, _) in (
        *test_forms.UNSUPPORTED.items(),
        *test_forms.WRONG_SIGNATURES.items(),
    ):
        reply = make_forgery().reply(REQUEST)
        yield Case(
            f"signature: {name}", evidence_of(reply, test_forms.ROOT), (test_forms.ROOT.pem,)
        )
    for name, content in test_forms.UNREADABLE.items():
        yield Case(f"unreadable: {name}", evidence_of(content), (test_forms.ROOT.pem,))


def _bound_cases() -> Iterator[Case]:
    signer, other = test_forms.SIGNER, test_forms.RSA_SIGNER
    for by_sha1 in (False, True):
        for stated in (signer.certificate, other.certificate):
            forgery = Forgery(signer, names_by_sha1=by_sha1, names_issuer=stated)
            for allowed in (False, True):
                evidence = evidence_of(forgery.reply(REQUEST), allowSha1CertId=allowed)
                yield Case(f"bound: {by_sha1} {allowed}", evidence, (test_forms.ROOT.pem,))


def _path_cases() -> Iterator[Case]:
    for name, make in (*test_paths.GOOD.items(), *test_paths.BAD.items()):
        made = make()
        reply = Forgery(made.signer, chain=made.carried).reply(REQUEST)
        pems = tuple(holder.pem for holder in (*made.bundled, *made.roots))
        yield Case(f"path: {name}", evidence_of(reply), (b"".join(pems),))
        yield Case(
            f"path, several files: {name}", evidence_of(reply, *made.bundled, *made.roots), pems
        )
        yield Case(f"path, carried: {name}", evidence_of(reply, *made.bundled, *made.roots))


def _list_cases() -> Iterator[Case]:
    root = issuer_of("list root")
    middle = issuer_of("list middle", root)
    signer = signer_of(middle)
    reply = Forgery(signer, chain=[middle]).reply(REQUEST)
    reasons = (
        None,
        *(reason for reason in x509.ReasonFlags if reason is not x509.ReasonFlags.remove_from_crl),
    )
    for reason in reasons:
        for seconds in (-1, 0, 1):
            when = STAMPED_AT.replace(second=0) if seconds == 0 else datetime.fromtimestamp(
                STAMPED_AT.timestamp() + seconds, UTC
            )  # fmt: skip
            for issuer, below in ((middle, signer), (root, middle)):
                known = new_list(issuer, (below, when, reason))
                evidence = evidence_of(reply, middle, root, revocation=[entry_of_list(known)])
                yield Case(f"list: {reason} {seconds}", evidence, (root.pem,))
    trusted = root.pem + new_list(root).public_bytes(Encoding.PEM)
    yield Case("list: trusted", evidence_of(reply, root), (trusted,))
    rsa = issuer_of("rsa root", key=test_forms.rsa_key())
    stamped = Forgery(signer_of(rsa)).reply(REQUEST)
    lists = [entry_of_list(new_list(rsa)), entry_of_list(new_list(root))]
    yield Case("list: by RSA", evidence_of(stamped, rsa, revocation=lists), (rsa.pem,))


def _quorum_cases() -> Iterator[Case]:
    roots = [issuer_of(f"quorum {n}") for n in range(3)]
    replies = [
        Forgery(signer_of(root, f"authority {n}")).reply(REQUEST) for n, root in enumerate(roots)
    ]
    further = [
        {
            "token": text_of(reply),
            "certificates": [text_of(root.der)],
            "authority": f"CN=authority {n}",
        }
        for n, (reply, root) in enumerate(zip(replies, roots, strict=True))
    ]
    for trusted in ((), roots[:1], roots[1:], roots):
        evidence = evidence_of(replies[0], roots[0], tokens=further[1:], authority="CN=authority 0")
        yield Case("quorum", evidence, tuple(root.pem for root in trusted))
    yield Case(
        "quorum: another name", evidence_of(replies[0], tokens=[{**further[1], "authority": "x"}])
    )


# --- changes --------------------------------------------------------------------------------------


def flipped(rng: Random, content: bytes) -> bytes:
    """Change one to three bytes."""
    changed_bytes = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        changed_bytes[rng.randrange(len(content))] ^= rng.choice(
            (1 << rng.randrange(8), rng.randrange(1, 256))
        )
    return bytes(changed_bytes)


def cut(rng: Random, content: bytes) -> bytes:
    """Take bytes out, or put some in."""
    place, size = rng.randrange(len(content)), rng.randrange(1, 4)
    if rng.random() < 0.5:
        return content[:place] + content[place + size :]
    return content[:place] + rng.randbytes(size) + content[place:]


def in_der(rng: Random, content: bytes) -> bytes:
    """Change a value, and write all lengths around it anew."""
    try:
        return changed(rng, content)
    except (ValueError, IndexError):
        return flipped(rng, content)


BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (flipped, in_der, in_der, cut)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _changed_text(rng: Random, text: object) -> object:
    content = bytes_of(text)
    if not content:
        return text
    return text_of(rng.choice(BYTES)(rng, content))


def token_changed(rng: Random, case: Case) -> Case:
    """Change the token, or a further one."""
    evidence = deepcopy(case.evidence)
    further = [entry for entry in _listed(evidence.get("tokens")) if isinstance(entry, dict)]
    entry = rng.choice([evidence, evidence, *further])
    entry["token"] = _changed_text(rng, entry.get("token"))
    return replace(case, evidence=evidence)


def certificate_changed(rng: Random, case: Case) -> Case:
    """Change a certificate that the receipt carries."""
    evidence = deepcopy(case.evidence)
    carried = _listed(evidence.get("certificates"))
    if not carried:
        return token_changed(rng, case)
    place = rng.randrange(len(carried))
    carried[place] = _changed_text(rng, carried[place])
    return replace(case, evidence=evidence)


def list_changed(rng: Random, case: Case) -> Case:
    """Change a revocation list, and what is said of it along with it."""
    evidence = deepcopy(case.evidence)
    lists = _listed(evidence.get("revocation"))
    if not lists or not isinstance(lists[0], dict) or "list" not in lists[0]:
        return token_changed(rng, case)
    place = 0
    der = rng.choice(BYTES)(rng, bytes_of(lists[place]["list"]) or b"0")
    try:
        lists[place] = entry_of_list(x509.load_der_x509_crl(der))
    except MALFORMED:
        lists[place] = {**lists[place], "list": text_of(der)}
    return replace(case, evidence=evidence)


def request_changed(rng: Random, case: Case) -> Case:
    """Change the request."""
    evidence = {**case.evidence, "request": _changed_text(rng, case.evidence.get("request"))}
    return replace(case, evidence=evidence)


def root_changed(rng: Random, case: Case) -> Case:
    """Change a certificate that is trusted."""
    if not case.authorities:
        return certificate_changed(rng, case)
    place = rng.randrange(len(case.authorities))
    texts = list(case.authorities)
    blocks = [(kind, der) for kind, _, der in pem.unarmor(texts[place], multiple=True)]
    chosen = rng.randrange(len(blocks))
    blocks[chosen] = (blocks[chosen][0], rng.choice(BYTES)(rng, blocks[chosen][1]))
    texts[place] = b"".join(pem.armor(kind, der) for kind, der in blocks)
    return replace(case, authorities=tuple(texts))


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, "", "x", "AAAA", "MA==", "MAA=", "=", "AA=A", "QQ", " QQ==", "QQ==\n", [], {}, [None], [{}], ["AAAA"],
    {"list": "AAAA"}, [{"token": "AAAA"}], [{"list": "AAAA"}], "sha256(commitment)", "1.3.6.1.4.1.13762.3.7", "CN=authority",
)  # fmt: skip
_KEYS = (
    "token", "tokens", "request", "certificates", "revocation", "authority", "policyOID", "imprint", "allowSha1CertId",
)  # fmt: skip


def evidence_changed(rng: Random, case: Case) -> Case:
    """Change the JSON of the evidence."""
    evidence = deepcopy(case.evidence)
    further = [entry for entry in _listed(evidence.get("tokens")) if isinstance(entry, dict)]
    entry = rng.choice([evidence, evidence, *further])
    key = rng.choice(_KEYS)
    if rng.random() < 0.2:
        entry.pop(key, None)
    elif rng.random() < 0.2 and isinstance(entry.get(key), list) and entry[key]:
        entry[key][rng.randrange(len(entry[key]))] = deepcopy(rng.choice(_VALUES))
    else:
        entry[key] = deepcopy(rng.choice(_VALUES))
    return replace(case, evidence=evidence)


def receipt_changed(rng: Random, case: Case) -> Case:
    """Change what the receipt says of the token, or what was stamped."""
    return rng.choice((
        replace(case, tx_ref=rng.choice(("serial:abd", "serial:0abc", "serial:ABC", ""))),
        replace(case, anchor_ts=rng.choice(("2026-01-15T10:00:01Z", "2026-01-15T10:00:00.5Z"))),
        replace(case, commitment=rng.randbytes(32)),
        replace(case, authorities=()),
    ))  # fmt: skip


CHANGES: tuple[Callable[[Random, Case], Case], ...] = (
    token_changed, token_changed, token_changed, token_changed, token_changed, certificate_changed, certificate_changed,
    list_changed, request_changed, root_changed, evidence_changed, receipt_changed,
)  # fmt: skip


@cache
def bases() -> tuple[Case, ...]:
    """Return what is changed; made once."""
    return tuple(base_cases())


def changed_case(seed: int) -> Case:
    """Return a receipt that is changed once, or twice."""
    rng = Random(seed)
    case = rng.choice(bases())
    names = [case.name]
    for _ in range(rng.choice((1, 1, 1, 2))):
        change = rng.choice(CHANGES)
        names.append(change.__name__)
        case = change(rng, case)
    return replace(case, name=f"{seed}: {' / '.join(names)}")
