"""Real proofs to change: what `starter.py proof` wrote, receipts of it, and the headers of public chains' blocks in them.

Each is a document of its own; whoever changes one takes a copy.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.ledgers.evm import public_blocks
from tests.ledgers.evm.core.block import CHAIN_ID, Anchored
from vaultmesh.domain.instants import of_seconds, write_time
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.evm.block_encoding import encode_header

Document = dict[str, Any]
VECTORS = Path(__file__).parent.parent / "vectors"
PROOFS, RECEIPTS = VECTORS / "proofs", VECTORS / "receipts"
ROOTS = PROOFS / "tsa-roots.pem"
PUBLIC_HEADERS = (
    "OP_STACK_274",
    "MEGAETH_11603812",
    "BASE_50543461",
    "ARBITRUM_58989000",
    "AMSTERDAM_192",
)
UNPROVABLE = {
    "eip155:137": "transaction 7 is of a form that is not known, and the node does not show its bytes",
    "eip155:42161": "the receipts do not have the root that the header names",
    "eip155:42220": "the node does not show the block\u202e\x1b[2J",
}
BLOCK_PROOF = ("header", "transactionIndex", "receiptProof", "transactionProof")


@cache
def real_proofs() -> Sequence[tuple[str, Document]]:
    """Return all of them, by name."""
    return tuple(_made())


@cache
def proofs_on_chains() -> Sequence[tuple[str, Document]]:
    """Return those without time stamps, which take most of the time."""
    return tuple(
        (name, document)
        for name, document in real_proofs()
        if "rfc3161" not in {scheme_of(anchor) for anchor in document.get("anchors") or [document]}
    )


def scheme_of(anchor: Document) -> str:
    """Return an anchor's scheme."""
    scheme: str = anchor["network"].partition(":")[0]
    return scheme


def set_network(anchor: Document, network: str) -> None:
    """Move an anchor to another network; its round is named after both."""
    anchor["network"] = network
    aggregation = anchor["evidence"]["aggregation"]
    root = aggregation["root"] if aggregation else anchor["root"]
    anchor["metadata"]["round"] = round_id(Target.parse(network), bytes.fromhex(root[2:]))


def _made() -> Iterator[tuple[str, Document]]:
    files = {path.stem: json.loads(path.read_text()) for path in sorted(PROOFS.glob("*.json"))}
    for name, document in files.items():
        yield name, document
        yield f"{name} on chains alone", _without_time_stamps(document)
    for path in sorted(RECEIPTS.glob("*.json")):
        yield path.stem, json.loads(path.read_text())
    direct = _without_time_stamps(files["direct-first"])
    for network, reason in UNPROVABLE.items():
        yield f"unprovable {network}", _unprovable(direct, network, reason)
    for name in PUBLIC_HEADERS:
        yield name, _in_public_block(direct, name)
    for transactions, index in ((1, 0), (20, 3), (140, 130)):
        yield f"one of {transactions}", _in_a_full_block(direct, transactions, index)


def _without_time_stamps(document: Document) -> Document:
    document = copy.deepcopy(document)
    document["anchors"] = [entry for entry in document["anchors"] if scheme_of(entry) != "rfc3161"]
    return document


def _evm_anchor(document: Document) -> tuple[Document, Document]:
    document = copy.deepcopy(document)
    (anchor,) = (entry for entry in document["anchors"] if scheme_of(entry) == "eip155")
    return document, anchor


def _unprovable(document: Document, network: str, reason: str) -> Document:
    document, anchor = _evm_anchor(document)
    set_network(anchor, network)
    evidence = anchor["evidence"]["evm"]
    for key in BLOCK_PROOF:
        del evidence[key]
    evidence["proofMissing"] = reason
    return document


def _in_public_block(document: Document, name: str) -> Document:
    """The header holds and the transaction is in another block: how far a verifier gets counts."""
    document, anchor = _evm_anchor(document)
    block = getattr(public_blocks, name)
    anchor["evidence"]["evm"] |= {
        "header": "0x" + encode_header(block).hex(),
        "blockHash": block["hash"],
    }
    anchor["blockNumber"] = int(block["number"], 16)
    anchor["anchorTs"] = write_time(of_seconds(int(block["timestamp"], 16)))
    return document


def _in_a_full_block(document: Document, transactions: int, index: int) -> Document:
    document, anchor = _evm_anchor(document)
    commitment = bytes.fromhex(anchor["root"][2:])
    claim, proof = Anchored(commitment=commitment, transactions=transactions, index=index).prove()
    set_network(anchor, f"eip155:{CHAIN_ID}")
    anchor["txRef"] = anchor["txHash"] = f"0x{claim.tx_hash.hex()}"
    anchor["blockNumber"] = claim.block_number
    anchor["anchorTs"] = write_time(claim.block_time)
    anchor["evidence"]["evm"] |= {
        "batchId": f"0x{claim.batch_id.hex()}",
        "blockHash": f"0x{claim.block_hash.hex()}",
        "contract": f"0x{claim.contract.hex()}",
        "rawTransaction": f"0x{claim.raw_transaction.hex()}",
        **proof.document(),
    }
    return document
