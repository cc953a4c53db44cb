"""Changes what is hashed, and hashes all that depends on it anew: so verifiers look at the changed bytes themselves.

A Bitcoin block of the private network is mined again, which takes two tries on average.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import rlp
from eth_utils.crypto import keccak

from tests.ledgers.evm.core.block import trie_of
from tests.second_verifier.real_proofs import Document, scheme_of, set_network
from vaultmesh.ledgers.bitcoin.core.blocks import Network

Item = Any
_BITS = bytes.fromhex("ffff7f20")
_OTHER_BITS = (
    _BITS,
    *map(bytes.fromhex, ("ffff0021", "ffff7f22", "00008020", "ffffff20", "ffff7f1f", "ffff7f00")),
)
"""Targets that are harder, or make no sense."""


def evm_rebuilt(rng: Random, document: Document) -> Document:
    """Change a node, the header or the transaction of an EVM anchor, and name it anew by its hash."""
    anchor = _anchor(rng, document, "eip155")
    if anchor is None or "header" not in anchor["evidence"]["evm"]:
        return document
    evidence = anchor["evidence"]["evm"]
    header = _bytes(evidence["header"])
    for key in rng.sample(("receiptProof", "transactionProof", "header"), rng.choice((1, 1, 2))):
        if key == "header":
            header = _changed_rlp(rng, header)
            continue
        nodes = [_bytes(node) for node in evidence[key]]
        header = _renamed(
            nodes, header, rng.randrange(len(nodes)), lambda node: _changed_node(rng, node)
        )
        evidence[key] = [f"0x{node.hex()}" for node in nodes]
        if key == "transactionProof":
            _take_over_transaction(anchor, nodes[-1])
    evidence["header"] = f"0x{header.hex()}"
    evidence["blockHash"] = f"0x{keccak(header).hex()}"
    return document


def other_trie(rng: Random, document: Document) -> Document:
    """Put the receipt into a trie with nodes so small that they lie in their parents; or list or name these otherwise."""
    anchor = _anchor(rng, document, "eip155")
    if anchor is None or "header" not in anchor["evidence"]["evm"]:
        return document
    evidence = anchor["evidence"]["evm"]
    index = min(evidence["transactionIndex"], 30)
    kind = _bytes(evidence["rawTransaction"])[:1]
    value = kind + rlp.encode([1, b"", bytes(rng.choice((0, 0, 12, 60))), []])
    values = [kind + rlp.encode([1, b"", b"", []])] * rng.choice((1, 2, 20, 40))
    trie = trie_of([*values[:index], value, *values[index + 1 :]])
    steps = [_listed(list(node)) for node in trie.get_proof(rlp.encode(index))]
    listed, root = _listed_as(steps, rng.choice(("right", "right", "all", "named", "inline")))
    header = _listed(rlp.decode(_bytes(evidence["header"])))
    header[5] = root
    evidence["header"] = f"0x{rlp.encode(header).hex()}"
    evidence["blockHash"] = f"0x{keccak(rlp.encode(header)).hex()}"
    evidence["receiptProof"] = [f"0x{node.hex()}" for node in listed]
    evidence["transactionIndex"] = index
    return document


def _listed_as(steps: list[Item], form: str) -> tuple[list[bytes], bytes]:
    """Return the nodes of a proof in some form, and the root that they lead to.

    `right`: as all do. `all`: also those that lie in their parents. `named`: by hash, however small. `inline`: in
    their parents, however large.
    """
    encoded = [bytes(rlp.encode(step)) for step in steps]
    if form in ("named", "inline") and len(steps) > 1:
        last = steps[-1]
        small, large = last, keccak(encoded[-1])
        steps[-2] = [
            (large if form == "named" else small) if item in (small, large) else item
            for item in steps[-2]
        ]
        for place in range(len(steps) - 2, -1, -1):
            before, encoded[place] = encoded[place], bytes(rlp.encode(steps[place]))
            if place:
                steps[place - 1] = [
                    keccak(encoded[place]) if item == keccak(before) else item
                    for item in steps[place - 1]
                ]
        encoded = encoded[:-1] if form == "inline" else encoded
    if form == "right":
        encoded = [node for place, node in enumerate(encoded) if not place or len(node) >= 32]
    return encoded, keccak(encoded[0])


def _renamed(
    nodes: list[bytes], header: bytes, place: int, change: Callable[[bytes], bytes]
) -> bytes:
    """Change one node, and its hash in its parent, and so on up to the header, which is returned."""
    changed = change(nodes[place])
    while True:
        before, after = keccak(nodes[place]), keccak(changed)
        nodes[place] = changed
        if place == 0:
            return header.replace(before, after)
        place -= 1
        changed = nodes[place].replace(before, after)


def _changed_node(rng: Random, node: bytes) -> bytes:
    """Change the value that a leaf holds, or anything in a node."""
    try:
        path, value = rlp.decode(node)
    except (rlp.exceptions.RLPException, ValueError):
        return _changed_rlp(rng, node)
    if rng.random() < 0.7 and isinstance(value, bytes) and value:
        kind, inner = (value[:1], value[1:]) if value[0] < 0xC0 else (b"", value)
        if rng.random() < 0.1:
            kind = rng.choice(
                (
                    b"",
                    b"\x00",
                    b"\x01",
                    b"\x02",
                    b"\x03",
                    b"\x04",
                    b"\x05",
                    b"\x7e",
                    b"\x7b",
                    b"\xbf",
                )
            )
        return bytes(rlp.encode([path, kind + _changed_rlp(rng, inner)]))
    return _changed_rlp(rng, node)


def _changed_rlp(rng: Random, data: bytes) -> bytes:
    """Change items and encode them, or change the encoding itself."""
    if rng.random() < 0.25:
        place = rng.randrange(min(len(data), 6)) if rng.random() < 0.6 else rng.randrange(len(data))
        return (
            data[:place]
            + bytes([rng.choice((data[place] ^ 1, 0, 0x80, 0x81, 0xB8, 0xC0, 0xF8, 0xFF))])
            + data[place + 1 :]
        )
    if rng.random() < 0.1:
        return data + rng.choice((b"\0", b"\x80", b"\xc0")) if rng.random() < 0.5 else data[:-1]
    try:
        items: Item = rlp.decode(data)
    except rlp.exceptions.RLPException:
        return data
    if rng.random() < 0.2:
        return _written_otherwise(rng, items)
    return bytes(rlp.encode(_changed_item(rng, _listed(items))))


def _written_otherwise(rng: Random, items: Item) -> bytes:
    """Encode it, one item of it in a way that means the same and is not the only one."""
    chosen = rng.randrange(40)
    count = 0

    def encoded(item: Item) -> bytes:
        nonlocal count
        count += 1
        is_odd = count == chosen
        is_bytes = isinstance(item, bytes)
        payload = item if is_bytes else b"".join(encoded(inner) for inner in item)
        if not is_odd:
            return (
                bytes(rlp.encode(item))
                if is_bytes
                else rlp.codec.length_prefix(len(payload), 0xC0) + payload
            )
        width = rng.choice((1, 2, 3))
        if is_bytes and len(payload) == 1 and payload[0] < 0x80:
            return b"\x81" + payload
        if len(payload) > 255 and width == 1:
            width = 3
        return (
            bytes([(0xB7 if is_bytes else 0xF7) + width])
            + len(payload).to_bytes(width, "big")
            + payload
        )

    return encoded(items)


def _changed_item(rng: Random, item: Item) -> Item:
    if isinstance(item, list) and item and rng.random() < 0.9:
        place = rng.randrange(len(item))
        match rng.randrange(9):
            case 0:
                return item[:place] + item[place + 1 :]
            case 1:
                return [*item[: place + 1], *item[place:]]
            case 2:
                return item[:place]
            case _:
                item[place] = _changed_item(rng, item[place])
                return item
    if isinstance(item, bytes) and item and rng.random() < 0.5:
        place = rng.randrange(len(item))
        return item[:place] + bytes([rng.randrange(256)]) + item[place + 1 :]
    nested: Item = []
    for _ in range(rng.choice((0, 1, 2, 20, 55, 58, 60, 61, 62, 63, 64, 65, 66, 120))):
        nested = [nested]
    return rng.choice(
        (b"", b"\0", b"\x01", b"\0\x01", bytes(32), bytes(33), b"\xff" * 33, [], nested, nested)
    )


def _take_over_transaction(anchor: Document, node: bytes) -> None:
    """Claim whatever the block holds now."""
    try:
        value = rlp.decode(node)[-1]
    except (rlp.exceptions.RLPException, IndexError):
        return
    if isinstance(value, bytes):
        anchor["evidence"]["evm"]["rawTransaction"] = f"0x{value.hex()}"
        anchor["txRef"] = anchor["txHash"] = f"0x{keccak(value).hex()}"


def _listed(item: Item) -> Item:
    return item if isinstance(item, bytes) else [_listed(inner) for inner in item]


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


# --- Bitcoin -----------------------------------------------------------------------------------


def btc_rebuilt(rng: Random, document: Document) -> Document:
    """Change the transaction, the first one or the headers of a Bitcoin anchor, and mine its blocks anew."""
    anchor = _anchor(rng, document, "btc")
    if anchor is None:
        return document
    evidence = anchor["evidence"]["btc"]
    if len(evidence["merkleBranch"]) != 1 or evidence["position"] != 1:
        return document
    if rng.random() < 0.1:
        evidence["merkleBranch"] = [rng.choice((evidence["coinbaseBranch"][0], "33" * 32))]
        return document
    if rng.random() < 0.2:
        _move_network(rng, anchor)
    raw, coinbase, bits = _changed_block(rng, evidence)
    own, first = _double(_bare(raw)), _double(coinbase)
    evidence["rawTransaction"], evidence["coinbase"] = raw.hex(), coinbase.hex()
    evidence["merkleBranch"], evidence["coinbaseBranch"] = [first[::-1].hex()], [own[::-1].hex()]
    anchor["txRef"] = anchor["txHash"] = own[::-1].hex()
    old = bytes.fromhex(evidence["header"])
    later = [bytes.fromhex(text) for text in evidence["headers"]]
    chain = [_mined(rng, old[:36] + _double(first + own) + old[68:72] + bits)]
    for link in later:
        chain.append(_mined(rng, link[:4] + _double(chain[-1]) + link[36:72] + _BITS))
    evidence["header"], evidence["headers"] = chain[0].hex(), [link.hex() for link in chain[1:]]
    evidence["blockHash"] = _double(chain[0])[::-1].hex()
    return document


def _changed_block(rng: Random, evidence: Document) -> tuple[bytes, bytes, bytes]:
    """Return the transaction, the first one and the target; one of them is changed."""
    raw, coinbase = bytes.fromhex(evidence["rawTransaction"]), bytes.fromhex(evidence["coinbase"])
    match rng.randrange(6):
        case 0 | 1:
            return _changed_transaction(rng, raw), coinbase, _BITS
        case 2:
            return raw, _changed_transaction(rng, coinbase), _BITS
        case 3:
            return raw, coinbase, rng.choice(_OTHER_BITS)
        case 4:
            return (
                rng.choice((_of_64_bytes(rng), _bare(raw), _without_witness(raw))),
                coinbase,
                _BITS,
            )
        case _:
            return raw, coinbase, _BITS


def _of_64_bytes(rng: Random) -> bytes:
    """Return a transaction as long as a pair of hashes."""
    spent = rng.randbytes(36) + b"\0" + bytes(4)
    return b"\2\0\0\0\1" + spent + b"\1" + bytes(8) + b"\4" + rng.randbytes(4) + bytes(4)


def _without_witness(raw: bytes) -> bytes:
    """Announce a witness and have none."""
    bare = _bare(raw)
    return bare[:4] + b"\0\1" + bare[4:-4] + bytes(bare[4]) + bare[-4:]


def _move_network(rng: Random, anchor: Document) -> None:
    """Say of a private chain that it is another one."""
    network = rng.choice(list(Network))
    anchor["evidence"]["btc"]["network"] = network.value
    anchor["evidence"]["btc"]["genesis"] = rng.choice(list(network.geneses.values()))
    set_network(anchor, f"btc:{network.value}")


def _changed_transaction(rng: Random, raw: bytes) -> bytes:
    """Change bytes where counts, lengths, amounts and scripts are likely to be."""
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(changed))
        match rng.randrange(6):
            case 5:
                changed[place : place + 1] = bytes([0xFD, changed[place], 0])
            case 0:
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place] = rng.choice((0, 1, 0x22, 0x24, 0x6A, 0xFC, 0xFD, 0xFE, 0xFF))
            case 2:
                start = raw.find(b"\x6a\x22RV")
                changed[max(0, start - rng.randrange(12))] ^= rng.choice((1, 2, 0x80))
            case 3:
                changed[place:place] = bytes(rng.choice((1, 2, 8)))
            case _:
                del changed[place : place + rng.choice((1, 2, 8))]
    return bytes(changed)


def _bare(raw: bytes) -> bytes:
    """Return the bytes without witness of a transaction of one input and small counts; else all of them."""
    if raw[4:6] != b"\0\1":
        return raw
    place = 6
    try:
        inputs, place = raw[place], place + 1
        for _ in range(inputs):
            place += 36 + 1 + raw[place + 36] + 4
        outputs, place = raw[place], place + 1
        for _ in range(outputs):
            place += 8 + 1 + raw[place + 8]
    except IndexError:
        return raw
    return raw[:4] + raw[6:place] + raw[-4:]


def _mined(rng: Random, start: bytes) -> bytes:
    """Find a nonce for the private network's easy target; seldom one that does not meet it."""
    if rng.random() < 0.02:
        return start + rng.randbytes(4)
    for nonce in range(64):
        header = start + nonce.to_bytes(4, "little")
        if _double(header)[31] < 0x7F:
            return header
    return start + bytes(4)


def _double(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _anchor(rng: Random, document: Document, scheme: str) -> Document | None:
    anchors: Sequence[Document] = document.get("anchors") or [document]
    fitting = [anchor for anchor in anchors if scheme_of(anchor) == scheme]
    return rng.choice(fitting) if fitting else None


def untouched(rng: Random, document: Document) -> Document:
    """Real proofs must be proven by both."""
    return copy.deepcopy(document)
