"""Blocks of chains with forms of their own are rebuilt, and anchors in them proven (E15)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import rlp
from eth_utils.crypto import keccak
from pydantic import JsonValue

from tests.ledgers.evm import public_blocks
from tests.ledgers.evm.chain import Chain, Submitter
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.ledgers.evm.public_blocks import Shown
from tests.ledgers.evm.test_block_proof import KEYS, evidence_of, final, proven_by_the_library
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import WatchedRound
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.receipts.receipt import PROOF_MISSING
from vaultmesh.ledgers.evm.block_encoding import (
    encode_header,
    encode_receipt,
    encode_transaction,
    keccak_hex,
)
from vaultmesh.ledgers.evm.block_proof import portable_proof, trie_of
from vaultmesh.ledgers.evm.core.proof import BlockProof, Claim, verify_receipt_proof
from vaultmesh.ledgers.evm.outcome import OwnCall
from vaultmesh.ledgers.evm.providers import Providers
from vaultmesh.ledgers.evm.signer import signer_of

HEADERS = (
    *("OP_STACK_274", "MEGAETH_11603812", "BASE_50543461", "ARBITRUM_58989000"),
    *("PRAGUE_191", "AMSTERDAM_192"),
)
TRANSACTIONS = ("MEGAETH_DEPOSIT", "CELO_CIP64", "ARBITRUM_INTERNAL")


def public(name: str) -> Shown:
    shown: Shown = getattr(public_blocks, name)
    return shown


@pytest.mark.parametrize("name", HEADERS)
def test_a_public_header_hashes_to_its_block_s_hash(name: str) -> None:
    assert keccak_hex(encode_header(public(name))) == public(name)["hash"]


@pytest.mark.parametrize("name", TRANSACTIONS)
def test_a_public_transaction_hashes_to_its_hash(name: str) -> None:
    assert keccak_hex(encode_transaction(public(name))) == public(name)["hash"]


def test_a_deposit_and_its_receipt_give_the_roots_of_their_block() -> None:
    block: Any = public_blocks.OP_STACK_274
    (deposit,) = block["transactions"]
    receipt = public_blocks.OP_STACK_274_RECEIPT
    assert root_of([encode_transaction(deposit)]) == block["transactionsRoot"]
    assert root_of([encode_receipt(receipt)]) == block["receiptsRoot"]


def test_who_pays_in_another_currency_signs_as_everybody_does() -> None:
    signer = signer_of(encode_transaction(public_blocks.CELO_CIP64))
    assert (signer.account, signer.chain_id, signer.nonce) == (
        public_blocks.CELO_CIP64["from"],
        42220,
        0x705,
    )


def test_a_receipt_of_celo_has_a_fifth_item_since_it_names_a_base_fee() -> None:
    shown = public_blocks.CELO_CIP64_RECEIPT
    items: Any = rlp.decode(encode_receipt(shown)[1:])
    assert items[4:] == [bytes.fromhex("01adff4f03")]
    earlier = {name: value for name, value in shown.items() if name != "baseFee"}
    items = rlp.decode(encode_receipt(earlier)[1:])
    assert len(items) == 4


def address(digit: str) -> str:
    return "0x" + digit * 40


ARBITRUM: Shown = {
    "chainId": "0xa4b1",
    "requestId": "0x" + "01" * 32,
    "ticketId": "0x" + "02" * 32,
    "from": address("3"),
    "to": address("4"),
    "refundTo": address("5"),
    "beneficiary": address("6"),
    "retryTo": None,
    "retryData": "0x07",
    "retryValue": "0x8",
    "nonce": "0x9",
    "maxFeePerGas": "0xa",
    "gas": "0xb",
    "value": "0x0",
    "input": "0x0d",
    "l1BaseFee": "0xe",
    "depositValue": "0xf",
    "maxSubmissionFee": "0x10",
    "maxRefund": "0x11",
    "submissionFeeRefund": "0x12",
}
CHAIN, FROM, TO = b"\xa4\xb1", b"\x33" * 20, b"\x44" * 20
REQUEST, TICKET, REFUND, HEIR = b"\x01" * 32, b"\x02" * 32, b"\x55" * 20, b"\x66" * 20


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        ("0x64", [CHAIN, REQUEST, FROM, TO, b""]),
        ("0x65", [CHAIN, FROM, b"\x09", b"\x0a", b"\x0b", TO, b"", b"\x0d"]),
        ("0x66", [CHAIN, REQUEST, FROM, b"\x0a", b"\x0b", TO, b"", b"\x0d"]),
        (
            "0x68",
            [
                *(CHAIN, b"\x09", FROM, b"\x0a", b"\x0b", TO, b"", b"\x0d"),
                *(TICKET, REFUND, b"\x11", b"\x12"),
            ],
        ),
        (
            "0x69",
            [
                *(CHAIN, REQUEST, FROM, b"\x0e", b"\x0f", b"\x0a", b"\x0b", b"", b"\x08"),
                *(HEIR, b"\x10", REFUND, b"\x07"),
            ],
        ),
    ],
)
def test_transactions_of_arbitrum_have_the_items_of_nitro(kind: str, items: list[bytes]) -> None:
    """In the order of the structures in `core/types/arb_types.go` of Nitro's go-ethereum."""
    encoded = encode_transaction(ARBITRUM | {"type": kind})
    assert encoded[0] == int(kind, 16)
    assert rlp.decode(encoded[1:]) == items


# --- whole blocks ------------------------------------------------------------------------------------------------


def root_of(values: Sequence[bytes]) -> str:
    return "0x" + trie_of(values).root_hash.hex()


INTERNAL_RECEIPT: Shown = {
    "type": "0x6a",
    "status": "0x1",
    "cumulativeGasUsed": "0x0",
    "logsBloom": public_blocks.NO_BLOOM,
    "logs": [],
}
DEPOSIT_RECEIPT = public_blocks.OP_STACK_274_RECEIPT | {"depositNonce": "0xfffff"}
NEIGHBOURS = {
    "arbitrum": (public_blocks.ARBITRUM_INTERNAL, INTERNAL_RECEIPT),
    "celo": (public_blocks.CELO_CIP64, public_blocks.CELO_CIP64_RECEIPT),
    "op stack": (public_blocks.MEGAETH_DEPOSIT, DEPOSIT_RECEIPT),
}
LATER_FIELDS = {"requestsHash": public_blocks.NO_REQUESTS, "extraData": "0x" + "01" * 17}
SYNC_HASH = "0x" + keccak(b"matic-bor-receipt-").hex()
STATE_SYNC: Shown = {
    "type": "0x0",
    "hash": SYNC_HASH,
    "from": address("0"),
    "to": address("0"),
    "nonce": "0x0",
    "gas": "0x0",
    "gasPrice": "0x0",
    "value": "0x0",
    "input": "0x",
    "v": "0x0",
    "r": "0x0",
    "s": "0x0",
}
"""What bor shows at the end of a block before PIP-74, and what is in no trie: 0xPolygon/bor#93."""
SYNC_RECEIPT: Shown = {
    "type": "0x0",
    "transactionHash": SYNC_HASH,
    "status": "0x1",
    "cumulativeGasUsed": "0x0",
    "logsBloom": public_blocks.NO_BLOOM,
    "logs": [],
}


class Moved:
    """A block with our transaction behind one of a chain with own forms, as its node would show it."""

    def __init__(self, block: Any, receipts: Any, before: tuple[Shown, Shown]) -> None:
        transaction, receipt = before
        receipts = [receipt | {"transactionHash": transaction["hash"]}, *receipts]
        transactions = [transaction, *block["transactions"]]
        block = {
            **block,
            **LATER_FIELDS,
            "transactions": transactions,
            "transactionsRoot": root_of([encode_transaction(each) for each in transactions]),
            "receiptsRoot": root_of([encode_receipt(each) for each in receipts]),
        }
        self.hash = keccak_hex(encode_header(block))
        self.block: Shown = {**block, "hash": self.hash}
        self.receipts: list[JsonValue] = [{**each, "blockHash": self.hash} for each in receipts]

    def claim(self, watched: WatchedRound, raw: str, chain_id: int) -> Claim:
        call = OwnCall.of(watched, "")
        return Claim(
            chain_id=chain_id,
            block_hash=bytes.fromhex(self.hash[2:]),
            block_number=int(str(self.block["number"]), 16),
            block_time=datetime.fromtimestamp(int(str(self.block["timestamp"]), 16), UTC),
            tx_hash=keccak(bytes.fromhex(raw[2:])),
            raw_transaction=bytes.fromhex(raw[2:]),
            contract=bytes.fromhex(call.contract[2:]),
            batch_id=call.batch_id,
            commitment=call.commitment,
        )


@pytest.mark.evm
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
async def test_an_anchor_is_proven_beside_transactions_of_a_chain_s_own_without_their_bytes(
    chain: Chain, proxy: LyingProvider, submitter: Submitter, neighbour: str
) -> None:
    watched, view = await final(chain, submitter, 1)
    assert view.block is not None
    shown = await chain.rpc("eth_getBlockByNumber", hex(view.block.number), True)
    receipts = await chain.rpc("eth_getBlockReceipts", hex(view.block.number))
    moved = Moved(shown, receipts, NEIGHBOURS[neighbour])
    proxy.forge("eth_getBlockByHash", lambda _, __: moved.block)
    proxy.forge("eth_getBlockReceipts", lambda _, __: moved.receipts)
    proxy.refuse("eth_getRawTransactionByHash", "method not found", code=-32601)
    providers = Providers([proxy.url], 1)
    raw = submitter.raw_of(watched, view.tx_ref)
    claim = moved.claim(watched, raw, chain.chain_id)
    evidence = await portable_proof(providers, claim)
    await providers.close()
    verify_receipt_proof(claim, BlockProof.read(evidence))
    assert evidence["transactionIndex"] in (1, 2)
    proven_by_the_library({**evidence, "blockHash": moved.hash, "rawTransaction": raw})


def show_state_sync(proxy: LyingProvider, *, receipt: bool = True, places: int = 1) -> None:
    """Have a node show entries that are in no trie at the end of each block."""
    more: list[JsonValue] = [STATE_SYNC] * places

    def block_with(_: JsonValue, block: Any) -> JsonValue:
        return {**block, "transactions": [*block["transactions"], *more]}

    def receipts_with(_: JsonValue, receipts: Any) -> JsonValue:
        sync: JsonValue = {**SYNC_RECEIPT, "blockHash": receipts[0]["blockHash"]}
        return [*receipts, *([sync] * places if receipt else [])]

    proxy.forge("eth_getBlockByHash", block_with)
    proxy.forge("eth_getBlockReceipts", receipts_with)


@pytest.mark.evm
@pytest.mark.parametrize("receipt", [True, False])
@pytest.mark.parametrize("raw", ["null", "missing", "rlp"])
async def test_a_block_that_ends_with_a_state_sync_is_proven_without_it(
    chain: Chain,
    proxy: LyingProvider,
    make_submitter: MakeSubmitter,
    *,
    receipt: bool,
    raw: str,
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, view = await final(chain, submitter, 2)
    known = await evidence_of(submitter, watched, view)
    show_state_sync(proxy, receipt=receipt)
    if raw == "rlp":
        data = "0x" + encode_transaction(STATE_SYNC).hex()
        proxy.forge("eth_getRawTransactionByHash", lambda _, __: data)
    if raw == "missing":
        proxy.refuse("eth_getRawTransactionByHash", "method not found", code=-32601)
    assert await evidence_of(submitter, watched, view) == known
    proven_by_the_library(known.scheme)


@pytest.mark.evm
async def test_nothing_but_the_end_of_a_block_is_left_out(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, view = await final(chain, submitter, 2)

    def hide_first(_: JsonValue, block: Any) -> JsonValue:
        first = {**block["transactions"][0], "type": "0x55"}
        return {**block, "transactions": [first, *block["transactions"][1:]]}

    proxy.forge("eth_getBlockByHash", hide_first)
    proxy.refuse("eth_getRawTransactionByHash", "method not found", code=-32601)
    scheme = (await evidence_of(submitter, watched, view)).scheme
    assert not set(scheme) & KEYS
    assert "a transaction of type 0x55" in str(scheme[PROOF_MISSING])


@pytest.mark.evm
async def test_an_end_that_was_left_out_wrongly_proves_nothing(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    watched, view = await final(chain, submitter, 3)

    def hide_last(_: JsonValue, block: Any) -> JsonValue:
        last = {**block["transactions"][-1], "type": "0x55"}
        return {**block, "transactions": [*block["transactions"][:-1], last]}

    proxy.forge("eth_getBlockByHash", hide_last)
    proxy.refuse("eth_getRawTransactionByHash", "method not found", code=-32601)
    scheme = (await evidence_of(submitter, watched, view)).scheme
    assert not set(scheme) & KEYS
    reasons = ("do not give the root", "does not hold the transaction")  # ours may be the last one
    assert any(reason in str(scheme[PROOF_MISSING]) for reason in reasons)


@pytest.mark.evm
async def test_a_fifth_item_of_another_value_is_not_proven(
    chain: Chain, submitter: Submitter
) -> None:
    watched, view = await final(chain, submitter)
    assert view.block is not None
    shown = await chain.rpc("eth_getBlockByNumber", hex(view.block.number), True)
    receipts = await chain.rpc("eth_getBlockReceipts", hex(view.block.number))
    moved = Moved(shown, receipts, NEIGHBOURS["celo"])
    claim = moved.claim(watched, submitter.raw_of(watched, view.tx_ref), chain.chain_id)
    proof = BlockProof.read(document_of(moved, encode_receipts(moved.receipts)))
    verify_receipt_proof(claim, proof)
    first = {**public_blocks.CELO_CIP64_RECEIPT, "baseFee": "0x1"}
    wrong = [encode_receipt(first), *encode_receipts(moved.receipts)[1:]]
    with pytest.raises(InvalidValue, match="another hash"):
        verify_receipt_proof(claim, BlockProof.read(document_of(moved, wrong)))


def encode_receipts(receipts: Sequence[Any]) -> list[bytes]:
    return [encode_receipt(each) for each in receipts]


def document_of(moved: Moved, receipts: Sequence[bytes]) -> Mapping[str, JsonValue]:
    """Return a proof of the last transaction as py-trie builds it."""
    transactions: Any = moved.block["transactions"]
    place = len(transactions) - 1
    key = rlp.encode(place)

    def way(values: Sequence[bytes]) -> list[JsonValue]:
        nodes = [rlp.encode(node) for node in trie_of(values).get_proof(key)]  # type: ignore[no-untyped-call]
        return ["0x" + node.hex() for at, node in enumerate(nodes) if not at or len(node) >= 32]

    return {
        "header": "0x" + encode_header(moved.block).hex(),
        "transactionIndex": place,
        "receiptProof": way(receipts),
        "transactionProof": way([encode_transaction(each) for each in transactions]),
    }
