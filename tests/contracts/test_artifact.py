"""The committed contract artifact is sound, is what the source compiles to, and any tampering shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.artifact import ARTIFACT_FILE, load_artifact
from contracts.build import CompileError, artifact_text, compile_artifact
from contracts.check import ANCHOR_SELECTOR, TOPIC0, load_source, problems
from devnet.anvil import Anvil
from devnet.solc import solc_js

DEPLOY_GAS = 154_133
ANCHOR_GAS = 25_190
PERSIST_GAS = 47_395


def _tampered(change: Callable[[dict[str, Any]], None]) -> list[str]:
    artifact: dict[str, Any] = json.loads(ARTIFACT_FILE.read_text())
    change(artifact)
    return problems(artifact, load_source())


def _replace(key: str, old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(artifact: dict[str, Any]) -> None:
        assert old in artifact[key]
        artifact[key] = artifact[key].replace(old, new)

    return change


def _rename_event(artifact: dict[str, Any]) -> None:
    next(one for one in artifact["abi"] if one["type"] == "event")["name"] = "BatchAnchored2"


def _widen_argument(artifact: dict[str, Any]) -> None:
    anchor = next(one for one in artifact["abi"] if one.get("name") == "anchor")
    anchor["inputs"][0]["type"] = "bytes"


def test_the_committed_artifact_has_no_problem() -> None:
    assert problems(load_artifact(), load_source()) == []


def test_the_source_compiles_to_the_committed_artifact_byte_by_byte() -> None:
    artifact = compile_artifact(load_source(), solc_js())
    assert artifact_text(artifact) == ARTIFACT_FILE.read_text(encoding="utf-8")


def test_an_edited_source_shows_without_a_compiler() -> None:
    edited = load_source().replace("= true", "= !persist")
    assert any("not the source" in one for one in problems(load_artifact(), edited))


def test_a_source_with_an_error_is_told_with_its_line() -> None:
    edited = load_source().replace("= true", "= tru")
    with pytest.raises(CompileError, match=r"RemembrancerAnchor\.sol:"):
        compile_artifact(edited, solc_js())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda one: one.pop("deployedBytecode"), "lacks deployedBytecode"),
        (lambda one: one.update(sourceSha256="0" * 64), "not the source"),
        (lambda one: one.update(contractName="Another"), "not of RemembrancerAnchor"),
        (lambda one: one.update(source="Another.sol"), "not of RemembrancerAnchor"),
        (lambda one: one.update(compiler="0.8.29+commit.ab55807c"), "another compiler"),
        (lambda one: one["settings"].update(evmVersion="cancun"), "other settings"),
        (_rename_event, "no event BatchAnchored"),
        (_widen_argument, "selectors are not those of the ABI"),
        (lambda one: one.update(methodIdentifiers={}), "selectors are not those of the ABI"),
        (lambda one: one.update(abi=None), "selectors are not those of the ABI"),
        (_replace("deployedBytecode", ANCHOR_SELECTOR, "131b5b08"), "selector"),
        (_replace("deployedBytecode", TOPIC0, TOPIC0[::-1]), "topic"),
        (lambda one: one.update(deployedBytecode=one["deployedBytecode"][:-2] + "00"), "end with"),
        (lambda one: one.update(bytecode=one["bytecode"][:-2]), "end with"),
        (lambda one: one.update(bytecode="", deployedBytecode=""), "hexadecimal"),
        (lambda one: one.update(bytecode=one["bytecode"][2:]), "hexadecimal"),
    ],
)
def test_a_tampered_artifact_shows(change: Callable[[dict[str, Any]], None], word: str) -> None:
    assert any(word in line for line in _tampered(change))


@pytest.mark.evm
def test_a_chain_runs_the_contract_as_the_formats_say(tmp_path: Path) -> None:
    root, batch = "ab" * 32, "cd" * 32
    with Anvil(tmp_path) as chain:
        artifact = load_artifact()
        contract = chain.deploy(str(artifact["bytecode"]))
        first_block = chain.rpc("eth_getBlockByNumber", "0x1", False)
        assert chain.rpc("eth_getCode", contract, "latest") == artifact["deployedBytecode"]
        gas = [_anchor(chain, contract, root, batch, persist=persist) for persist in (False, True)]
        logs = chain.rpc("eth_getLogs", {"fromBlock": "0x0", "address": contract})
        known = chain.rpc("eth_call", {"to": contract, "data": _known_roots(root)}, "latest")
    assert int(first_block["gasUsed"], 16) == DEPLOY_GAS
    assert gas == [ANCHOR_GAS, PERSIST_GAS]
    assert [one["topics"] for one in logs] == [["0x" + TOPIC0, "0x" + root, "0x" + batch]] * 2
    assert int(known, 16) == 1


def _anchor(chain: Anvil, contract: str, root: str, batch: str, *, persist: bool) -> int:
    sender = "0x" + "11" * 20
    chain.fund(sender)
    chain.rpc("anvil_impersonateAccount", sender)
    words = [root, batch, f"{128:064x}", f"{int(persist):064x}", f"{0:064x}"]
    data = "0x" + ANCHOR_SELECTOR + "".join(words)
    tx_hash = chain.rpc("eth_sendTransaction", {"from": sender, "to": contract, "data": data})
    chain.mine()
    tx_receipt = chain.rpc("eth_getTransactionReceipt", tx_hash)
    assert tx_receipt["status"] == "0x1"
    return int(tx_receipt["gasUsed"], 16)


def _known_roots(root: str) -> str:
    identifiers: Any = load_artifact()["methodIdentifiers"]
    return f"0x{identifiers['knownRoots(bytes32)']}{root}"
