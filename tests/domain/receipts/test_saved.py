"""Receipts that real ledgers gave once stay proofs for ever, whatever becomes of the code."""

from pathlib import Path

import pytest
from pydantic_core import from_json

from vaultmesh.domain.checks import Standing, Trust
from vaultmesh.domain.receipts.receipt import parse_receipt
from vaultmesh.verification.offline import verify_offline

SAVED = Path(__file__).parents[2] / "vectors" / "receipts"
NOBODY = Trust()


def block_hash(name: str, part: str) -> str:
    found: str = from_json((SAVED / f"{name}.json").read_bytes())["evidence"][part]["blockHash"]
    return found


TRUSTED = {
    "eip155_31337": Trust(blocks=frozenset({block_hash("eip155_31337", "evm")})),
    "btc_regtest": Trust(headers=frozenset({block_hash("btc_regtest", "btc")})),
    "rfc3161_tsa": Trust(authorities=((SAVED / "tsa-roots.pem").read_bytes(),)),
}


def test_every_saved_receipt_is_looked_at() -> None:
    assert {path.stem for path in SAVED.glob("*.json")} == set(TRUSTED)


@pytest.mark.parametrize("name", TRUSTED)
def test_it_is_proven_with_trust_and_only_consistent_without(name: str) -> None:
    receipt = parse_receipt((SAVED / f"{name}.json").read_bytes())
    assert verify_offline(receipt, TRUSTED[name]).proven
    assert verify_offline(receipt, NOBODY).standing is Standing.CONSISTENT
    strangers = [trust for other, trust in TRUSTED.items() if other != name]
    assert not any(verify_offline(receipt, trust).proven for trust in strangers)


@pytest.mark.parametrize("name", TRUSTED)
def test_with_another_root_it_is_refuted(name: str) -> None:
    text = (SAVED / f"{name}.json").read_text()
    root = from_json(text)["root"]
    other = f"0x{int(root, 16) ^ 1:064x}"
    assert text.count(root) == 1
    changed = parse_receipt(text.replace(root, other))
    assert verify_offline(changed, TRUSTED[name]).standing is Standing.REFUTED
