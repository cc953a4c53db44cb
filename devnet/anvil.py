"""Runs a local EVM chain: anvil, with blocks by the clock or by hand.

What a chain with a state file keeps (measured with anvil 1.7.1):

1. SIGTERM keeps all blocks, also when it is sent because we died. The pool is lost.
2. `kill -9` loses the pool and what was mined in the last second; killed in the middle of a write, up to three seconds
   (`devnet.chain_state`). The same heights are then mined again with other hashes, so that to its users it is a reorg.
   `save` waits until all that was mined before is safe.
3. Blocks, transactions, receipts, logs, code and balances come back. Of old states only the last `KEPT_STATES` do:
   balances and counts of older blocks can't be asked for, and a deeper reorg can't be made. Keeping all of them
   would write 300 MB each second after 2000 blocks; so it is 1.8 KB a block, and 11 MB after an hour of 1 s blocks.

anvil's own accounts, whose keys everybody knows, do not exist here: `fund` gives money to an address.
"""

import platform
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from devnet.chain_state import INTERVAL_SECONDS, ChainState
from devnet.errors import PartError
from devnet.jsonrpc import JsonRpc
from devnet.ports import LOOPBACK, free_port, require_free
from devnet.process import PAUSE_SECONDS, Part
from devnet.supply import Supply, install_npm

ANVIL_VERSION = "1.7.1"
CHAIN_ID = 31_337
ETHER_WEI = 10**18
KEPT_STATES = 16
SAVE_SECONDS = 10.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _fetch(folder: Path) -> None:
    """Keep the platform's program only: killing the script of the same name would leave it alive."""
    install_npm(f"@foundry-rs/anvil@{ANVIL_VERSION}", folder)
    machine = _ARCHITECTURES.get(platform.machine(), platform.machine())
    package = f"anvil-{platform.system().lower()}-{machine}"
    program = folder / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
    if not program.exists():
        message = f"there is no {package}; Foundry's own installer has it"
        raise PartError(message)
    program.rename(folder / "anvil")
    shutil.rmtree(folder / "node_modules")


ANVIL = Supply(
    name="anvil",
    version=ANVIL_VERSION,
    variable="ANVIL",
    product="anvil",
    fetch=_fetch,
    takes="5 seconds",
    needs="npm",
    script_allowed=False,
    only_this_version=True,
)


def anvil_binary() -> Path:
    """Return anvil's program."""
    return ANVIL.obtain()


class Anvil(Part):
    """An EVM chain on the loopback address. Its finalized block is the tip less twice `slots_in_an_epoch`."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        chain_id: int = CHAIN_ID,
        block_seconds: int | None = None,
        slots_in_an_epoch: int = 1,
        state: Path | None = None,
    ) -> None:
        """Choose a port (0: a free one).

        Args:
            folder: gets the log, `logs/anvil.log`, and in `anvil` old states that don't fit into memory; these
                are left there, which otherwise would be the home folder.
            port: where it answers.
            chain_id: EIP-155 id of the chain.
            block_seconds: time between blocks; without it, `mine` alone makes blocks.
            slots_in_an_epoch: how far the tags `safe` and `finalized` lie behind: once and twice as many blocks.
            state: file that keeps the chain (with others beside it, whose names begin with a dot); without it,
                the chain is gone when it stops.
        """
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.rpc = JsonRpc(self.url)
        self.chain_id = chain_id
        self.state = None if state is None else ChainState(state)
        self._turning: threading.Thread | None = None
        self._ended = threading.Event()
        self._options = [
            *(str(anvil_binary()), "--silent", "--host", LOOPBACK, "--port", str(self.port)),
            *("--chain-id", str(chain_id), "--slots-in-an-epoch", str(slots_in_an_epoch)),
            *("--accounts", "0", "--cache-path", str(folder / "anvil")),
            *(["--block-time", str(block_seconds)] if block_seconds else ["--no-mining"]),
        ]
        log = folder / "logs" / "anvil.log"
        super().__init__("anvil", self._options, log, self.rpc.answers)
        if self.state is not None:
            self.death_signal = signal.SIGTERM  # so that it saves its last second

    @override
    def launch(self) -> None:
        require_free(self.port, self.name)
        if self.state is None:
            super().launch()
            return
        self._ended.set()
        if self._turning is not None:
            self._turning.join()
        history = ["--preserve-historical-states", "--prune-history", str(KEPT_STATES)]
        self.command = [*self._options, *self.state.options(), *history]
        super().launch()
        self._ended = threading.Event()
        turning = (self.state, self._ended)
        self._turning = threading.Thread(target=self._turn, args=turning, daemon=True)
        self._turning.start()

    @property
    def part(self) -> Part:
        """The chain as a process, which it is itself."""
        return self

    def save(self) -> None:
        """Wait until all blocks so far survive a kill.

        Raises:
            PartError: they were not written in time, or nothing keeps them.
        """
        wanted, deadline = self.height(), time.monotonic() + SAVE_SECONDS
        while self.state is None or (self.state.height() or 0) < wanted:
            if self.state is None or time.monotonic() > deadline:
                message = f"{self.name} did not save block {wanted}"
                raise PartError(message)
            time.sleep(PAUSE_SECONDS)

    def mine(self, blocks: int = 1) -> None:
        """Mine some blocks at once."""
        self.rpc("anvil_mine", hex(blocks))

    def fund(self, address: str, wei: int = 100 * ETHER_WEI) -> None:
        """Set an account's balance."""
        self.rpc("anvil_setBalance", address, hex(wei))

    def reorg(self, depth: int, transactions: Sequence[tuple[str, int]] = ()) -> None:
        """Replace the last blocks; what was in them is gone, not in the pool.

        `transactions` are signed ones to mine instead, each with the number of the new block, from 0.
        """
        self.rpc("anvil_reorg", depth, [list(transaction) for transaction in transactions])

    def roll_back(self, depth: int) -> None:
        """Take the last blocks away."""
        self.rpc("anvil_rollback", depth)

    def drop(self, tx_hash: str) -> None:
        """Take a transaction out of the pool."""
        self.rpc("anvil_dropTransaction", tx_hash)

    def height(self, tag: str = "latest") -> int:
        """Return the number of the newest block, or of that with a tag such as `finalized`."""
        return int(self.rpc("eth_getBlockByNumber", tag, False)["number"], 16)

    def deploy(self, bytecode: str, *, seconds: float = SAVE_SECONDS) -> str:
        """Deploy a contract from an account that nobody has the key of, and return its address."""
        sender = "0x" + secrets.token_hex(20)
        self.fund(sender)
        self.rpc("anvil_impersonateAccount", sender)
        tx_hash = self.rpc("eth_sendTransaction", {"from": sender, "data": bytecode})
        if "--no-mining" in self.command:
            self.mine()
        deadline = time.monotonic() + seconds
        while (tx_receipt := self.rpc("eth_getTransactionReceipt", tx_hash)) is None:
            if time.monotonic() > deadline:
                message = f"the deployment {tx_hash} was not mined in {seconds:g} s"
                raise PartError(message)
            time.sleep(PAUSE_SECONDS)
        return str(tx_receipt["contractAddress"])

    def _turn(self, state: ChainState, ended: threading.Event) -> None:
        while not ended.wait(INTERVAL_SECONDS) and self.alive:
            state.turn()
