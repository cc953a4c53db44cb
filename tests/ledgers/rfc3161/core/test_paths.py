"""A token's certificate leads to a pinned root by whatever lawful way there is, and by no other; openssl judges too (T5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from time import monotonic
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledgers.rfc3161.core.second_judge import openssl_objects
from tests.simulators.certificates import (
    STAMPS,
    certificate,
    issuer_of,
    name_of,
    printable_name,
    rsa_key,
    signed_with_sha1,
    signer_of,
    version_1,
    with_other_parts,
)
from tests.simulators.timestamps import (
    STAMPED_AT,
    Forgery,
    Holder,
    key_usage,
    new_key,
    new_list,
)
from vaultmesh.ledgers.rfc3161.core.judge import CHAIN, TokenReport, judge
from vaultmesh.ledgers.rfc3161.core.token import build_request, read_reply
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, read_pinned

COMMITMENT = bytes(range(32))
REQUEST = build_request(COMMITMENT, 7)
SECOND = timedelta(seconds=1)
ROOT = issuer_of("root")
OTHER = issuer_of("other root")
STRANGER = issuer_of("stranger")
MIDDLE = issuer_of("middle", ROOT)
SIGNER = signer_of(MIDDLE)


@dataclass
class Case:
    """A signer, what its token carries, and what is pinned."""

    signer: Holder
    carried: Sequence[Holder] = ()
    roots: Sequence[Holder] = (ROOT,)
    bundled: Sequence[Holder] = ()
    path: Sequence[Holder] = ()
    """That is expected above the signer; none for a case that must be refused."""
    openssl_takes_it: bool = False
    """Whether openssl is less strict about a case that we refuse."""
    openssl_strays: bool = False
    """Whether openssl, which follows one path only, has to be shown the right one."""
    says: str = ""
    """Part of why it is refused."""

    def judged(self) -> tuple[TokenReport, str]:
        """Return what we say, and what openssl says against it."""
        reply = Forgery(self.signer, chain=self.carried).reply(REQUEST)
        pinned = read_pinned(b"".join(one.pem for one in (*self.bundled, *self.roots)))
        report = judge(reply, COMMITMENT, pinned, request=REQUEST)
        if self.openssl_strays:
            reply = Forgery(self.signer, chain=self.path[:-1]).reply(REQUEST)
        return report, openssl_objects(reply, REQUEST, self.roots, self.bundled)


def below(root: Holder = ROOT, **how: Any) -> Holder:
    """Return an intermediate that is odd in something."""
    return issuer_of("middle", root, **how)


# --- what is good ---------------------------------------------------------------------------------

G4_KEY = new_key()
G4 = issuer_of("G4", key=G4_KEY)
G4_UNDER_OTHER = issuer_of("G4", OTHER, key=G4_KEY)
STAMPING = issuer_of("stamping", G4, purposes=STAMPS)
G4_SIGNER = signer_of(STAMPING)
TWICE_KEY = new_key()
TWICE = issuer_of("twice", ROOT, key=TWICE_KEY), issuer_of("twice", OTHER, key=TWICE_KEY)
TWICE_SIGNER = signer_of(TWICE[0])
NEW_ROOT_KEY = new_key()
ROLLED = issuer_of("root", ROOT, key=NEW_ROOT_KEY)


def _by(key: Any, **how: Any) -> Case:
    """Return the case of an intermediate with a key of some kind."""
    middle = below(key=key)
    signer = signer_of(middle, **how)
    return Case(signer, bundled=[middle], path=[middle, ROOT])


def _under(key: Any) -> Case:
    """Return the case of a root with a key of some kind."""
    root = issuer_of("odd root", key=key)
    middle = below(root)
    return Case(signer_of(middle), roots=[root], bundled=[middle], path=[middle, root])


def _odd(middle: Holder, root: Holder = ROOT) -> Case:
    return Case(signer_of(middle), roots=[root], bundled=[middle], path=[middle, root])


def _critical(extension: x509.ExtensionType) -> Case:
    return _odd(below(further=[(extension, True)]))


POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
OTHER_POLICIES, ANY_POLICY = (
    x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None)])
    for oid in ("1.2.4", "2.5.29.32.0")
)
DEMAND = (x509.PolicyConstraints(0, None), True)
DEMANDING = below(further=[DEMAND, (POLICIES, False)])
INHIBITING = below(further=[DEMAND, (POLICIES, False), (x509.InhibitAnyPolicy(0), True)])
IN_ACME = x509.NameConstraints([x509.DirectoryName(x509.Name(name_of("Acme", "x").rdns[:1]))], None)
NOT_ACME = x509.NameConstraints(None, IN_ACME.permitted_subtrees)
DNS_ONLY = x509.NameConstraints([x509.DNSName("example.org")], None)
ACME_MIDDLE = below(further=[(IN_ACME, True)])
PRINTABLE_ROOT = with_other_parts(
    ROOT, ROOT, subject=printable_name("root_1"), issuer=printable_name("root_1")
)
PRINTABLE_MIDDLE = with_other_parts(
    MIDDLE, PRINTABLE_ROOT, subject=printable_name("middle@1"), issuer=printable_name("root_1")
)
PRINTABLE_SIGNER = with_other_parts(
    SIGNER, PRINTABLE_MIDDLE, subject=printable_name("TSA_1"), issuer=printable_name("middle@1")
)
OTHER_STRING = with_other_parts(MIDDLE, ROOT, issuer=printable_name("root"))
VERSION_1 = version_1(ROOT)
DECADES = timedelta(days=7_300)
OLD_ROOT = issuer_of("old root", starts=STAMPED_AT - DECADES)
OLD_MIDDLE = signed_with_sha1(
    issuer_of("old middle", OLD_ROOT, starts=STAMPED_AT - DECADES / 2), OLD_ROOT
)
NEW_MIDDLE = signed_with_sha1(issuer_of("old middle", OLD_ROOT), OLD_ROOT)


GOOD: dict[str, Callable[[], Case]] = {
    "the token carries it all": lambda: Case(SIGNER, carried=[ROOT, MIDDLE], path=[MIDDLE, ROOT]),
    "the token carries the intermediate": lambda: Case(SIGNER, [MIDDLE], path=[MIDDLE, ROOT]),
    "the intermediate is in the bundle only": lambda: Case(
        SIGNER, bundled=[MIDDLE], path=[MIDDLE, ROOT]
    ),
    "the signer is right below the root": lambda: Case(signer_of(ROOT), path=[ROOT]),
    "some are carried, some bundled": lambda: Case(
        G4_SIGNER, [STAMPING], [OTHER], [G4_UNDER_OTHER], [STAMPING, G4_UNDER_OTHER, OTHER]
    ),
    "a cross-signed root under the older one": lambda: Case(
        G4_SIGNER, [STAMPING, G4_UNDER_OTHER], [OTHER], (), [STAMPING, G4_UNDER_OTHER, OTHER]
    ),
    "a cross-signed root that is pinned itself": lambda: Case(
        G4_SIGNER, [STAMPING, G4_UNDER_OTHER], [G4], (), [STAMPING, G4]
    ),
    "the self-signed twin is carried and not pinned": lambda: Case(
        G4_SIGNER,
        carried=[STAMPING, G4, G4_UNDER_OTHER],
        roots=[OTHER],
        path=[STAMPING, G4_UNDER_OTHER, OTHER],
        openssl_strays=True,
    ),
    "a cross-signed intermediate, first root": lambda: Case(
        TWICE_SIGNER, [*TWICE], [ROOT], (), [TWICE[0], ROOT]
    ),
    "a cross-signed intermediate, second root": lambda: Case(
        TWICE_SIGNER, [*TWICE], [OTHER], (), [TWICE[1], OTHER], openssl_strays=True
    ),
    "a cross-signed intermediate from the bundle": lambda: Case(
        TWICE_SIGNER, [TWICE[0]], [OTHER], [TWICE[1]], [TWICE[1], OTHER]
    ),
    "a root that rolled over to a new key": lambda: Case(
        signer_of(ROLLED), bundled=[ROLLED], path=[ROLLED, ROOT]
    ),
    "an impostor of the same name beside it": lambda: Case(
        SIGNER, [issuer_of("middle", STRANGER), issuer_of("middle"), MIDDLE], path=[MIDDLE, ROOT]
    ),
    "path length that is just enough": lambda: _odd(below(path_length=0)),
    "an intermediate for stamps alone": lambda: _odd(below(purposes=STAMPS)),
    "an intermediate that is expired now": lambda: _odd(below(ends=STAMPED_AT + SECOND)),
    "an intermediate by RSA": lambda: _by(rsa_key()),
    "P-521": lambda: _by(ec.generate_private_key(ec.SECP521R1()), hashed=hashes.SHA512()),
    "brainpool": lambda: _by(ec.generate_private_key(ec.BrainpoolP384R1())),
    "Ed25519": lambda: _by(ed25519.Ed25519PrivateKey.generate()),
    "a root by brainpool": lambda: _under(ec.generate_private_key(ec.BrainpoolP256R1())),
    "a root by Ed25519": lambda: _under(ed25519.Ed25519PrivateKey.generate()),
    "RSASSA-PSS": lambda: _by(rsa_key(), padded=padding.PSS(padding.MGF1(hashes.SHA256()), 32)),
    "RSASSA-PSS with another salt": lambda: _by(
        rsa_key(), padded=padding.PSS(padding.MGF1(hashes.SHA256()), 20)
    ),
    "SHA-3": lambda: _by(rsa_key(), hashed=hashes.SHA3_256()),
    "critical policies": lambda: _critical(POLICIES),
    "critical inhibitAnyPolicy": lambda: _critical(x509.InhibitAnyPolicy(0)),
    "policies are demanded, and shared": lambda: Case(
        signer_of(DEMANDING, further=[(POLICIES, False)]),
        bundled=[DEMANDING], path=[DEMANDING, ROOT],
    ),
    "policies are demanded, and any will do": lambda: Case(
        signer_of(DEMANDING, further=[(ANY_POLICY, False)]),
        bundled=[DEMANDING], path=[DEMANDING, ROOT],
    ),
    "names within limits": lambda: Case(
        signer_of(ACME_MIDDLE, name_of("Acme", "authority")),
        bundled=[ACME_MIDDLE], path=[ACME_MIDDLE, ROOT],
    ),
    "limits to names of another kind": lambda: _critical(DNS_ONLY),
    "strings that are none, everywhere": lambda: Case(
        PRINTABLE_SIGNER, roots=[PRINTABLE_ROOT], bundled=[PRINTABLE_MIDDLE],
        path=[PRINTABLE_MIDDLE, PRINTABLE_ROOT],
    ),
    "an old intermediate that is signed with SHA-1": lambda: Case(
        signer_of(OLD_MIDDLE), [OLD_MIDDLE], [OLD_ROOT], path=[OLD_MIDDLE, OLD_ROOT]
    ),
    "a root of version 1": lambda: Case(
        SIGNER, bundled=[MIDDLE], roots=[VERSION_1], path=[MIDDLE, VERSION_1]
    ),
    "a name that is written as another kind of string": lambda: Case(
        SIGNER, bundled=[OTHER_STRING], path=[OTHER_STRING, ROOT]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_a_lawful_path_is_found_whoever_brings_its_certificates(case: str) -> None:
    good = GOOD[case]()
    report, against = good.judged()
    assert report.sound, report.problems
    assert against == ""
    wanted = [one.der for one in (good.signer, *good.path)]
    assert [one.der for one in report.path] == wanted
    assert report.root == wanted[-1]


# --- what is not ----------------------------------------------------------------------------------


def _unlawful(middle: Holder, says: str = "", **how: Any) -> Case:
    return Case(signer_of(middle), bundled=[middle], says=says, **how)


def _forged_by(signer: Holder) -> Case:
    """Return the case of somebody with an authority's own key who plays issuer."""
    made = signer_of(Holder(signer.key, signer.certificate), "forged")
    return Case(made, carried=[signer, MIDDLE])


SELF_MADE = issuer_of("middle", Holder(new_key(), ROOT.certificate))
SHORT = issuer_of("short", ROOT, path_length=0)
BELOW_SHORT = issuer_of("below short", SHORT)
OUTSIDE = signer_of(ACME_MIDDLE, name_of("Evil", "authority"))
NO_ACME_MIDDLE = below(further=[(NOT_ACME, True)])
DNS_MIDDLE = below(further=[(DNS_ONLY, True)])
A_DNS_NAME = x509.SubjectAlternativeName([x509.DNSName("a.example.org")])
TLS = [ExtendedKeyUsageOID.SERVER_AUTH]

BAD: dict[str, Callable[[], Case]] = {
    "nobody brings the intermediate": lambda: Case(
        SIGNER, says="no certificate of CN=middle is at hand"
    ),
    "another root": lambda: Case(SIGNER, [MIDDLE, ROOT], [OTHER], says="CN=root"),
    "a root of the same name": lambda: Case(SIGNER, [MIDDLE, ROOT], [issuer_of("root")]),
    "cross-signed, neither root pinned": lambda: Case(
        G4_SIGNER, [STAMPING, G4_UNDER_OTHER, G4], [ROOT]
    ),
    "the carried root is not pinned": lambda: Case(signer_of(STRANGER), [STRANGER]),
    "the intermediate is self-made": lambda: Case(signer_of(SELF_MADE), [SELF_MADE]),
    "the intermediate is self-made and bundled": lambda: _unlawful(SELF_MADE),
    "the signer names an issuer that never signed it": lambda: Case(
        signer_of(Holder(new_key(), MIDDLE.certificate)), [MIDDLE]
    ),
    "the intermediate was expired": lambda: _unlawful(below(ends=STAMPED_AT - SECOND)),
    "the intermediate was not in force yet": lambda: _unlawful(below(starts=STAMPED_AT + SECOND)),
    "the root was expired": lambda: Case(
        SIGNER, [MIDDLE], [issuer_of("root", key=ROOT.key, ends=STAMPED_AT - SECOND)]
    ),
    "the signer was expired": lambda: Case(
        signer_of(MIDDLE, ends=STAMPED_AT - SECOND), [MIDDLE]
    ),
    "the intermediate is no authority": lambda: _unlawful(below(authority=False)),
    "the intermediate says nothing of it": lambda: _unlawful(below(authority=None)),
    "the intermediate may not sign certificates": lambda: _unlawful(
        below(usage=key_usage(signs=True, certifies=False)), "keyCertSign"
    ),
    "the intermediate is for web servers": lambda: _unlawful(
        below(purposes=TLS), "for other purposes", openssl_takes_it=True
    ),
    "another signer plays issuer": lambda: _forged_by(SIGNER),
    "the path is too long": lambda: Case(
        signer_of(BELOW_SHORT), [BELOW_SHORT, SHORT], says="path length"
    ),
    "the path is too long, by hand": lambda: Case(
        signer_of(BELOW_SHORT, further=[(POLICIES, True)]), [BELOW_SHORT, SHORT], says="shorter"
    ),
    "the root is a signer's certificate": lambda: Case(
        SIGNER, roots=[ROOT, signer_of(None, "alone")], says="no certificate of CN=middle"
    ),
    "names outside the limits": lambda: Case(OUTSIDE, bundled=[ACME_MIDDLE], says="limited"),
    "names outside limits that are not critical": lambda: _unlawful(
        below(further=[(IN_ACME, False)]), "limited"
    ),
    "names that are excluded": lambda: Case(
        signer_of(NO_ACME_MIDDLE, name_of("ACME", "x")), bundled=[NO_ACME_MIDDLE], says="limited"
    ),
    "a limited kind of name that is not judged": lambda: Case(
        signer_of(DNS_MIDDLE, further=[(A_DNS_NAME, False)]),
        bundled=[DNS_MIDDLE], says="of a kind", openssl_takes_it=True,
    ),
    "an unknown critical extension": lambda: _unlawful(
        below(further=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""), True)]),
        "1.2.3.4",
    ),
    "an unknown critical extension of the signer": lambda: Case(
        signer_of(
            ROOT,
            further=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""), True)],
        ),
        says="1.2.3.4",
    ),
    "policies are demanded": lambda: _unlawful(
        below(further=[DEMAND]), "policies are demanded", openssl_takes_it=True
    ),
    "the signer lacks the policy that is demanded": lambda: _unlawful(
        below(further=[DEMAND, (POLICIES, False)]), "policies are demanded", openssl_takes_it=True
    ),
    "the signer has another policy than is demanded": lambda: Case(
        signer_of(DEMANDING, further=[(OTHER_POLICIES, False)]),
        bundled=[DEMANDING], says="policies are demanded", openssl_takes_it=True,
    ),
    "any policy is inhibited": lambda: Case(
        signer_of(INHIBITING, further=[(ANY_POLICY, False)]),
        bundled=[INHIBITING], says="policies are demanded", openssl_takes_it=True,
    ),
    "RSA with 1024 bits": lambda: _unlawful(
        below(key=rsa_key(1024)), "too weak", openssl_takes_it=True
    ),
    "signed with SHA-1 when collisions could be made": lambda: Case(
        signer_of(NEW_MIDDLE), [NEW_MIDDLE], [OLD_ROOT], says="sha1", openssl_takes_it=True
    ),
    "signed with SHA-224": lambda: Case(
        signer_of(MIDDLE, hashed=hashes.SHA224()), [MIDDLE], says="sha224",
        openssl_takes_it=True,
    ),
    "expired, by hand": lambda: _unlawful(
        below(ends=STAMPED_AT - SECOND, further=[(POLICIES, True)]), "not in force"
    ),
    "no authority, by hand": lambda: _unlawful(
        below(authority=False, further=[(POLICIES, True)]), "no certificate authority"
    ),
    "self-made, by hand": lambda: _unlawful(
        issuer_of(
            "middle", Holder(new_key(), ROOT.certificate), further=[(POLICIES, True)]
        ), "is not signed by",
    ),
    "a string that is none, signed by a stranger": lambda: Case(
        with_other_parts(SIGNER, STRANGER, subject=printable_name("TSA_1")), [MIDDLE],
        says="is not signed by",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_no_other_path_is_taken(case: str) -> None:
    bad = BAD[case]()
    report, against = bad.judged()
    assert [one.name for one in report.findings if not one.passed] == [CHAIN]
    assert report.path == ()
    assert bad.says in report.problems
    assert bool(against) is not bad.openssl_takes_it


def test_sha1_under_a_certificate_is_told() -> None:
    report, _ = GOOD["an old intermediate that is signed with SHA-1"]().judged()
    details = [finding.detail for finding in report.findings if finding.name == CHAIN]
    assert details == ["up to CN=old root; signed with SHA-1: CN=old middle"]


def test_a_bundle_of_intermediates_alone_trusts_nobody() -> None:
    pinned = read_pinned(ROOT.pem + MIDDLE.pem + SIGNER.pem)
    assert [one.der for one in pinned.roots] == [ROOT.der]
    assert [one.der for one in pinned.intermediates] == [MIDDLE.der, SIGNER.der]


def test_a_certificate_of_its_roots_name_that_another_key_made_is_no_root() -> None:
    pinned = read_pinned(ROOT.pem + ROLLED.pem)
    assert [one.der for one in pinned.roots] == [ROOT.der]


@pytest.mark.parametrize("by_hand", [False, True])
def test_many_certificates_that_lead_in_circles_cost_no_time(*, by_hand: bool) -> None:
    first, second = new_key(), new_key()
    further = [(POLICIES, True)] if by_hand else []
    ends = (
        Holder(first, certificate("first", key=first).certificate),
        Holder(second, certificate("second", key=second).certificate),
    )
    circle = [
        issuer_of(name, issuer, key=key, further=further)
        for name, issuer, key in (("first", ends[1], first), ("second", ends[0], second))
        for _ in range(20)
    ]
    reply = Forgery(signer_of(ends[0]), chain=circle).reply(REQUEST)
    pinned = read_pinned(ROOT.pem + issuer_of("first").pem)
    start = monotonic()
    report = judge(reply, COMMITMENT, pinned, request=REQUEST)
    assert not report.sound
    assert monotonic() - start < 20
    many = Forgery(signer_of(ends[0]), chain=circle * 3)
    assert not judge(many.reply(REQUEST), COMMITMENT, pinned, request=REQUEST).sound


@cache
def made(case: str) -> tuple[bytes, bytes, Pinned]:
    """Return a reply, its token's content, and what is trusted; made once, and changed hundreds of times."""
    good = GOOD[case]()
    reply = Forgery(good.signer, chain=good.path).reply(REQUEST)
    content = read_reply(reply).token
    assert content is not None
    return reply, content.content, read_pinned(b"".join(root.pem for root in good.roots))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_no_changed_byte_of_any_of_them_ends_in_anything_but_a_report(
    case: str, place: float, change: int
) -> None:
    good, content, pinned = made(case)
    reply = bytearray(good)
    reply[int(place * len(reply))] ^= change
    report = judge(bytes(reply), COMMITMENT, pinned, request=REQUEST)
    if report.sound:
        assert report.token is not None
        assert report.token.content == content


# --- revocation along the path --------------------------------------------------------------------


def revoked(issuer: Holder, holder: Holder, *roots: Holder) -> TokenReport:
    """Judge the token of the cross-signed authority with one certificate on a list."""
    reply = Forgery(G4_SIGNER, chain=[STAMPING, G4_UNDER_OTHER]).reply(REQUEST)
    lists = new_list(issuer, (holder, STAMPED_AT, x509.ReasonFlags.key_compromise))
    pinned = replace(read_pinned(b"".join(one.pem for one in roots)), lists=[lists])
    return judge(reply, COMMITMENT, pinned, request=REQUEST)


def test_revocation_is_judged_along_the_path_that_was_found() -> None:
    for issuer, holder in ((STAMPING, G4_SIGNER), (G4, STAMPING), (OTHER, G4_UNDER_OTHER)):
        report = revoked(issuer, holder, OTHER)
        assert "revocation" in report.problems
        assert not report.sound


def test_revocation_is_judged_also_where_only_the_bundle_has_the_intermediate() -> None:
    reply = Forgery(SIGNER).reply(REQUEST)
    for issuer, holder in ((MIDDLE, SIGNER), (ROOT, MIDDLE)):
        lists = [new_list(issuer, (holder, STAMPED_AT, x509.ReasonFlags.key_compromise))]
        pinned = replace(read_pinned(ROOT.pem + MIDDLE.pem), lists=lists)
        report = judge(reply, COMMITMENT, pinned, request=REQUEST)
        assert "revocation" in report.problems
        assert not report.sound


def test_a_revoked_cross_certificate_does_not_matter_to_whoever_trusts_the_root_itself() -> None:
    report = revoked(OTHER, G4_UNDER_OTHER, OTHER, G4)
    assert report.sound, report.problems
    assert report.root == G4.der
    assert not revoked(G4, STAMPING, OTHER, G4).sound
