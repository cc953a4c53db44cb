"""Runs a real anvil: start, mine, reorganise, stop, and anchor rounds on it."""

import asyncio
import json
import os
import secrets
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientError, ClientSession
from eth_account import Account
from eth_utils.address import to_checksum_address
from pydantic import JsonValue

from devnet import anvil
from tests.support.freezing import freeze
from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    WatchedRound,
)
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.evm.driver import EvmAnchoring
from vaultmesh.ledgers.evm.settings import EvmSettings

CHAIN_ID = 31337
ARTIFACT = Path(__file__).parents[3] / "contracts" / "RemembrancerAnchor.json"
MUTE_CODE = (
    "0x6080604052348015600f57600080fd5b5060dc80601d6000396000f3fe6080604052348015600f57600080fd5b"
    "506004361060325760003560e01c80631ea9bf1f1460775780637e900de4146095575b60005460ff161560755760"
    "405162461bcd60e51b8152600401606c906020808252600490820152633232b0b360e11b604082015260600190565b"
    "60405180910390fd5b005b6075608236600460b5565b6000805460ff1916911515919091179055565b60005460a190"
    "60ff1681565b604051901515815260200160405180910390f35b60006020828403121560c657600080fd5b8135801515"
    "811460d557600080fd5b939250505056"
)
"""A contract that takes any call and logs nothing; it reverts once `hush(true)` was called:
`contract Mute { bool public deaf; function hush(bool d) external { deaf = d; }
fallback() external { require(!deaf, "deaf"); } }`, solc 0.8.30, paris, 200 runs, without metadata."""
HUSH = "0x1ea9bf1f" + "1".zfill(64)
SECRETS = ("hunter2", "secretpath", "user:")
"""What `with_credentials` puts into a URL and no text may show."""
MANY_BLOCKS = 100
_READY_SECONDS = 30
_PAUSE_SECONDS = 0.02
_RICH = "0x56bc75e2d63100000"  # 100 ether


def anvil_binary() -> str:
    """Return anvil's program, fetched if need be."""
    return str(anvil.anvil_binary())


def contract_code() -> str:
    """Return the bytecode that deploys the anchor contract."""
    path = Path(os.environ.get("VMSH_CONTRACT_ARTIFACT", ARTIFACT))
    code = str(json.loads(path.read_text(encoding="utf-8"))["bytecode"])
    return code if code.startswith("0x") else "0x" + code


class Chain:
    """One anvil that mines by hand."""

    def __init__(self, *arguments: str, chain_id: int = CHAIN_ID) -> None:
        """Prepare; starts with `async with`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.chain_id = chain_id
        self.contract = ""
        self._arguments = arguments
        self._anvil: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start anvil and deploy the contract."""
        self._session = ClientSession()
        try:
            await self.start()
            self.dev = str((await self.rpc("eth_accounts"))[0])
            self.contract = await self.deploy(contract_code())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *details: object) -> None:
        """Kill anvil."""
        if self._anvil is not None:
            await self.end(signal.SIGKILL)
        await self._session.close()

    async def start(self) -> None:
        """Start anvil and wait until it answers."""
        fixed = ("--silent", "--no-mining", "--slots-in-an-epoch", "2")
        named = ("--port", str(self.port), "--chain-id", str(self.chain_id))
        self._anvil = await asyncio.create_subprocess_exec(
            anvil_binary(), *fixed, *named, *self._arguments
        )
        async with asyncio.timeout(_READY_SECONDS):
            while not await self._answers():  # noqa: ASYNC110 - another process: no event to wait for
                await asyncio.sleep(_PAUSE_SECONDS)

    async def end(self, number: signal.Signals) -> None:
        """Send a signal to anvil and wait until it has ended."""
        self.signal(number)
        if self._anvil is not None:
            await self._anvil.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to anvil, unless it has ended; one that is stopped stands still on return."""
        if self._anvil is not None and self._anvil.returncode is None:
            if number is signal.SIGSTOP:
                freeze(self._anvil.pid)
            else:
                self._anvil.send_signal(number)

    async def rpc(self, method: str, *params: JsonValue) -> Any:
        """Call anvil and return its result."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self._session.post(self.url, json=call) as reply:
            answer = await reply.json()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    async def mine(self, blocks: int = 1) -> None:
        """Mine so many blocks; many of them at once."""
        if blocks > MANY_BLOCKS:
            await self.rpc("anvil_mine", hex(blocks))
            return
        for _ in range(blocks):
            await self.rpc("evm_mine")

    async def deploy(self, code: str) -> str:
        """Deploy from a dev account and return the address."""
        tx = await self.rpc("eth_sendTransaction", {"from": self.dev, "data": code})
        await self.mine()
        return str((await self.rpc("eth_getTransactionReceipt", tx))["contractAddress"])

    async def reorganise(self, depth: int, transactions: Sequence[JsonValue] = ()) -> None:
        """Replace the newest blocks; the old ones' transactions do not come back by themselves."""
        await self.rpc("anvil_reorg", depth, list(transactions))

    async def height(self) -> int:
        """Return the newest block's number."""
        return int(await self.rpc("eth_blockNumber"), 16)

    async def fund(self, key: str) -> str:
        """Give the key's account money and return its address."""
        address = str(Account.from_key(key).address)
        await self.rpc("anvil_setBalance", address, _RICH)
        return address

    async def _answers(self) -> bool:
        try:
            await self.rpc("eth_chainId")
        except (ClientError, OSError):
            return False
        return True


class Submitter:
    """A target and what its workflow would remember: drives rounds as the workflow does."""

    def __init__(self, target: EvmAnchoring) -> None:
        """Start with nothing reserved."""
        self.target = target
        self.last: Reservation | None = None
        self.stored: int | None = None
        self.candidates: dict[str, list[SignedCandidate]] = {}

    async def sign(self, label: str = "1761300000", root: bytes | None = None) -> WatchedRound:
        """Reserve and sign a round."""
        commitment = root or secrets.token_bytes(32)
        reservation, terms = await self.target.reserve(
            commitment, label, last=self.last, highest_stored=lambda _: self.stored
        )
        self.last, self.stored = reservation, reservation.sequence
        candidate = await self.target.sign(reservation, terms, 0)
        round_id = commitment.hex()[:32]
        self.candidates[round_id] = [candidate]
        return WatchedRound(
            round_id=round_id,
            commitment="0x" + commitment.hex(),
            label=label,
            reservation=reservation,
            tx_refs=[candidate.tx_ref],
            signed_at=datetime.now(UTC),
        )

    async def anchor(self, label: str = "1761300000") -> WatchedRound:
        """Reserve, sign and broadcast a round."""
        watched = await self.sign(label)
        await self.rebroadcast(watched)
        return watched

    async def rebroadcast(self, watched: WatchedRound) -> str:
        """Send the newest candidate again and return the verdict."""
        newest = self.candidates[watched.round_id][-1]
        return (await self.target.broadcast(watched.reservation, newest)).verdict.value

    async def bump(self, watched: WatchedRound) -> WatchedRound:
        """Sign a higher bid and broadcast it."""
        signed = self.candidates[watched.round_id]
        bumped = await self.target.bump(watched.reservation, signed[-1].terms)
        if bumped.terms is None:
            raise RuntimeError(bumped.message)
        signed.append(await self.target.sign(watched.reservation, bumped.terms, len(signed)))
        await self.rebroadcast(watched)
        return watched.model_copy(update={"tx_refs": [one.tx_ref for one in signed]})

    def raw_of(self, watched: WatchedRound, tx_ref: str) -> str:
        """Return the signed bytes of a candidate."""
        return next(one.raw for one in self.candidates[watched.round_id] if one.tx_ref == tx_ref)

    async def look(self, watched: WatchedRound) -> RoundView:
        """Look once at one round."""
        return (await self.target.look([watched]))[0]


def remembered(watched: WatchedRound, view: RoundView) -> WatchedRound:
    """Return the round as its workflow knows it after a look."""
    included = view.state is RoundState.INCLUDED
    update = {
        "state": view.state,
        "tx_ref": view.tx_ref if included else "",
        "block": view.block if included else None,
        "notes": watched.notes if view.notes is None else view.notes,
        "undecided": view.undecided,
    }
    return watched.model_copy(update=update)


def open_submitter(
    urls: Sequence[str],
    contract: str,
    key: str | None,
    *,
    call_seconds: float = 4.0,
    chain_id: int = CHAIN_ID,
    **settings: JsonValue,
) -> Submitter:
    """Return an aggregator on a target with these providers; `settings` in the form of anchors.yaml."""
    document: dict[str, JsonValue] = {"rpcUrls": list(urls), "contract": contract}
    document |= {"confirmations": 2} | ({"key": key} if key else {})
    parsed = EvmSettings.model_validate(document | settings)
    target = Target("eip155", str(chain_id))
    return Submitter(EvmAnchoring(target, parsed, Path(), call_seconds))


def foreign_transfer(chain: Chain, key: str, nonce: int) -> str:
    """Sign a transaction of the same account that is none of ours."""
    account = Account.from_key(key)
    signed = account.sign_transaction(
        {
            "type": 2,
            "chainId": chain.chain_id,
            "nonce": nonce,
            "to": to_checksum_address(chain.dev),
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 50 * 10**9,
            "maxPriorityFeePerGas": 20 * 10**9,
        }
    )
    return f"0x{signed.raw_transaction.hex()}"


def with_credentials(url: str) -> str:
    """Return the URL with a user, a password and a secret path."""
    return url.replace("http://", "http://user:hunter2@") + "/v3/secretpath"
