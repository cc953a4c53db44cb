"""Decides what a Bitcoin signature will cover: network, output to spend, change, fee (B2, B3, B14).

1. Nothing is decided before the node has shown the configured network, and the wallet that it can sign.
2. One confirmed output is spent. Those come first that can pay the highest bid, of these the final ones, which can't
   be undone, and of these the deepest: they are the change of no round that is still watched.
3. A transaction that we can't pay, or whose change would not be worth spending, gets no reservation.
4. The change goes back to the script that paid: no address has to be made, and the wallet keeps its backup.
5. Deciding changes nothing in the wallet: repeated, it decides the same. The output is locked with the signature.
"""

import asyncio
import logging
from dataclasses import dataclass

from vaultmesh.domain.aggregator.ledger_messages import Reservation
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AuthFailure, NetworkFailure
from vaultmesh.ledgers.bitcoin.core.transaction import COIN_SATS, dust_sats, parse_hash, read_hex
from vaultmesh.ledgers.bitcoin.fees import Bids, fee_at, opening_rate, read_market, shown_rate
from vaultmesh.ledgers.bitcoin.node import Ledger, Rules
from vaultmesh.ledgers.bitcoin.plan import Plan, sign_plan
from vaultmesh.ledgers.bitcoin.rpc import WALLET_MISSING, WALLET_UNSPECIFIED, Node, NodeError, Reply
from vaultmesh.ledgers.driver import StaleCaller

ROUGH_VSIZE = 160
"""Virtual bytes of an anchor whose input is a witness program; the exact size is known once it is signed."""
SIZE_MARGIN = 1
"""Virtual bytes that signatures of the same kind may differ by."""
_LARGEST_DEPTH = 9_999_999
_DEEP = 100
"""Blocks above which deeper is not better."""
_UNNAMED_WALLET = "(unnamed)"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Coin:
    """One output that the wallet can spend."""

    txid: str
    vout: int
    sats: int
    script: str
    depth: int

    def pays(self, rate_per_kvb: int) -> bool:
        """Say whether it pays an anchor at this rate, and a change worth spending (B2)."""
        needed = fee_at(rate_per_kvb, ROUGH_VSIZE) + dust_sats(read_hex(self.script))
        return self.sats >= needed


def next_sequence(account: str, last: Reservation | None, stored_sequence: int | None) -> int:
    """Return the number of the next reservation of a target; it orders rounds that spend each other's change.

    Raises:
        StaleCaller: the storage knows reservations of the wallet that the caller does not.
    """
    known = last.sequence if last is not None and last.sequence is not None else -1
    stored = -1 if stored_sequence is None else stored_sequence
    if last is not None and last.account != account:
        _log.warning("wallet changed", extra={"account": account, "former": last.account})
    elif stored > known:
        message = f"the storage holds reservation {stored}, the caller knows {known}"
        raise StaleCaller(message)
    return 1 + max(known, stored)


async def spendable(node: Node) -> str:
    """Return a mark of what the wallet can spend; it differs once somebody funds or unlocks it."""
    wallet = Reply.of(await node.wallet("getwalletinfo"))
    balances = Reply.of(await node.wallet("getbalances"))
    return f"{balances.values('mine')} {wallet.values('unlocked_until')}"


async def require_wallet(node: Node) -> str:
    """Return the wallet's name, once it has shown that it can sign.

    Raises:
        AuthFailure: it is not loaded, not named, locked, or without keys.
        NetworkFailure: it is still catching up.
    """
    try:
        wallet = Reply.of(await node.wallet("getwalletinfo"))
    except NodeError as error:
        if error.code == WALLET_MISSING:
            which = f"the wallet {node.wallet_name}" if node.wallet_name else "no wallet"
            state = "is not loaded" if node.wallet_name else "is loaded"
            message = f"{which} {state} at {node.label}: load it with loadwallet, or correct wallet"
            raise AuthFailure(message) from error
        if error.code == WALLET_UNSPECIFIED:
            message = f"several wallets are loaded at {node.label}: name the one that pays with the key wallet"
            raise AuthFailure(message) from error
        raise
    name = wallet.text("walletname", "") or _UNNAMED_WALLET
    if not wallet.flag("private_keys_enabled", default=True):
        message = f"the wallet {name} at {node.label} has no private keys: name one that has"
        raise AuthFailure(message)
    if wallet.has("unlocked_until") and wallet.number("unlocked_until") == 0:
        message = f"the wallet {name} at {node.label} is locked: unlock it with walletpassphrase"
        raise AuthFailure(message)
    if wallet.is_object("scanning"):
        message = f"the wallet {name} at {node.label} is still scanning blocks"
        raise NetworkFailure(message)
    return name


async def decide(
    node: Node, ledger: Ledger, rules: Rules, bids: Bids, commitment: bytes
) -> tuple[Plan, int]:
    """Decide everything but the key's part, and the fee in satoshis; each check raises before an output is given out."""
    market, coins = await asyncio.gather(read_market(node, bids), _coins(node))
    rate = opening_rate(market, bids)
    coin = _choice(coins, rate, bids.cap_per_kvb, rules.confirmations)
    if coin is None:
        raise AuthFailure(await _top_up(node, coins, rate))
    rough = Plan(
        network=rules.network.value,
        genesis=ledger.genesis,
        block_hash=ledger.tip,
        txid=coin.txid,
        vout=coin.vout,
        amount_sats=coin.sats,
        script_pub_key=coin.script,
        change_script=coin.script,
        commitment=commitment.hex(),
        vsize=ROUGH_VSIZE,
        height=ledger.height,
        confirmations=rules.confirmations,
    )
    trial = await sign_plan(node, rough, fee_at(rate, ROUGH_VSIZE))
    plan = rough.model_copy(update={"vsize": trial.vsize + SIZE_MARGIN})
    fee = fee_at(rate, plan.vsize)
    if fee > plan.most_fee_sats:
        raise AuthFailure(await _top_up(node, coins, rate))
    return plan, fee


def _choice(
    coins: list[Coin], rate_per_kvb: int, cap_per_kvb: int, final_depth: int
) -> Coin | None:
    """Return the output that fits best; the order of the list does not matter."""

    def order(coin: Coin) -> tuple[bool, bool, int, int, str, int]:
        bids_end_early = not coin.pays(cap_per_kvb)
        young, depth = coin.depth < final_depth, min(coin.depth, _DEEP)
        return bids_end_early, young, -depth, -coin.sats, coin.txid, coin.vout

    return min((coin for coin in coins if coin.pays(rate_per_kvb)), key=order, default=None)


async def _coins(node: Node) -> list[Coin]:
    listed = await node.wallet("listunspent", 1, _LARGEST_DEPTH, [], False)
    return [
        _coin(node, output)
        for output in Reply.each(listed)
        if all(output.flag(key, default=True) for key in ("spendable", "solvable", "safe"))
    ]


def _coin(node: Node, listed: Reply) -> Coin:
    txid, script = listed.text("txid"), listed.text("scriptPubKey")
    try:
        parse_hash(txid)
        read_hex(script)
    except InvalidValue as error:
        message = f"{node.label} lists an output that makes no sense: {error}"
        raise NetworkFailure(message) from error
    depth, vout = listed.number("confirmations"), max(listed.number("vout"), 0)
    return Coin(txid, vout, listed.sats("amount"), script, depth)


async def _top_up(node: Node, coins: list[Coin], rate_per_kvb: int) -> str:
    """Say what is missing, and what lies there that can't be spent now."""
    needed = fee_at(rate_per_kvb, ROUGH_VSIZE)
    locked = await node.wallet("listlockunspent")
    largest = max((coin.sats for coin in coins), default=0)
    wallet = f"the wallet {node.wallet_name}" if node.wallet_name else "the wallet"
    return (
        f"insufficient funds: {wallet} at {node.label} has {len(coins)} confirmed outputs, the largest of "
        f"{largest / COIN_SATS:.8f} BTC, and {len(locked) if isinstance(locked, list) else 0} locked ones; an anchor "
        f"needs one of {needed} sat ({shown_rate(rate_per_kvb)} sat/vB) and a change worth spending on top: top it up"
    )
