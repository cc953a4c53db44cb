"""Anchors rounds on a real bitcoind, as an aggregator does."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from devnet.bitcoind import WALLET, Bitcoind
from devnet.jsonrpc import JsonRpcError
from tests.ledgers.evm.chain import remembered
from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundView,
    SignedCandidate,
    Terms,
    WatchedRound,
)
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.bitcoin.core.transaction import COIN_SATS
from vaultmesh.ledgers.bitcoin.driver import BtcAnchoring
from vaultmesh.ledgers.bitcoin.settings import BtcSettings

__all__ = [
    "FRESH",
    "PRUNING",
    "BitcoinSubmitter",
    "close_submitters",
    "network",
    "observed",
    "open_submitter",
    "prune",
    "remembered",
    "replace_wallet",
    "spend",
]
FRESH = "fresh"
"""The wallet that knows nothing of what another one anchored."""
PRUNING = ("-prune=1", "-fastprune=1")
"""Of a node that forgets blocks on command, also on regtest: its files are small."""


@contextmanager
def network(folder: Path, *, txindex: bool = False) -> Iterator[Bitcoind]:
    """Run a network, by default without an index of transactions."""
    with Bitcoind(folder, txindex=txindex) as node:
        yield node


class BitcoinSubmitter:
    """A target and what its workflow would remember."""

    def __init__(self, target: BtcAnchoring, url: str) -> None:
        """Start with nothing reserved."""
        self.target = target
        self.url = url
        self.last: Reservation | None = None
        self.stored: int | None = None
        self.candidates: dict[str, list[SignedCandidate]] = {}

    async def reserve(self, commitment: bytes | None = None) -> tuple[Reservation, Terms]:
        """Reserve for a commitment."""
        return await self.target.reserve(
            commitment or secrets.token_bytes(32),
            "1761300000",
            last=self.last,
            highest_stored=lambda _: self.stored,
        )

    async def sign(self, commitment: bytes | None = None) -> WatchedRound:
        """Reserve and sign a round."""
        commitment = commitment or secrets.token_bytes(32)
        reservation, terms = await self.reserve(commitment)
        self.last, self.stored = reservation, reservation.sequence
        candidate = await self.target.sign(reservation, terms, 0)
        round_id = commitment.hex()[:32]
        self.candidates[round_id] = [candidate]
        return WatchedRound(
            round_id=round_id,
            commitment="0x" + commitment.hex(),
            label="1761300000",
            reservation=reservation,
            tx_refs=[candidate.tx_ref],
            signed_at=datetime.now(UTC),
        )

    async def anchor(self) -> WatchedRound:
        """Reserve, sign and broadcast a round."""
        watched = await self.sign()
        await self.rebroadcast(watched)
        return watched

    async def rebroadcast(self, watched: WatchedRound, n: int = -1) -> str:
        """Send a candidate, the newest by default, and return the verdict."""
        candidate = self.candidates[watched.round_id][n]
        return (await self.target.broadcast(watched.reservation, candidate)).verdict.value

    async def bump(self, watched: WatchedRound) -> WatchedRound:
        """Sign a higher bid and broadcast it."""
        signed = self.candidates[watched.round_id]
        bumped = await self.target.bump(watched.reservation, signed[-1].terms)
        if bumped.terms is None:
            raise RuntimeError(bumped.message)
        candidate = await self.target.sign(watched.reservation, bumped.terms, len(signed))
        signed.append(candidate)
        await self.rebroadcast(watched)
        return watched.model_copy(update={"tx_refs": [one.tx_ref for one in signed]})

    def raw_of(self, watched: WatchedRound, tx_ref: str) -> str:
        """Return the signed bytes of a candidate."""
        return next(one.raw for one in self.candidates[watched.round_id] if one.tx_ref == tx_ref)

    async def look(self, watched: WatchedRound) -> RoundView:
        """Look once at one round."""
        return (await self.target.look([watched]))[0]


def open_submitter(
    url: str, *, reference: str = "regtest", call_seconds: float = 5.0, **settings: JsonValue
) -> BitcoinSubmitter:
    """Return an aggregator on a network; `settings` in the form of anchors.yaml."""
    document: dict[str, JsonValue] = {"rpcUrl": url, "confirmations": 3, "wallet": WALLET}
    parsed = BtcSettings.model_validate(document | settings)
    target = BtcAnchoring(Target("btc", reference), parsed, call_seconds)
    _opened.append(target)
    return BitcoinSubmitter(target, url)


_opened: list[BtcAnchoring] = []


async def close_submitters() -> None:
    """Close the connections of all that were opened."""
    while _opened:
        await _opened.pop().close()


def replace_wallet(node: Bitcoind) -> BitcoinSubmitter:
    """Take the wallet away, and put one there that knows nothing of it."""
    node.rpc("unloadwallet", WALLET)
    node.rpc("createwallet", FRESH)
    return open_submitter(node.url, wallet=FRESH)


async def observed(
    submitter: BitcoinSubmitter, watched: WatchedRound
) -> tuple[WatchedRound, RoundView]:
    """Look once, and return the round as the next look gets it, and the view."""
    view = await submitter.look(watched)
    kept = {"notes": watched.notes if view.notes is None else view.notes}
    return remembered(watched, view).model_copy(update=kept | {"undecided": view.undecided}), view


def spend(node: Bitcoind, reservation: Reservation, *, fee_sats: int = 50_000) -> str:
    """Have the wallet sign a transaction that is none of ours and spends what a round reserved."""
    fields = reservation.fields
    amount = (int(str(fields["amountSats"])) - fee_sats) / COIN_SATS
    spent = [{"txid": fields["txid"], "vout": fields["vout"]}]
    raw = node.rpc("createrawtransaction", spent, {node.wallet("getnewaddress"): f"{amount:.8f}"})
    return str(node.wallet("signrawtransactionwithwallet", raw)["hex"])


def prune(node: Bitcoind) -> None:
    """Mine on until the newest block of now is gone from a node that was started with `PRUNING`."""
    newest = node.rpc("getbestblockhash")
    for _ in range(8):
        node.mine(300)
        node.rpc("pruneblockchain", node.height() - 288)
        try:
            node.rpc("getblock", newest, 0)
        except JsonRpcError as error:
            assert "pruned" in str(error), error
            return
    message = "the node keeps all blocks"
    raise RuntimeError(message)
