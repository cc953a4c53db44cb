"""Examines a Bitcoin target: the node, its chain, and the wallet. Nothing is signed or paid."""

from datetime import datetime, timedelta

from vaultmesh.domain.diagnosis import Diagnosis, ok, warning, wrong
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.freshness import in_words
from vaultmesh.ledgers.bitcoin.core.transaction import COIN_SATS
from vaultmesh.ledgers.bitcoin.fees import Bids, fee_at, opening_rate, read_market, shown_rate
from vaultmesh.ledgers.bitcoin.figures import trusted_sats
from vaultmesh.ledgers.bitcoin.node import Ledger, Rules, block_of, read_ledger
from vaultmesh.ledgers.bitcoin.reserve import ROUGH_VSIZE, require_wallet
from vaultmesh.ledgers.bitcoin.rpc import Node

OLD_HEAD = timedelta(hours=3)
"""Bitcoin's blocks come every ten minutes; three hours without one happen about once in a million blocks."""
FEW_ANCHORS = 20
"""A balance that pays fewer is warned of."""


class BitcoinDiagnosis:
    """One examination of one target."""

    def __init__(self, target: str, node: Node, rules: Rules, bids: Bids) -> None:
        """Ask this node, once."""
        self._target = target
        self._part = f"{target} {node.label}"
        self._node = node
        self._rules = rules
        self._bids = bids

    async def lines(self, now: datetime) -> list[Diagnosis]:
        """Return a line for each thing that was looked at; `now` is by this machine's clock."""
        try:
            ledger = await read_ledger(self._node, self._rules.network)
            tip = await self._tip(ledger, now)
        except AnchorError as error:
            return [
                wrong(self._part, "answers", str(error), "check rpcUrl, and that the node runs")
            ]
        lines = [ok(self._part, "network", f"genesis block {ledger.genesis}"), tip]
        try:
            name = await require_wallet(self._node)
        except AnchorError as error:
            what, _, mend = str(error).partition(": ")
            return [*lines, wrong(self._part, "wallet", what, mend or "check the wallet")]
        lines.append(ok(self._part, "wallet", name))
        try:
            return [*lines, await self._funds()]
        except AnchorError as error:
            return [*lines, wrong(self._part, "balance", str(error), "raise feeCapSatVb, or wait")]

    async def _tip(self, ledger: Ledger, now: datetime) -> Diagnosis:
        block = await block_of(self._node, ledger.tip)
        age = now - block.ref.time if block is not None else timedelta(0)
        detail = f"block {ledger.height}, {in_words(age)} old"
        if ledger.is_syncing:
            return warning(
                self._part,
                "newest block",
                f"{detail}, still syncing",
                "wait until it has caught up",
            )
        if age > OLD_HEAD:
            mend = "check that the node has peers, and compare the clocks"
            return warning(self._part, "newest block", detail, mend)
        return ok(self._part, "newest block", detail)

    async def _funds(self) -> Diagnosis:
        sats = await trusted_sats(self._node)
        rate = opening_rate(await read_market(self._node, self._bids), self._bids)
        anchors = sats // fee_at(rate, ROUGH_VSIZE)
        detail = f"{sats / COIN_SATS:.8f} BTC pay at least {anchors} anchors at {shown_rate(rate)} sat/vB"
        mend = "send bitcoin to the wallet; more than one output lets more than one anchor be under way"
        if not anchors:
            return wrong(self._part, "balance", detail, mend)
        if anchors < FEW_ANCHORS:
            return warning(self._part, "balance", detail, mend)
        return ok(self._part, "balance", detail)
