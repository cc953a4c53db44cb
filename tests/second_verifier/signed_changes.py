"""Changes that are signed again, so that nothing but the rules themselves can refuse them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from ipaddress import IPv4Address
from random import Random
from typing import Any

from asn1crypto import pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.second_verifier.der_trees import CHANGES, Tree, changed_tree, tree_of
from tests.second_verifier.stamped_receipts import REQUEST, Case
from tests.simulators.certificates import STAMPS, YEAR, issuer_of, name_of, rsa_key, signer_of
from tests.simulators.timestamps import STAMPED_AT, Forgery, Holder, Key, new_list
from vaultmesh.ledgers.rfc3161.core.certificates import MALFORMED
from vaultmesh.ledgers.rfc3161.core.evidence import entry_of_list, text_of

_DIGEST = tree_of(bytes.fromhex("06092a864886f70d010904"))


@dataclass(frozen=True)
class Authority:
    """An authority with its keys: a root, an intermediate, a signer, and a good reply."""

    root: Holder
    middle: Holder
    signer: Holder
    reply: bytes
    lists: tuple[bytes, ...]


def _sign(key: Key, content: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(content)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


_NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("a.example.org"),
        x509.RFC822Name("a@example.org"),
        x509.DirectoryName(name_of("Acme", "other")),
        x509.UniformResourceIdentifier("https://example.org"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        x509.IPAddress(IPv4Address("127.0.0.1")),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"),
    ]
)
_DIRECTORY = x509.SubjectAlternativeName([x509.DirectoryName(name_of("Acme", "other"))])
_ACME = [x509.DirectoryName(x509.Name(name_of("Acme", "x").rdns[:1]))]
_POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
_MAPPINGS = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), b"\x30\x00")


def _limits(*extensions: x509.ExtensionType) -> list[tuple[x509.ExtensionType, bool]]:
    return [(extension, True) for extension in extensions]


def _kinds() -> list[dict[str, Any]]:
    """Return what is special about each authority: keys of root, intermediate and signer, and extensions."""
    brainpool, koblitz = ec.BrainpoolP256R1(), ec.SECP256K1()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return [
        {},
        {"root": rsa_key(), "middle": rsa_key(), "signer": rsa_key()},
        {"root": ed25519.Ed25519PrivateKey.generate()},
        {"signer": ed25519.Ed25519PrivateKey.generate()},
        {"root": ec.generate_private_key(brainpool), "middle": ec.generate_private_key(koblitz)},
        {"signer": ec.generate_private_key(ec.BrainpoolP384R1())},
        {
            "root": ec.generate_private_key(ec.SECP384R1()),
            "signer": ec.generate_private_key(ec.SECP521R1()),
        },
        {"root": rsa_key(), "how": {"padded": pss}},
        {"root": rsa_key(), "how": {"hashed": hashes.SHA3_256()}},
        {
            "signer": ec.generate_private_key(ec.SECP192R1()),
            "how": {"starts": STAMPED_AT - 12 * YEAR},
        },
        {"further": [(_NAMES, False)]},
        {
            "further": [(_DIRECTORY, True), (_POLICIES, True)],
            "limits": _limits(x509.NameConstraints(_ACME, None)),
        },
        {"further": [(_NAMES, False)], "limits": _limits(x509.NameConstraints(None, _ACME))},
        {
            "further": [(_POLICIES, False)],
            "limits": _limits(x509.PolicyConstraints(0, None), _POLICIES),
        },
        {
            "further": [(_POLICIES, True)],
            "limits": _limits(x509.PolicyConstraints(0, None), _POLICIES, _MAPPINGS),
        },
    ]


@cache
def authorities() -> tuple[Authority, ...]:
    """Make authorities of several kinds, once."""
    made = []
    for kind in _kinds():
        how = kind.get("how", {})
        root = issuer_of("root", key=kind.get("root"))
        middle = issuer_of(
            "middle", root, purposes=STAMPS, path_length=1, key=kind.get("middle"),
            further=kind.get("limits", ()), **how,
        )  # fmt: skip
        named = name_of("Acme", "authority")
        signer = signer_of(middle, named, key=kind.get("signer"), further=kind.get("further", ()))
        lists = (
            new_list(middle, (signer, STAMPED_AT, x509.ReasonFlags.superseded), issued=STAMPED_AT),
            new_list(root, (signer_of(root), STAMPED_AT, None)),
        )
        ders = tuple(known.public_bytes(Encoding.DER) for known in lists)
        made.append(
            Authority(root, middle, signer, Forgery(signer, chain=[middle]).reply(REQUEST), ders)
        )
    return tuple(made)


def signed_change(seed: int) -> Case:
    """Return a receipt in which something is changed and signed again."""
    rng = Random(seed)
    authority = rng.choice(authorities())
    what = rng.choice(_PLACES)
    ders = {name: getattr(authority, name).der for name in ("root", "middle", "signer")}
    change = _changing(rng)
    if what in ders:
        by = {"root": authority.root, "middle": authority.root, "signer": authority.middle}[what]
        ders[what] = _signed_again(ders[what], by.key, change)
    reply = _stamped_again(
        authority, ders, change if what in ("info", "attributes") else None, what
    )
    lists = list(authority.lists[rng.randrange(2) :]) if rng.random() < 0.3 else []
    if what == "list":
        place = rng.randrange(2)
        key = (authority.middle, authority.root)[place].key
        lists = [_signed_again(authority.lists[place], key, change)]
    evidence = {
        "token": text_of(reply),
        "tokens": [],
        "request": text_of(REQUEST) if rng.random() < 0.5 else None,
        "certificates": [text_of(ders[name]) for name in ("middle", "root")],
        "revocation": [entry for der in lists if (entry := _entry(der))],
    }
    trusted = pem.armor("CERTIFICATE", ders["root"])
    return Case(f"{seed}: {what}", evidence, (trusted,) if rng.random() < 0.8 else ())


_PLACES = ("root", "middle", "signer", "signer", "middle", "info", "info", "attributes", "list")


def _entry(der: bytes) -> dict[str, Any]:
    try:
        return entry_of_list(x509.load_der_x509_crl(der))
    except MALFORMED:
        return {}


def _changing(rng: Random) -> Callable[[Tree], None]:
    times = rng.choice((1, 1, 2))

    def change(tree: Tree) -> None:
        for _ in range(times):
            if rng.random() < 0.5:
                changed_tree(rng, tree)
            else:
                rng.choice(CHANGES)(rng, rng.choice(list(tree.nodes())))

    return change


def _signed_again(der: bytes, key: Key, change: Callable[[Tree], None]) -> bytes:
    tree = tree_of(der)
    body, _, signature = tree.children
    change(body)
    signature.children, signature.before = [], b""
    signature.content = b"\0" + _sign(key, body.der())
    return tree.der()


def _stamped_again(
    authority: Authority, ders: dict[str, bytes], change: Callable[[Tree], None] | None, what: str
) -> bytes:
    """Return the reply with other certificates, and perhaps other contents, signed again."""
    tree = tree_of(authority.reply)
    signed = tree.children[1].children[1].children[0]
    _version, _digests, inner, certificates, signers = signed.children
    signer = signers.children[0]
    attributes = signer.children[3]
    certificates.children = [tree_of(ders[name]) for name in ("signer", "middle")]
    content = inner.children[1].children[0]
    if change is not None and what == "info":
        change(content.children[0])
    digest = sha256(content.before + b"".join(child.der() for child in content.children)).digest()
    old, new = sha256(authority.signer.der).digest(), sha256(ders["signer"]).digest()
    for attribute in attributes.children:
        if attribute.children[0] == _DIGEST:
            attribute.children[1].children = [Tree(0, 0, 4, digest)]
        for node in attribute.nodes():
            if node.content == old:
                node.content = new
    if change is not None and what == "attributes":
        change(attributes)
    plain = attributes.copied()
    plain.class_, plain.tag, plain.length = 0, 17, ""
    signer.children[5] = Tree(0, 0, 4, _sign(authority.signer.key, plain.der()))
    return tree.der()
