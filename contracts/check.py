"""Checks the committed contract artifact without a compiler.

1. The artifact names the SHA-256 of the source that it was compiled from: an edit of the source alone shows.
2. Its selectors are those of its ABI, and the entry point and log entry are the ones that receipts and verifiers know.
3. What is deployed is what the deploying code returns: `bytecode` ends with `deployedBytecode`, which holds
   the selectors and the topic.
4. It is made by the pinned compiler with the settings below.

An edit of the code itself shows when it is compiled again: `python -m contracts.build --check`.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from eth_utils.crypto import keccak
from pydantic import JsonValue

from contracts.artifact import CONTRACT, Artifact
from devnet.solc import SOLC_VERSION

SOURCE_FILE = Path(__file__).with_name(f"{CONTRACT}.sol")
ANCHOR_SIGNATURE = "anchor(bytes32,bytes32,string,bool)"
ANCHOR_SELECTOR = "131b5b07"
EVENT_SIGNATURE = "BatchAnchored(bytes32,bytes32,string)"
TOPIC0 = "422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2"
SETTINGS: dict[str, JsonValue] = {
    "evmVersion": "paris",
    "optimizer": {"enabled": True, "runs": 200},
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}
"""All that enters the code besides its source; `paris` knows no PUSH0, so that it deploys on every chain."""
KEYS = frozenset(
    {
        "contractName",
        "source",
        "sourceSha256",
        "compiler",
        "settings",
        "abi",
        "methodIdentifiers",
        "bytecode",
        "deployedBytecode",
    }
)

_CODE = re.compile(r"0x([0-9a-f]{2})+")
_PUSH_4, _PUSH_32 = "63", "7f"
"""Instructions that put a selector and a topic on the stack."""


def load_source(path: Path = SOURCE_FILE) -> str:
    """Return the contract's source."""
    return path.read_bytes().decode()


def problems(artifact: Artifact, source: str) -> list[str]:
    """Return what is wrong with an artifact, a line each; empty when it is sound."""
    absent = sorted(KEYS - artifact.keys())
    if absent:
        return [f"the artifact lacks {', '.join(absent)}"]
    return [
        *_source_problems(artifact, source),
        *_compiler_problems(artifact),
        *_abi_problems(artifact),
        *_code_problems(artifact),
    ]


def source_sha256(source: str) -> str:
    """Return the digest under which an artifact names its source."""
    return hashlib.sha256(source.encode()).hexdigest()


def _source_problems(artifact: Artifact, source: str) -> Iterator[str]:
    if (artifact["contractName"], artifact["source"]) != (CONTRACT, SOURCE_FILE.name):
        yield f"the artifact is not of {CONTRACT} in {SOURCE_FILE.name}"
    if artifact["sourceSha256"] != source_sha256(source):
        yield f"{SOURCE_FILE.name} is not the source of the artifact: run python -m contracts.build"


def _compiler_problems(artifact: Artifact) -> Iterator[str]:
    if not str(artifact["compiler"]).startswith(f"{SOLC_VERSION}+"):
        yield f"the artifact is made by another compiler than {SOLC_VERSION}"
    if artifact["settings"] != SETTINGS:
        yield "the artifact is made with other settings of the compiler"


def _abi_problems(artifact: Artifact) -> Iterator[str]:
    signatures = dict(_signatures(artifact["abi"]))
    functions = {name: _keccak(name)[:8] for name, kind in signatures.items() if kind == "function"}
    if artifact["methodIdentifiers"] != functions:
        yield "the selectors are not those of the ABI"
    if functions.get(ANCHOR_SIGNATURE) != ANCHOR_SELECTOR:
        yield f"there is no {ANCHOR_SIGNATURE} with selector 0x{ANCHOR_SELECTOR}"
    if signatures.get(EVENT_SIGNATURE) != "event" or _keccak(EVENT_SIGNATURE) != TOPIC0:
        yield f"there is no event {EVENT_SIGNATURE} with topic 0x{TOPIC0}"


def _code_problems(artifact: Artifact) -> Iterator[str]:
    deploying, deployed = str(artifact["bytecode"]), str(artifact["deployedBytecode"])
    if not (_CODE.fullmatch(deployed) and _CODE.fullmatch(deploying)):
        yield "bytecode and deployedBytecode are not hexadecimal text with 0x"
        return
    if not deploying.endswith(deployed[2:]):
        yield "bytecode does not end with deployedBytecode"
    if _PUSH_4 + ANCHOR_SELECTOR not in deployed:
        yield f"the deployed code does not know the selector 0x{ANCHOR_SELECTOR}"
    if _PUSH_32 + TOPIC0 not in deployed:
        yield f"the deployed code does not log the topic 0x{TOPIC0}"


def _signatures(abi: JsonValue) -> Iterator[tuple[str, str]]:
    """Return each entry's signature and kind."""
    for entry in abi if isinstance(abi, list) else []:
        if isinstance(entry, dict) and isinstance(inputs := entry.get("inputs"), list):
            types = (str(argument.get("type")) for argument in inputs if isinstance(argument, dict))
            yield f"{entry.get('name')}({','.join(types)})", str(entry.get("type"))


def _keccak(text: str) -> str:
    return keccak(text=text).hex()
