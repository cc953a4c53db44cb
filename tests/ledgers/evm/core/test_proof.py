"""What a block's hash fixes about an anchor is proven, and nothing else passes: every change is refused."""

import dataclasses
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import rlp
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from tests.ledgers.evm.core.block import TOPIC, Anchored, nodes, trie_of
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.evm.core import proof as evm_proof
from vaultmesh.ledgers.evm.core.proof import BlockProof, Claim, proof_steps, verify_receipt_proof
from vaultmesh.ledgers.evm.core.trie import decode, index_key, proven_value

CLAIM, PROOF = Anchored().prove()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def refused(claim: Claim, proof: BlockProof) -> bool:
    try:
        verify_receipt_proof(claim, proof)
    except InvalidValue:
        return True
    return False


def first_failure(claim: Claim, proof: BlockProof) -> tuple[str, str]:
    """Return name and message of the first check that fails."""
    for name, step in proof_steps(claim, proof):
        try:
            step()
        except InvalidValue as error:
            return name, str(error)
    return "", ""


# --- what holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transactions", [1, 2, 16, 17, 127, 128, 129, 257, 600])
def test_an_anchor_is_proven_at_any_place_of_a_block(transactions: int) -> None:
    for index in sorted({0, transactions // 2, transactions - 1}):
        verify_receipt_proof(*Anchored(index=index, transactions=transactions).prove())


@pytest.mark.parametrize("later_fields", range(7))
def test_headers_of_every_fork_are_read(later_fields: int) -> None:
    verify_receipt_proof(*Anchored(later_fields=later_fields).prove())


def test_what_a_receipt_carries_is_read_as_it_was_written() -> None:
    assert BlockProof.read(PROOF.document()) == dataclasses.replace(
        PROOF,
        receipt_nodes=tuple(PROOF.receipt_nodes),
        transaction_nodes=tuple(PROOF.transaction_nodes),
    )


def test_the_topic_is_the_event_s() -> None:
    assert evm_proof.TOPIC == TOPIC


# --- every single-bit change ----------------------------------------------------------------------


def changes_of_bytes() -> Iterator[tuple[str, Claim, BlockProof]]:
    """Yield every single-bit change of header, transaction, and each hash and address of the claim."""
    for bit in range(8 * len(PROOF.header)):
        yield "header", CLAIM, dataclasses.replace(PROOF, header=flipped(PROOF.header, bit))
    fields = ("block_hash", "tx_hash", "raw_transaction", "contract", "batch_id", "commitment")
    for field in fields:
        value: bytes = getattr(CLAIM, field)
        for bit in range(8 * len(value)):
            changed: Any = {field: flipped(value, bit)}
            yield field, dataclasses.replace(CLAIM, **changed), PROOF


def test_every_bit_of_header_transaction_and_claim_counts() -> None:
    passed = [what for what, claim, proof in changes_of_bytes() if not refused(claim, proof)]
    assert passed == []


@pytest.mark.parametrize("field", ["receipt_nodes", "transaction_nodes"])
def test_every_bit_of_every_proof_node_counts(field: str) -> None:
    way: list[bytes] = getattr(PROOF, field)
    assert len(way) > 1
    for place, node in enumerate(way):
        for bit in range(8 * len(node)):
            changed: Any = {field: [*way[:place], flipped(node, bit), *way[place + 1 :]]}
            assert refused(CLAIM, dataclasses.replace(PROOF, **changed)), (place, bit)


@pytest.mark.parametrize("bit", range(12))
def test_every_bit_of_index_chain_number_and_time_counts(bit: int) -> None:
    mask = 1 << bit
    assert refused(CLAIM, dataclasses.replace(PROOF, tx_index=PROOF.tx_index ^ mask))
    assert refused(dataclasses.replace(CLAIM, chain_id=CLAIM.chain_id ^ mask), PROOF)
    assert refused(dataclasses.replace(CLAIM, block_number=CLAIM.block_number ^ mask), PROOF)
    later = CLAIM.block_time + timedelta(seconds=mask)
    assert refused(dataclasses.replace(CLAIM, block_time=later), PROOF)


@given(st.data())
@settings(max_examples=300)
def test_every_character_of_the_evidence_counts(data: st.DataObject) -> None:
    document: dict[str, Any] = PROOF.document()
    key = data.draw(st.sampled_from(["header", "receiptProof", "transactionProof"]))
    texts = document[key] if isinstance(document[key], list) else [document[key]]
    place = data.draw(st.integers(0, len(texts) - 1))
    position = data.draw(st.integers(0, len(texts[place]) - 1))
    character = chr(ord(texts[place][position]) ^ 1 << data.draw(st.integers(0, 6)))
    texts[place] = texts[place][:position] + character + texts[place][position + 1 :]
    changed = document | {key: texts if isinstance(document[key], list) else texts[0]}
    with pytest.raises(InvalidValue):
        verify_receipt_proof(CLAIM, BlockProof.read(changed))


@pytest.mark.parametrize("field", ["receipt_nodes", "transaction_nodes"])
def test_nodes_are_neither_missing_nor_surplus_nor_in_another_order(field: str) -> None:
    way: list[bytes] = list(getattr(PROOF, field))
    for wrong in ([], way[:-1], way[1:], [*way, way[-1]], way[::-1], [way[0], *way]):
        changed: Any = {field: wrong}
        assert refused(CLAIM, dataclasses.replace(PROOF, **changed))


# --- blocks that hold something else --------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchored", "name", "says"),
    [
        (Anchored(status=0), "transaction receipt", "reverted"),
        (Anchored(chain_id=1), "contract", "eip155:1"),
        (Anchored(to=b"\x12" * 20), "contract", "does not call"),
        (Anchored(logged_by=b"\x12" * 20), "root", "no log"),
        (Anchored(topics=[TOPIC, bytes(32), bytes(32)]), "root", "no log"),
        (Anchored(topics=[bytes(32), bytes(range(32)), bytes(32)]), "root", "no log"),
        (Anchored(topics=[TOPIC]), "root", "no log"),
        (Anchored(receipt_type=1), "transaction receipt", "type 1"),
    ],
)
def test_a_block_without_the_anchor_is_refused_by_name(
    anchored: Anchored, name: str, says: str
) -> None:
    failed, message = first_failure(*anchored.prove())
    assert (failed, says in message) == (name, True)


def test_the_receipt_of_another_transaction_does_not_pass() -> None:
    reverted = Anchored(status=0).receipt
    honest = Anchored()
    values = [rlp.encode([place, bytes(90)]) for place in range(20)]
    values[3], values[4] = reverted, honest.receipt
    receipts = trie_of(values)
    claim, proof = honest.prove()
    header: Any = rlp.decode(proof.header)
    header[5] = receipts.root_hash
    encoded = rlp.encode(header)
    claim = dataclasses.replace(claim, block_hash=keccak(encoded))
    for index in (3, 4):
        way = nodes(receipts, rlp.encode(index))
        changed = dataclasses.replace(proof, header=encoded, receipt_nodes=way)
        assert refused(claim, changed)


# --- the trie itself, against a library -----------------------------------------------------------


KEYS = st.binary(min_size=1, max_size=4)


@given(st.dictionaries(KEYS, st.binary(min_size=1, max_size=60), min_size=1, max_size=40), KEYS)
@settings(max_examples=200, deadline=None)
def test_a_trie_s_values_are_proven_as_the_library_does(
    values: dict[bytes, bytes], absent: bytes
) -> None:
    trie: Any = HexaryTrie({})
    for key, value in values.items():
        trie[key] = value
    for key, value in values.items():
        way = nodes(trie, key)
        assert proven_value(trie.root_hash, key, way, "it") == value
        decoded = [rlp.decode(node) for node in way]
        assert HexaryTrie.get_from_proof(trie.root_hash, key, decoded) == value
    if absent not in values:
        with pytest.raises(InvalidValue):
            proven_value(trie.root_hash, absent, nodes(trie, absent), "it")


@pytest.mark.parametrize(
    "node",
    [
        *(b"", b"text", [], [b""], [b"", b"", b""], [b"", b"x"], [b"\x40", b"x"], [b"\x21", b"x"]),
        *([[b"\x20"], b"x"], [b"\x20", b""], [b"\x20", [b"x"]], [b"\x00", b"\x11" * 32]),
        *([b""] * 17, [[b""] * 17] * 17),
    ],
)  # fmt: skip
def test_what_is_no_node_is_refused(node: Any) -> None:
    data = rlp.encode(node)
    with pytest.raises(InvalidValue):
        proven_value(keccak(data), b"\x01", [data], "it")


@pytest.mark.parametrize(
    "data", [b"", b"\x81\x05", b"\xc1", b"\xc0\x00", b"\xb8\x01a", b"\xf8\x00", b"\xc1" * 5_000]
)
def test_rlp_that_is_not_the_one_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue):
        decode(data, "it")


@pytest.fixture
def shallow_stack() -> Iterator[None]:
    """Give back the interpreter's usual limit, which the libraries for tests raise."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("shallow_stack")
@pytest.mark.parametrize("depth", [31, 300, 400, 450, 600, 900])
def test_nodes_nested_deeply_are_refused_as_wrong(depth: int) -> None:
    nested = b"\xc0"
    for _ in range(depth):
        nested = rlp.codec.length_prefix(len(nested), 0xC0) + nested
    data = rlp.codec.length_prefix(1 + len(nested), 0xC0) + b"\x11" + nested
    with pytest.raises(InvalidValue):
        proven_value(keccak(data), b"\x10", [data], "it")


@pytest.mark.usefixtures("shallow_stack")
@pytest.mark.parametrize(("lists", "is_read"), [(64, True), (65, False)])
def test_how_deep_lists_are_read_does_not_depend_on_a_machine_s_stack(
    lists: int, is_read: bool
) -> None:
    data = b""
    for _ in range(lists):
        data = rlp.codec.length_prefix(len(data), 0xC0) + data
    if is_read:
        decode(data, "it")
        return
    with pytest.raises(InvalidValue, match="64 lists"):
        decode(data, "it")


def test_a_huge_item_is_not_looked_at() -> None:
    with pytest.raises(InvalidValue, match="bytes"):
        decode(bytes(2_000_000), "it")


@pytest.mark.parametrize("index", [0, 1, 127, 128, 255, 256, 70_000])
def test_keys_of_tries_are_rlp_of_the_index(index: int) -> None:
    assert rlp.decode(index_key(index), rlp.sedes.big_endian_int) == index


@pytest.mark.parametrize(
    "change",
    [
        {"header": None},
        {"header": "0xAB"},
        {"header": "ab"},
        {"header": "0xabc"},
        {"transactionIndex": None},
        {"transactionIndex": True},
        {"transactionIndex": -1},
        {"receiptProof": "0x00"},
        {"receiptProof": [1]},
        {"transactionProof": ["0x00"] * 65},
    ],
)
def test_malformed_evidence_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(change))):
        BlockProof.read(PROOF.document() | change)
