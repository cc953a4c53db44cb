"""Asks ledgers what they hold: chains by raw JSON-RPC, tokens by openssl."""

import base64
import json
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECONDS = 10.0
BATCH_ANCHORED = "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2"
"""First topic of the event `BatchAnchored(bytes32 indexed root, bytes32 indexed batchId, string memo)`."""
MARKED = "6a225256"
"""A Bitcoin script that begins so returns `RV` and 32 bytes."""
OPENSSL_SECONDS = 30.0
Block = dict[str, Any]


@dataclass(frozen=True)
class Commitment:
    """32 bytes in a ledger, and where they are."""

    value: str
    tx: str
    block: int
    block_hash: str
    time: datetime
    depth: int
    """As the receipts of this ledger count it."""


@dataclass(frozen=True)
class View:
    """What a chain holds of us at one moment."""

    commitments: list[Commitment]
    payments: set[str]
    """Every transaction that our key or wallet has in the chain."""


def call(url: str, method: str, *params: Any) -> Any:
    """Return a JSON-RPC call's result.

    Raises:
        OSError: nobody answers.
        ValueError: the answer is an error.
    """
    parts = urlsplit(url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(f"http://{parts.hostname}:{parts.port}", body)
    request.add_header("Content-Type", "application/json")
    if parts.username:
        pair = f"{parts.username}:{parts.password}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:  # noqa: S310 - our own
            answer = json.load(reply)
    except urllib.error.HTTPError as refusal:  # bitcoind says an error with HTTP, too
        with refusal:
            answer = json.loads(refusal.read())
    if answer.get("error"):
        message = f"{method} {params}: {answer['error']}"
        raise ValueError(message)
    return answer["result"]


def utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class Walk:
    """A chain from its tip to its first blocks; a block that was seen is not asked for again."""

    def __init__(self, fetch: Callable[[str], Block], parent: str) -> None:
        self._fetch, self._parent = fetch, parent
        self._seen: dict[str, Block] = {}

    def blocks(self, tip: str) -> list[Block]:
        """Return the blocks from the tip down to those after the genesis."""
        chain, at = [], tip
        while True:
            block = self._seen.get(at) or self._fetch(at)
            if block is None:
                message = f"the node does not know block {at} of its own chain"
                raise ValueError(message)
            chain.append(self._seen.setdefault(at, block))
            at = block.get(self._parent, "")
            if number_of(block) <= 1:
                return chain


def number_of(block: Block) -> int:
    return int(block["number"], 16) if "number" in block else int(block["height"])


class Evm:
    """An EVM chain with its contract."""

    def __init__(self, url: str, contract: str) -> None:
        self._url, self._contract = url, contract
        self._walk = Walk(lambda at: self.ask("eth_getBlockByHash", at, True), "parentHash")

    def ask(self, method: str, *params: Any) -> Any:
        return call(self._url, method, *params)

    def view(self) -> View:
        tip = self.ask("eth_getBlockByNumber", "latest", False)
        chain = {block["hash"]: block for block in self._walk.blocks(tip["hash"])}
        wanted = {"address": self._contract, "topics": [BATCH_ANCHORED], "fromBlock": "0x0"}
        logs = self.ask("eth_getLogs", {**wanted, "toBlock": tip["number"]})
        commitments = [
            self._commitment(log, chain[log["blockHash"]], number_of(tip)) for log in logs
        ]
        anchoring = {each.tx for each in commitments}
        sent = [transaction for block in chain.values() for transaction in block["transactions"]]
        keys = {transaction["from"] for transaction in sent if transaction["hash"] in anchoring}
        return View(commitments, {each["hash"] for each in sent if each["from"] in keys})

    def _commitment(self, log: dict[str, Any], block: Block, tip: int) -> Commitment:
        number = number_of(block)
        return Commitment(
            log["topics"][1],
            log["transactionHash"],
            number,
            block["hash"],
            utc(int(block["timestamp"], 16)),
            tip - number,
        )

    def doubts(self, receipt: dict[str, Any], commitment: str) -> list[str]:
        """Return what the node says against the block that a receipt names."""
        block = self.ask("eth_getBlockByNumber", hex(receipt["blockNumber"]), False) or {}
        paid = self.ask("eth_getTransactionReceipt", receipt["txRef"]) or {}
        shown = receipt["evidence"]["evm"]["blockHash"]
        holds = {
            "the canonical block of its height has another hash": block.get("hash") == shown,
            "its block does not hold its transaction": receipt["txRef"]
            in block.get("transactions", []),
            "its transaction did not succeed": paid.get("status") == "0x1",
            "its transaction is in another block": paid.get("blockHash") == shown,
            "its transaction does not commit": [BATCH_ANCHORED, commitment]
            in [log["topics"][:2] for log in paid.get("logs", [])],
        }
        return [doubt for doubt, is_right in holds.items() if not is_right]


class Bitcoin:
    """A Bitcoin network on which nobody else pays."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._walk = Walk(lambda at: self.ask("getblock", at, 2), "previousblockhash")

    def ask(self, method: str, *params: Any) -> Any:
        return call(self._url, method, *params)

    def view(self) -> View:
        chain = self._walk.blocks(self.ask("getbestblockhash"))
        tip = number_of(chain[0])
        sent = [
            (transaction, block)
            for block in chain
            for transaction in block["tx"]
            if "coinbase" not in transaction["vin"][0]
        ]
        commitments = [
            Commitment(
                "0x" + output["scriptPubKey"]["hex"].removeprefix(MARKED),
                transaction["txid"],
                number_of(block),
                block["hash"],
                utc(block["time"]),
                tip - number_of(block) + 1,
            )
            for transaction, block in sent
            for output in transaction["vout"]
            if output["scriptPubKey"]["hex"].startswith(MARKED)
        ]
        return View(commitments, {transaction["txid"] for transaction, _ in sent})

    def doubts(self, receipt: dict[str, Any], commitment: str) -> list[str]:
        """Return what the node says against the block that a receipt names."""
        shown = receipt["evidence"]["btc"]["blockHash"]
        paid = self.ask("getrawtransaction", receipt["txRef"], True, shown)
        scripts = [output["scriptPubKey"]["hex"] for output in paid["vout"]]
        canonical = self.ask("getblockhash", receipt["blockNumber"])
        holds = {
            "the canonical block of its height has another hash": canonical == shown,
            "its block has left the chain": paid.get("confirmations", 0) > 0,
            "its transaction does not commit": MARKED + commitment[2:] in scripts,
        }
        return [doubt for doubt, is_right in holds.items() if not is_right]


class Authority:
    """A time-stamp authority, by its root."""

    def __init__(self, roots: Path) -> None:
        self._roots = roots

    def doubts(self, receipt: dict[str, Any], commitment: str) -> list[str]:
        """Return what openssl says against a receipt's token."""
        evidence = receipt["evidence"]["rfc3161"]
        said = _verified(
            self._roots.read_text(), evidence["token"], evidence["request"], commitment
        )
        if not said.get("Serial number"):
            return [f"openssl refuses the token: {said['refusal']}"]
        time = datetime.strptime(said["Time stamp"], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        holds = {
            "the token has another serial number": int(said["Serial number"], 16)
            == int(receipt["txRef"].removeprefix("serial:"), 16),
            "the token has another time": time == datetime.fromisoformat(receipt["anchorTs"]),
        }
        return [doubt for doubt, is_right in holds.items() if not is_right]


@cache
def _verified(roots: str, token: str, request: str, commitment: str) -> dict[str, str]:
    """Return the fields of a token that openssl verifies against the commitment and its request, or `refusal`."""
    with tempfile.TemporaryDirectory(prefix="judge-") as made:
        names = ("roots", "reply", "query", "data")
        trusted, reply, query, data = (Path(made) / name for name in names)
        trusted.write_text(roots)
        reply.write_bytes(base64.b64decode(token))
        query.write_bytes(base64.b64decode(request))
        data.write_bytes(bytes.fromhex(commitment[2:]))
        verify = ("ts", "-verify", "-in", str(reply), "-CAfile", str(trusted))
        for against in (("-data", str(data)), ("-queryfile", str(query))):
            done = _openssl(*verify, *against)
            if done.returncode != 0:
                return {"refusal": (done.stdout + done.stderr).strip()}
        text = _openssl("ts", "-reply", "-in", str(reply), "-text").stdout
    pairs = (line.split(": ", 1) for line in text.splitlines() if ": " in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=OPENSSL_SECONDS,
    )
