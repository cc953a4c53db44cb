"""The place where a local EVM chain runs: anvil, with blocks by the clock or by hand.

With a state file it writes its chain each second: `kill -9` loses the last second and the pool, SIGTERM nothing.
"""

from pathlib import Path

from devnet.jsonrpc import JsonRpc
from devnet.ports import LOOPBACK, free_port
from devnet.process import Part
from devnet.supply import anvil_binary

CHAIN_ID = 31_337


class Anvil:
    """An EVM chain on the loopback address."""

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
        """Choose a port; without `block_seconds` blocks are mined by `mine` only. Finalized = tip − 2 · slots."""
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.rpc = JsonRpc(self.url)
        self.chain_id = chain_id
        command = [
            str(anvil_binary()), "--silent", "--host", LOOPBACK, "--port", str(self.port),
            "--chain-id", str(chain_id), "--slots-in-an-epoch", str(slots_in_an_epoch),
        ]  # fmt: skip
        command += ["--block-time", str(block_seconds)] if block_seconds else ["--no-mining"]
        if state is not None:
            command += ["--state", str(state), "--state-interval", "1", "--preserve-historical-states"]
        self.part = Part("anvil", command, folder / "logs" / "anvil.log", self.rpc.answers)

    def __enter__(self) -> "Anvil":
        """Start."""
        self.part.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self.part.stop()

    def mine(self, blocks: int = 1) -> None:
        """Mine some blocks at once."""
        self.rpc("anvil_mine", hex(blocks))

    def fund(self, address: str, wei: int = 10**20) -> None:
        """Set an account's balance."""
        self.rpc("anvil_setBalance", address, hex(wei))

    def reorg(self, depth: int) -> None:
        """Replace the last blocks by empty ones; their transactions are gone, not in the pool."""
        self.rpc("anvil_reorg", [depth, []])

    def height(self) -> int:
        """Return the number of the newest block."""
        return int(self.rpc("eth_blockNumber"), 16)
