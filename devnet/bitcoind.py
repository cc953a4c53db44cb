"""Runs a local Bitcoin network: one bitcoind on regtest, with blocks by the clock or by hand.

1. The wallet `anchors` holds a few old rewards; later rewards go to a script that anybody may spend, so that the
   wallet does not grow with the chain. It is created at the first start and loaded at each one.
2. SIGTERM keeps everything, also when it is sent because we died. `kill -9` loses what was not flushed, which may be
   all blocks; `save` flushes, and the clock does so after each of its blocks. A lost block is a reorganisation to
   its users.
3. The password is made once for a data folder and lies in it, so that a URL stays valid.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import signal
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from typing_extensions import override

from devnet.bitcoind_fetch import bitcoind_binary
from devnet.jsonrpc import JsonRpcError
from devnet.ports import LOOPBACK, free_port, require_free
from devnet.process import Part

NETWORK = "regtest"
USER = "vaultmesh"
WALLET = "anchors"
REWARDS = 16
"""Rewards that the wallet gets at the first start, of 50 BTC each."""
MATURITY = 100
"""Blocks on top of a reward before it can be spent."""
CALL_SECONDS = 30.0
_READY_CALL_SECONDS = 10.0


class BitcoinRpc:
    """A node's endpoint, or that of one of its wallets; with nothing of the product in between."""

    def __init__(self, url: str, user: str, password: str, seconds: float = CALL_SECONDS) -> None:
        """Ask the node at `url`, which holds no password."""
        self.url = url
        self._credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._seconds = seconds

    def __call__(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - whatever the node answers
        """Return a call's result.

        Raises:
            JsonRpcError: the node refused it.
            OSError: the node was not reached.
        """
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
        request = urllib.request.Request(
            self.url,
            data=body.encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Basic {self._credentials}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as response:
                answer = json.load(response)
        except (
            urllib.error.HTTPError
        ) as refusal:  # bitcoind says with HTTP, too, that a call failed
            with refusal:
                answer = json.loads(refusal.read() or b"{}")
        error = answer.get("error") or ({} if "result" in answer else {"message": "no answer"})
        if error:
            raise JsonRpcError(error.get("code", 0), error.get("message", ""))
        return answer["result"]


class Bitcoind(Part):
    """A Bitcoin network of one node on the loopback address."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        data: Path | None = None,
        block_seconds: float | None = None,
        txindex: bool = True,
        options: tuple[str, ...] = (),
    ) -> None:
        """Choose a port (0: a free one).

        Args:
            folder: gets the log, `logs/bitcoind.log`, and by default the data.
            port: where it answers.
            data: folder that keeps chain, wallet and password; `<folder>/bitcoind` by default.
            block_seconds: time between blocks; without it, `mine` alone makes blocks.
            txindex: whether transactions are found by their id alone.
            options: further ones of bitcoind.
        """
        self.port = port or free_port()
        self.network = NETWORK
        self.data = folder / "bitcoind" if data is None else data
        self.password = _password(self.data)
        self.url = f"http://{USER}:{self.password}@{LOOPBACK}:{self.port}"
        self.block_seconds = block_seconds
        plain = f"http://{LOOPBACK}:{self.port}"
        self.rpc = BitcoinRpc(plain, USER, self.password)
        self.wallet = BitcoinRpc(f"{plain}/wallet/{WALLET}", USER, self.password)
        self._asking = BitcoinRpc(plain, USER, self.password, _READY_CALL_SECONDS)
        self._mining: threading.Thread | None = None
        self._ended = threading.Event()
        log = folder / "logs" / "bitcoind.log"
        super().__init__(
            "bitcoind", self._command(options, txindex=txindex), log, self._is_prepared
        )
        self.death_signal = signal.SIGTERM  # so that it saves what it holds in memory

    @override
    def launch(self) -> None:
        require_free(self.port, self.name)
        self._stop_mining()
        super().launch()
        if self.block_seconds is not None:
            self._ended = threading.Event()
            arguments = (self.block_seconds, self._ended)
            self._mining = threading.Thread(target=self._mine_by_clock, args=arguments, daemon=True)
            self._mining.start()

    @override
    def stop(self) -> None:
        self._stop_mining()
        super().stop()

    @override
    def kill(self) -> None:
        self._ended.set()
        super().kill()
        self._stop_mining()

    @property
    def part(self) -> Part:
        """The node as a process, which it is itself."""
        return self

    def height(self) -> int:
        """Return the number of the newest block."""
        return int(self.rpc("getblockcount"))

    def mine(self, blocks: int = 1) -> list[str]:
        """Mine some blocks at once and return their hashes."""
        return list(self.rpc("generatetodescriptor", blocks, _anybody()))

    def mine_with(self, *transactions: str) -> str:
        """Mine one block that holds just these, as raw transactions or ids in the pool; return its hash."""
        return str(self.rpc("generateblock", _anybody(), list(transactions))["hash"])

    def reorg(self, depth: int, blocks: int | None = None) -> None:
        """Undo the last blocks and mine others, one more by default; what was in them goes back to the pool."""
        first = self.rpc("getblockhash", self.height() - depth + 1)
        self.rpc("invalidateblock", first)
        for _ in range(depth + 1 if blocks is None else blocks):
            self.mine_with()

    def save(self) -> None:
        """Make all blocks and the pool survive a kill."""
        self.rpc("gettxoutsetinfo", "none")
        self.rpc("savemempool")

    def _command(self, options: tuple[str, ...], *, txindex: bool) -> list[str]:
        salt = secrets.token_hex(16)
        digest = hmac.new(salt.encode(), self.password.encode(), hashlib.sha256).hexdigest()
        return [
            *(str(bitcoind_binary()), f"-{NETWORK}", f"-datadir={self.data}"),
            *(f"-rpcport={self.port}", f"-rpcbind={LOOPBACK}", f"-rpcallowip={LOOPBACK}"),
            *(f"-rpcauth={USER}:{salt}${digest}", "-server=1", f"-txindex={int(txindex)}"),
            *("-listen=0", "-connect=0", "-dnsseed=0", "-fixedseeds=0", "-fallbackfee=0.0001"),
            *("-printtoconsole=0", "-dbcache=16", "-par=1", "-addresstype=bech32", *options),
        ]

    def _is_prepared(self) -> bool:
        """Whether it answers, the wallet is loaded, and the wallet's rewards can be spent."""
        try:
            self._load_wallet()
            if self._asking("getblockcount") < REWARDS + MATURITY:
                self._first_blocks()
        except (OSError, ValueError, HTTPException, JsonRpcError):
            return False
        return True

    def _load_wallet(self) -> None:
        if WALLET in self._asking("listwallets"):
            return
        known = {wallet["name"] for wallet in self._asking("listwalletdir")["wallets"]}
        self._asking("loadwallet" if WALLET in known else "createwallet", WALLET)

    def _first_blocks(self) -> None:
        """Give the wallet its rewards; may be repeated after a start that was cut short."""
        height = self._asking("getblockcount")
        address = self.wallet("getnewaddress")
        if height < REWARDS:
            self._asking("generatetoaddress", REWARDS - height, address)
        self.mine(MATURITY + REWARDS - max(height, REWARDS))
        self.save()

    def _mine_by_clock(self, seconds: float, ended: threading.Event) -> None:
        """Mine a block each time, once the first ones exist; a node that does not answer is left alone."""
        while not ended.wait(seconds):
            with suppress(OSError, ValueError, HTTPException, JsonRpcError):
                if self._asking("getblockcount") >= REWARDS + MATURITY:
                    self._asking("generatetodescriptor", 1, _anybody())
                    self.save()

    def _stop_mining(self) -> None:
        self._ended.set()
        if self._mining is not None and self._mining is not threading.current_thread():
            self._mining.join(_READY_CALL_SECONDS)
            self._mining = None


def _anybody() -> str:
    """Return the descriptor of a script that anybody may spend; another each time.

    A block that was undone would else be mined again with the same bytes, and refused.
    """
    return f"raw(04{secrets.token_hex(4)}7551)"


def _password(data: Path) -> str:
    """Return the password of a data folder; made, readable by its owner only, if there is none."""
    file = data / "rpc-password"
    data.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(16))
    return file.read_text(encoding="ascii").strip()
