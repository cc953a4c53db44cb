"""Gives each scheme its bench: the real ledger, how to move and break it, and what it holds by its own word.

Nothing here asks the product what is on a ledger; a scheme without a bench fails the suite.
"""

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from eth_account import Account
from typing_extensions import override

from devnet.anvil import Anvil
from devnet.bitcoind import REWARDS, WALLET, Bitcoind
from devnet.process import Part
from devnet.tsa import Tsa
from tests.ledgers.evm.chain import contract_code
from tests.support.freezing import freeze, thaw
from vaultmesh.domain.checks import Trust
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring
from vaultmesh.ledgers.targets import open_target
from vaultmesh.process.config_files import load_anchors

Section = dict[str, Any]


class Bench(ABC):
    """One scheme's ledger on trial."""

    SCHEME: ClassVar[str]
    TARGET: ClassVar[Target]
    DEPTH: ClassVar[int]
    """Required depth of its rounds."""
    ADVANCES: ClassVar[bool] = True
    """Whether the ledger has blocks, so that an inclusion can be young."""
    FORGETS: ClassVar[bool] = False
    """Whether `forget` can make it lose what it has not included yet."""
    ELSEWHERE: ClassVar[Target | None] = None
    """A ledger of the scheme that the bench's node is not; None where a node can't tell."""
    ELSEWHERE_CHANGES: ClassVar[Mapping[str, Any]] = {}
    """Keys that make the settings fit it all the same."""
    REMOTE: ClassVar[frozenset[str]]
    """Steps that can't be done without the ledger; the others MUST then be right, or fail the same way."""
    STRANGERS: ClassVar[Mapping[str, Mapping[str, Any]]]
    """References that the settings, with these keys changed, do not describe."""
    WRONG: ClassVar[Mapping[str, Any]]
    """Keys of the scheme with values of a wrong type."""

    def __init__(self, folder: Path) -> None:
        """Keep everything below a folder."""
        self.folder = folder
        self.part = self.make_part()

    def __enter__(self) -> "Bench":
        self.part.start()
        try:
            self.prepare()
        except BaseException:
            self.part.kill()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.part.kill()

    def prepare(self) -> None:  # noqa: B027 - most need none
        """Do what the started ledger needs once."""

    @abstractmethod
    def make_part(self) -> Part:
        """Return the ledger, not started."""

    @abstractmethod
    def section(self) -> Section:
        """Return settings for an account that nobody used before."""

    @abstractmethod
    def secrets_of(self, section: Section) -> list[str]:
        """Return what no text may show."""

    @abstractmethod
    def advance(self) -> None:
        """Let the ledger make one block."""

    @abstractmethod
    def trace(self, account: str) -> Any:
        """Return everything on the ledger that an account's round could change."""

    @abstractmethod
    def count(self, commitment: bytes) -> int:
        """Return how often the ledger holds a commitment; blocks only, where there are blocks."""

    @abstractmethod
    def trust(self, receipt: AnchorReceipt) -> Trust:
        """Return what a user who knows this ledger trusts."""

    def forget(self) -> None:
        """Lose what is not included yet."""
        raise NotImplementedError

    def open(self, section: Section, target: Target | None = None) -> Anchoring:
        """Open a target through the registry, as the worker does, from a file."""
        return self.open_document({self.SCHEME: {self.TARGET.reference: section}}, target)

    def open_document(self, document: Mapping[str, Any], target: Target | None = None) -> Anchoring:
        """Open a target from a whole anchors.yaml; JSON is YAML."""
        file = self.folder / "anchors.yaml"
        file.write_text(json.dumps(document), encoding="utf-8")
        anchors = load_anchors(file, environment={})
        return open_target(target or self.TARGET, anchors, self.folder)

    def stop(self) -> None:
        """Take the ledger away: its port refuses."""
        self.part.kill()

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        freeze(self.part.pid)

    def thaw(self) -> None:
        """Let it go on."""
        thaw(self.part.pid)


class EvmBench(Bench):
    """A chain of anvil that mines by hand; its finalized block is two below the tip."""

    SCHEME = "eip155"
    TARGET = Target("eip155", "31337")
    DEPTH = 2
    ELSEWHERE: ClassVar[Target | None] = Target("eip155", "424242")
    ELSEWHERE_CHANGES: ClassVar[Mapping[str, Any]] = {"chainId": 424242}
    FORGETS = True
    REMOTE = frozenset({"reserve", "broadcast", "look", "evidence", "verify", "probe"})
    STRANGERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "31337": {"chainId": 1},
        "mainnet": {"chainId": None},
    }
    WRONG: ClassVar[Mapping[str, Any]] = {"contract": 7, "confirmations": "many", "persist": "so"}

    @override
    def make_part(self) -> Anvil:
        self.node = Anvil(self.folder)
        return self.node

    @override
    def prepare(self) -> None:
        self.contract = self.node.deploy(contract_code())

    @override
    def section(self) -> Section:
        key = secrets.token_hex(32)
        self.node.fund(Account.from_key(key).address)
        url = self.node.url.replace("://", "://user:hunter2evm@")
        common = {"rpcUrl": url, "contract": self.contract, "key": key, "chainId": 31337}
        return common | {"confirmations": self.DEPTH}

    @override
    def secrets_of(self, section: Section) -> list[str]:
        return [section["key"], "hunter2evm"]

    @override
    def advance(self) -> None:
        self.node.mine()

    @override
    def trace(self, account: str) -> Any:
        counts = [self.node.rpc("eth_getTransactionCount", account, tag) for tag in _TAGS]
        pool, balance = (
            self.node.rpc("txpool_status"),
            self.node.rpc("eth_getBalance", account, "latest"),
        )
        return counts, pool, balance

    @override
    def count(self, commitment: bytes) -> int:
        wanted = {
            "fromBlock": "0x0",
            "address": self.contract,
            "topics": [None, "0x" + commitment.hex()],
        }
        return len(self.node.rpc("eth_getLogs", wanted))

    @override
    def trust(self, receipt: AnchorReceipt) -> Trust:
        block = self.node.rpc("eth_getBlockByNumber", hex(receipt.block_number), False)
        return Trust(blocks=frozenset({block["hash"]}))

    @override
    def forget(self) -> None:
        self.node.rpc("anvil_dropAllTransactions")


class BtcBench(Bench):
    """A regtest node that mines by hand."""

    SCHEME = "btc"
    TARGET = Target("btc", "regtest")
    DEPTH = 3
    ELSEWHERE: ClassVar[Target | None] = Target("btc", "signet")
    ELSEWHERE_CHANGES: ClassVar[Mapping[str, Any]] = {"network": "signet"}
    REMOTE = frozenset({"reserve", "broadcast", "look", "evidence", "verify", "probe"})
    STRANGERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "regtest": {"network": "signet"},
        "atlantis": {"network": None},
    }
    WRONG: ClassVar[Mapping[str, Any]] = {"wallet": 7, "confirmations": "many", "confTarget": "so"}

    @override
    def make_part(self) -> Bitcoind:
        self.node = Bitcoind(self.folder, txindex=False)
        return self.node

    @override
    def section(self) -> Section:
        self.node.wallet("lockunspent", True)  # what other tests signed and never sent
        common = {"rpcUrl": self.node.url, "wallet": WALLET, "network": "regtest"}
        return common | {"confirmations": self.DEPTH}

    @override
    def secrets_of(self, section: Section) -> list[str]:
        return [self.node.password]

    @override
    def advance(self) -> None:
        self.node.mine()

    @override
    def trace(self, account: str) -> Any:
        wallet = self.node.wallet
        coins = sorted((one["txid"], one["vout"]) for one in wallet("listunspent", 0))
        return coins, wallet("getwalletinfo")["txcount"], self.node.rpc("getrawmempool")

    @override
    def count(self, commitment: bytes) -> int:
        heights = range(REWARDS, self.node.height() + 1)
        hashes = [self.node.rpc("getblockhash", height) for height in heights]
        return sum(self.node.rpc("getblock", one, 0).count(commitment.hex()) for one in hashes)

    @override
    def trust(self, receipt: AnchorReceipt) -> Trust:
        return Trust(headers=frozenset({self.node.rpc("getblockhash", receipt.block_number)}))


class TsaBench(Bench):
    """An authority of openssl; what it stamped lies in the stored replies."""

    SCHEME = "rfc3161"
    TARGET = Target("rfc3161", "tsa")
    DEPTH = 0
    ADVANCES = False
    REMOTE = frozenset({"broadcast", "probe"})
    STRANGERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"other": {}}
    WRONG: ClassVar[Mapping[str, Any]] = {"quorum": "many", "policyOID": 7, "spacing": {"s": 1}}

    @override
    def make_part(self) -> Tsa:
        self.node = Tsa(self.folder)
        return self.node

    @override
    def section(self) -> Section:
        url = self.node.url.replace("://", "://user:hunter2tsa@")
        bundle = str(self.node.roots.relative_to(self.folder))
        return {"url": url, "spacing": "0s", "trustBundle": bundle}

    @override
    def secrets_of(self, section: Section) -> list[str]:
        return ["hunter2tsa"]

    @override
    def advance(self) -> None:
        """Do nothing: a token is there or not."""

    @override
    def trace(self, account: str) -> Any:
        return self.node.queries(), sorted((self.folder / "out").rglob("*"))

    @override
    def count(self, commitment: bytes) -> int:
        """Count the replies that hold the digest; the authority keeps none of its own."""
        rounds = self.folder / "out" / "rounds" / self.TARGET.path
        replies = (rounds / round_id(self.TARGET, commitment)).glob("reply-*.tsr")
        return len(list(replies))

    @override
    def trust(self, receipt: AnchorReceipt) -> Trust:
        return Trust(authorities=(self.node.roots.read_bytes(),))


_TAGS = ("latest", "pending")
BENCHES: Mapping[str, type[Bench]] = {one.SCHEME: one for one in (BtcBench, EvmBench, TsaBench)}
"""Benches by scheme."""
