"""Finds out for an operator what became of a round's output, and reads a transaction that is to be adopted.

1. A candidate that pool, wallet or a block shows speaks against a loss. A wallet that was replaced knows none of them,
   so the blocks are read as far as the node shows them.
2. An output that may still be spent does too: one that is unspent, whose spend is young, or that no block spends although
   all of them are shown.
3. Only blocks that the node does not show leave it to the operator; the decision names them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from activities.anchors.btc_coins import needed_by
from activities.anchors.btc_fees import FEE
from activities.anchors.btc_ledger import Ledger, is_canonical
from activities.anchors.btc_notes import Mark, Notes
from activities.anchors.btc_plan import Plan
from activities.anchors.btc_rpc import Node
from activities.anchors.btc_search import newest_mark, search
from activities.anchors.contract import Fate
from vaultmesh.domain.bitcoin import Transaction, read_hex
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.ledger import SignedCandidate

SEARCH_SECONDS = 30.0
"""How long blocks are read for one decision: half of what its step may take. Looks read on meanwhile."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """What a decision about one round asks its node."""

    node: Node
    ledger: Ledger
    plan: Plan
    tx_refs: Sequence[str]
    """Ids of the candidates."""
    final_depth: int

    async def fate(self, notes: Notes) -> Fate:
        """Say what the node shows of the output and of the candidates that spend it."""
        shown = [one for one in self.tx_refs if await _is_shown(self.node, one)]
        unused = await self._why_unused() or await self._why_undoable()
        if shown or unused:
            told = unused or self._spent()
            names = f"{self.node.label} shows {', '.join(shown)}" if shown else ""
            return Fate(shown=names, unused=unused, lines=(told,))
        return await self._in_blocks(notes)

    def _spent(self) -> str:
        return f"{self.plan.outpoint} was spent, or ceased to exist, as {self.node.label} shows"

    async def _in_blocks(self, notes: Notes) -> Fate:
        """Say which transaction the blocks show as the spender, or which blocks are not shown."""
        node, plan = self.node, self.plan
        tip, notes, is_complete = await self._searched(notes)
        if notes.spend is not None:
            place = f"{notes.spend.txid} in block {notes.spend.height}"
            if notes.spend.commits:
                shown = f"{node.label} shows {place}, which carries the commitment"
                return Fate(shown=shown, lines=(shown,))
            young = self._why_young(tip.height - notes.spend.height + 1)
            return Fate(unused=young, lines=(young or f"{self._spent()}: by {place}",))
        if not is_complete:
            read = notes.read_to.height if notes.read_to else plan.height
            why = f"blocks are read up to {read} of {tip.height} for what spent {plan.outpoint}; ask again in a while"
            return Fate(unused=why, lines=(why,))
        if notes.unread is None:
            why = (
                f"{node.label} does not show {plan.outpoint} as unspent, nor a block that spends it"
            )
            return Fate(unused=why, lines=(why,))
        first, last = notes.unread
        unread = f"blocks from {first} to {last} that may spend it are not shown (pruned?)"
        return Fate(lines=(f"{self._spent()}; {unread}",))

    async def _searched(self, notes: Notes) -> tuple[Mark, Notes, bool]:
        """Read blocks, from where the looks stopped, for a while; returns the newest one and what was found."""
        node, plan = self.node, self.plan
        decided_at = Mark(height=plan.height, hash=plan.block_hash)
        needed = await needed_by(node, plan, self.tx_refs, read_hex(plan.commitment))
        ends = time.monotonic() + SEARCH_SECONDS
        while True:
            tip = await newest_mark(node)
            found = await search(node, needed, notes, decided_at, tip)
            notes = found.notes
            in_vain = found.is_complete and notes.spend is None and notes.unread is None
            if in_vain and notes.unspent_at is not None:
                notes = Notes()  # another node may have called it unspent: from the reservation on
            elif found.is_complete or time.monotonic() >= ends:
                return tip, notes, found.is_complete

    async def _why_unused(self) -> str:
        """Return why the output may still be spent; empty once a block took it, or what it hangs on.

        An output that is not unspent while its own transaction is in a block was spent in a block; one whose transaction
        conflicts with a block is gone. So is one that was unspent in a block which is still in the chain. A node that shows
        neither that block nor its transaction says nothing.
        """
        node, plan, ledger = self.node, self.plan, self.ledger
        if await node.call("gettxout", plan.txid, plan.vout, False) is not None:
            return f"{plan.outpoint} is unspent at {node.label}"
        was_unspent = bool(plan.block_hash) and not ledger.is_syncing
        if was_unspent and await is_canonical(node, ledger, plan.height, plan.block_hash):
            return ""
        parent = await node.found_in_wallet("gettransaction", plan.txid)
        if parent is None:
            return f"the wallet at {node.label} does not know the transaction of {plan.outpoint}"
        if parent.number("confirmations") == 0:
            return f"the transaction of {plan.outpoint} is in no block of {node.label}"
        return ""

    async def _why_undoable(self) -> str:
        """Return why the spend can still be undone, where the wallet knows how deep it lies."""
        asked = (self.plan.txid, *self.tx_refs)
        known = [await self.node.found_in_wallet("gettransaction", one) for one in asked]
        depths = [-one.number("confirmations") for one in known if one is not None]
        deepest = max(depths, default=0)
        return self._why_young(deepest) if deepest > 0 else ""

    def _why_young(self, depth: int) -> str:
        if depth >= self.final_depth:
            return ""
        return f"the spend of {self.plan.outpoint} is {depth} of {self.final_depth} blocks deep at {self.node.label}"


async def _is_shown(node: Node, txid: str) -> bool:
    """Say whether a transaction is in the pool, or in a block of the chain."""
    if await node.found("getmempoolentry", txid) is not None:
        return True
    known = await node.found_in_wallet("gettransaction", txid)
    return known is not None and known.number("confirmations") > 0


async def adoptable(node: Node, plan: Plan, txid: str) -> SignedCandidate:
    """Return a transaction that spends the output and carries the commitment; its number is the caller's to choose.

    Raises:
        ValidationFailure: the node does not show it, or it is not what the round signed.
    """
    known = await node.found_in_wallet("gettransaction", txid)
    if known is None or not await _is_shown(node, txid):
        message = f"{node.label} does not show {txid}: only a transaction that is in the ledger can be adopted"
        raise ValidationFailure(message)
    raw = known.text("hex")
    try:
        transaction = Transaction.parse_hex(raw)
    except InvalidValue as error:
        message = f"{txid} can't be read as a transaction: {error}"
        raise ValidationFailure(message) from None
    spends = [one.outpoint for one in transaction.inputs] == [plan.outpoint]
    commits = transaction.commitments == [read_hex(plan.commitment)]
    if transaction.txid != txid or not spends or not commits:
        what = "spend the round's output" if not spends else "carry its commitment"
        message = f"{txid} does not {what}: it can't be adopted"
        raise ValidationFailure(message)
    fee = plan.amount_sats - sum(one.sats for one in transaction.outputs)
    return SignedCandidate(n=0, tx_ref=txid, raw=raw, terms={FEE: fee})
