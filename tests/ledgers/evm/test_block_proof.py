"""A final anchor carries what proves it without a node; a block that can't be rebuilt costs the proof, never the receipt."""

import logging
import secrets
from collections.abc import Mapping
from typing import Any, cast

import pytest
import pytest_asyncio
import rlp
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pydantic import JsonValue
from trie.hexary import HexaryTrie

from tests.ledgers.evm.chain import Chain, Submitter, open_submitter
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import Forge, LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundView, WatchedRound
from vaultmesh.domain.receipts.receipt import PROOF_MISSING
from vaultmesh.ledgers.driver import Evidence
from vaultmesh.ledgers.evm import block_proof
from vaultmesh.ledgers.evm.block_encoding import encode_header, encode_receipt, encode_transaction
from vaultmesh.ledgers.evm.block_proof import LARGEST_PROOF
from vaultmesh.ledgers.evm.core.proof import TOPIC, BlockProof

pytestmark = pytest.mark.evm
KEYS = {"header", "transactionIndex", "receiptProof", "transactionProof"}


async def crowd(chain: Chain, count: int) -> None:
    """Send transactions of every type that anvil takes, each by an account of its own."""
    for place in range(count):
        key = "0x" + secrets.token_hex(32)
        await chain.fund(key)
        common: dict[str, Any] = {
            "chainId": chain.chain_id,
            "nonce": 0,
            "to": to_checksum_address(chain.dev),
            "value": place,
            "gas": 60_000,
        }
        prices = {"gasPrice": 30 * 10**9}
        tips = {"maxFeePerGas": 30 * 10**9, "maxPriorityFeePerGas": (1 + place % 20) * 10**9}
        slots = [{"address": common["to"], "storageKeys": ["0x" + "01" * 32]}]
        account = Account.from_key(key)
        delegation = account.sign_authorization(
            {"chainId": chain.chain_id, "address": common["to"], "nonce": 1}
        )
        forms: list[dict[str, Any]] = [
            common | prices,
            common | prices | {"type": 1, "accessList": slots},
            common | tips | {"type": 2},
            common | tips | {"type": 4, "authorizationList": [delegation]},
        ]
        signed = account.sign_transaction(forms[place % len(forms)])
        await chain.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())


async def send_blob(chain: Chain) -> None:
    """Send a transaction that carries a blob."""
    key = "0x" + secrets.token_hex(32)
    await chain.fund(key)
    transaction: dict[str, Any] = {
        "type": 3,
        "chainId": chain.chain_id,
        "nonce": 0,
        "to": to_checksum_address(chain.dev),
        "value": 0,
        "gas": 60_000,
        "maxFeePerGas": 30 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "maxFeePerBlobGas": 10**10,
        "data": "0x",
    }
    signed = Account.from_key(key).sign_transaction(transaction, blobs=[bytes(131_072)])
    await chain.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())


async def final(
    chain: Chain, submitter: Submitter, others: int = 0
) -> tuple[WatchedRound, RoundView]:
    """Anchor a round among other transactions, until it is final."""
    watched = await submitter.anchor()
    await crowd(chain, others)
    await chain.mine(8)
    view = await submitter.look(watched)
    assert view.final
    return watched, view


async def evidence_of(submitter: Submitter, watched: WatchedRound, view: RoundView) -> Evidence:
    return await submitter.target.evidence(watched, view, submitter.raw_of(watched, view.tx_ref))


def proven_by_the_library(scheme: Mapping[str, JsonValue]) -> bytes:
    """Return the proven receipt as py-trie sees it: a check that shares no code with ours."""
    proof = BlockProof.read(scheme)
    assert "0x" + keccak(proof.header).hex() == scheme["blockHash"]
    fields: Any = rlp.decode(proof.header)
    key = rlp.encode(proof.tx_index)
    nodes = [rlp.decode(node) for node in proof.transaction_nodes]
    raw = HexaryTrie.get_from_proof(fields[4], key, nodes)
    assert "0x" + raw.hex() == scheme["rawTransaction"]
    nodes = [rlp.decode(node) for node in proof.receipt_nodes]
    return bytes(HexaryTrie.get_from_proof(fields[5], key, nodes))


async def test_a_final_anchor_carries_a_proof_that_a_library_confirms(
    chain: Chain, submitter: Submitter
) -> None:
    watched, view = await final(chain, submitter)
    scheme = (await evidence_of(submitter, watched, view)).scheme
    assert set(scheme) >= KEYS
    tx_receipt: Any = rlp.decode(proven_by_the_library(scheme)[1:])
    ((address, topics, _),) = tx_receipt[3]
    assert "0x" + address.hex() == str(scheme["contract"])
    assert topics[:2] == [TOPIC, watched.commitment.digest]


async def test_an_anchor_that_is_not_final_carries_none(chain: Chain, submitter: Submitter) -> None:
    watched = await submitter.anchor()
    await chain.mine()
    view = await submitter.look(watched)
    assert not view.final
    assert not set((await evidence_of(submitter, watched, view)).scheme) & KEYS


@pytest.mark.parametrize("others", [1, 20, 140])
async def test_it_is_proven_among_transactions_of_other_types(
    chain: Chain, submitter: Submitter, others: int
) -> None:
    watched, view = await final(chain, submitter, others)
    scheme = (await evidence_of(submitter, watched, view)).scheme
    assert view.block is not None
    block = await chain.rpc("eth_getBlockByNumber", hex(view.block.number), False)
    assert len(block["transactions"]) > 1
    place = scheme["transactionIndex"]
    assert isinstance(place, int)
    assert block["transactions"][place] == view.tx_ref
    proven_by_the_library(scheme)
    assert sum(len(str(scheme[key])) for key in KEYS) < LARGEST_PROOF


async def test_every_transaction_and_receipt_of_a_block_is_encoded_as_the_chain_does(
    chain: Chain, submitter: Submitter
) -> None:
    await send_blob(chain)
    await final(chain, submitter, 12)
    seen = set()
    for number in range(await chain.height() + 1):
        block = await chain.rpc("eth_getBlockByNumber", hex(number), True)
        assert "0x" + keccak(encode_header(block)).hex() == block["hash"]
        for transaction in block["transactions"]:
            seen.add(transaction["type"])
            assert "0x" + keccak(encode_transaction(transaction)).hex() == transaction["hash"]
    assert seen >= {"0x0", "0x1", "0x2", "0x3", "0x4"}


# --- providers and chains that show it otherwise --------------------------------------------------


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    monkeypatch.setattr(block_proof, "PAUSE_SECONDS", (0.01, 0.01))


@pytest_asyncio.fixture
async def proxied(proxy: LyingProvider, make_submitter: MakeSubmitter) -> Submitter:
    """Return a target whose only provider misbehaves on request."""
    return await make_submitter([proxy.url])


async def test_receipts_are_read_one_by_one_where_a_node_shows_no_block_of_them(
    chain: Chain, proxy: LyingProvider, proxied: Submitter
) -> None:
    watched, view = await final(chain, proxied, 5)
    known = await evidence_of(proxied, watched, view)
    proxy.refuse("eth_getBlockReceipts", "the method does not exist", code=-32601)
    assert await evidence_of(proxied, watched, view) == known
    proxy.obey()
    proxy.forge("eth_getBlockReceipts", lambda _, __: None)
    assert await evidence_of(proxied, watched, view) == known
    proven_by_the_library(known.scheme)


async def test_a_transaction_of_an_unknown_form_is_read_as_bytes(
    chain: Chain, proxy: LyingProvider, proxied: Submitter
) -> None:
    watched, view = await final(chain, proxied, 5)
    known = await evidence_of(proxied, watched, view)

    def hide(_: JsonValue, block: Any) -> JsonValue:
        for transaction in block["transactions"]:
            transaction["type"] = "0x6a"
        return dict(block)

    proxy.forge("eth_getBlockByHash", hide)
    assert await evidence_of(proxied, watched, view) == known
    assert proxy.calls["eth_getRawTransactionByHash"] > 1


def replaced(name: str, value: JsonValue) -> Forge:
    """Return what changes a field of a block."""
    return lambda _, block: cast("dict[str, JsonValue]", block) | {name: value}


def replaced_in_first(name: str, value: JsonValue) -> Forge:
    """Return what changes a field of a block's first receipt."""

    def forged(_: JsonValue, receipts: Any) -> JsonValue:
        return [receipts[0] | {name: value}, *receipts[1:]]

    return forged


BLOCK, RECEIPTS = "eth_getBlockByHash", "eth_getBlockReceipts"


@pytest.mark.parametrize(
    "case",
    [
        (BLOCK, lambda _, __: None, "does not show block"),
        (BLOCK, replaced("extraData", "0x1234"), "not known"),
        (BLOCK, replaced("mixHash", None), "mixHash"),
        (BLOCK, replaced("number", "nonsense"), "number"),
        (BLOCK, replaced("transactions", []), "does not hold"),
        (BLOCK, replaced("transactions", [7]), "transactions"),
        (BLOCK, replaced("transactions", None), "transactions"),
        (RECEIPTS, replaced_in_first("cumulativeGasUsed", "0x1"), "do not give the root"),
        (RECEIPTS, replaced_in_first("type", "0x7e"), "do not give the root"),
        (RECEIPTS, replaced_in_first("type", "0x1ff"), "type"),
        (RECEIPTS, replaced_in_first("logs", [7]), "logs"),
        (RECEIPTS, replaced_in_first("blockHash", "0x" + "11" * 32), "another block"),
    ],
)
async def test_what_can_t_be_rebuilt_costs_the_proof_and_never_the_receipt(
    chain: Chain,
    proxy: LyingProvider,
    proxied: Submitter,
    caplog: pytest.LogCaptureFixture,
    case: tuple[str, Forge, str],
) -> None:
    method, forged, reason = case
    watched, view = await final(chain, proxied, 2)
    known = (await evidence_of(proxied, watched, view)).scheme
    proxy.forge(method, forged)
    with caplog.at_level(logging.WARNING):
        scheme = (await evidence_of(proxied, watched, view)).scheme
    said = str(scheme[PROOF_MISSING])
    kept = {key: value for key, value in known.items() if key not in KEYS}
    assert scheme == kept | {PROOF_MISSING: said}
    assert reason in said
    assert proxy.url not in said
    (record,) = [one for one in caplog.records if one.message == "block proof left out"]
    assert reason in str(vars(record)["reason"])


async def test_a_node_that_does_not_answer_costs_the_proof_and_never_the_receipt(
    chain: Chain, proxy: LyingProvider, proxied: Submitter
) -> None:
    watched, view = await final(chain, proxied)
    proxy.fail_with_status(BLOCK, 503)
    assert not set((await evidence_of(proxied, watched, view)).scheme) & KEYS
    assert proxy.calls[BLOCK] == 3
    proxy.obey()
    proxy.hang(RECEIPTS)
    assert not set((await evidence_of(proxied, watched, view)).scheme) & KEYS


async def test_a_proof_is_there_once_the_node_is_mended(
    chain: Chain, proxy: LyingProvider, proxied: Submitter
) -> None:
    watched, view = await final(chain, proxied)
    proxy.refuse(RECEIPTS, "50/second request limit reached", code=-32007)
    scheme = (await evidence_of(proxied, watched, view)).scheme
    assert "request limit" in str(scheme[PROOF_MISSING])
    assert proxy.calls[RECEIPTS] == 3, "who is asked too often is not asked for each receipt"
    proxy.obey()
    scheme = (await evidence_of(proxied, watched, view)).scheme
    assert set(scheme) >= KEYS
    assert PROOF_MISSING not in scheme


async def test_a_failure_that_passes_costs_nothing(
    chain: Chain, proxy: LyingProvider, proxied: Submitter
) -> None:
    watched, view = await final(chain, proxied)
    proxy.forge(BLOCK, lambda _, block: None if proxy.calls[BLOCK] < 3 else block)
    assert set((await evidence_of(proxied, watched, view)).scheme) >= KEYS
    assert proxy.calls[BLOCK] == 3


async def test_a_block_that_can_t_be_rebuilt_is_not_asked_for_again(
    chain: Chain, proxy: LyingProvider, proxied: Submitter
) -> None:
    watched, view = await final(chain, proxied)
    proxy.forge(BLOCK, replaced("extraData", "0x1234"))
    await evidence_of(proxied, watched, view)
    assert proxy.calls[BLOCK] == 1


async def test_a_proof_that_takes_too_long_is_left_out(
    chain: Chain, proxy: LyingProvider, proxied: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, view = await final(chain, proxied)
    monkeypatch.setattr(block_proof, "LONGEST_SECONDS", 0.1)
    proxy.hang(BLOCK)
    assert not set((await evidence_of(proxied, watched, view)).scheme) & KEYS


async def test_another_provider_is_asked_where_one_can_t_show_the_block(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url])
    watched, view = await final(chain, submitter)
    proxy.forge(BLOCK, lambda _, __: None)
    assert set((await evidence_of(submitter, watched, view)).scheme) >= KEYS
    assert proxy.calls[BLOCK] == 1


# --- the OP stack ---------------------------------------------------------------------------------


async def test_a_block_of_the_op_stack_with_a_deposit_in_it_is_proven(key: str) -> None:
    async with Chain("--optimism") as chain:
        await chain.fund(key)
        submitter = open_submitter([chain.url], chain.contract, key)
        watched = await submitter.anchor()
        deposit: dict[str, JsonValue] = {
            "type": "0x7e",
            "from": chain.dev,
            "to": chain.dev,
            "value": "0x1",
            "gas": "0xf4240",
            "mint": "0x5",
            "sourceHash": "0x" + "11" * 32,
            "isSystemTx": False,
            "input": "0x",
        }
        sent = await chain.rpc("eth_sendTransaction", deposit)
        await chain.mine(8)
        view = await submitter.look(watched)
        assert view.block is not None
        block = await chain.rpc("eth_getBlockByNumber", hex(view.block.number), False)
        assert block["transactions"] == [view.tx_ref, sent]
        proven_by_the_library((await evidence_of(submitter, watched, view)).scheme)
        await submitter.target.close()


def test_a_deposit_s_receipt_holds_nonce_and_version_since_its_version_is_named() -> None:
    plain: dict[str, JsonValue] = {
        "type": "0x7e",
        "status": "0x1",
        "cumulativeGasUsed": "0xb3d8",
        "logsBloom": "0x" + "00" * 256,
        "logs": [],
        "depositNonce": "0x5",
    }
    data = encode_receipt(plain)
    assert data[0] == 0x7E
    assert len(rlp.decode(data[1:])) == 4
    items: Any = rlp.decode(encode_receipt(plain | {"depositReceiptVersion": "0x1"})[1:])
    assert items[4:] == [b"\x05", b"\x01"]


def test_a_deposit_is_encoded_as_the_op_stack_says() -> None:
    sent: dict[str, JsonValue] = {
        "type": "0x7e",
        "sourceHash": "0x" + "11" * 32,
        "from": "0x" + "22" * 20,
        "to": None,
        "mint": None,
        "value": "0x0",
        "gas": "0xf4240",
        "isSystemTx": False,
        "input": "0x1234",
    }
    items: Any = rlp.decode(encode_transaction(sent)[1:])
    expected = [b"\x11" * 32, b"\x22" * 20, b"", b"", b"", b"\x0f\x42\x40", b"", b"\x12\x34"]
    assert items == expected
