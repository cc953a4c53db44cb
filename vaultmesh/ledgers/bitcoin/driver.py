"""Makes a Bitcoin network a target: roots are published by an OP_RETURN output.

Keys stay in the node's wallet: we build transactions, the wallet signs them, and chooses nothing (B3).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    Broadcasted,
    Bumped,
    Reservation,
    RoundView,
    SignedCandidate,
    Terms,
    WatchedRound,
)
from vaultmesh.domain.checks import Check
from vaultmesh.domain.depth import required_depth
from vaultmesh.domain.diagnosis import Diagnosis
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.rounds.manifest import Mode
from vaultmesh.domain.tally import Tally, TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.bitcoin.coins import has_descendants, lock_output, lock_outputs
from vaultmesh.ledgers.bitcoin.core.blocks import Network
from vaultmesh.ledgers.bitcoin.diagnosis import BitcoinDiagnosis
from vaultmesh.ledgers.bitcoin.evidence import Wanted, collect, proven_transaction
from vaultmesh.ledgers.bitcoin.fate import Deciding, adoptable
from vaultmesh.ledgers.bitcoin.fees import FEE, Bids, fee_of, next_fee, read_market, shown_rate
from vaultmesh.ledgers.bitcoin.figures import read_figures
from vaultmesh.ledgers.bitcoin.node import Rules, read_ledger, require_synced
from vaultmesh.ledgers.bitcoin.notes import Notes
from vaultmesh.ledgers.bitcoin.observe import look_at
from vaultmesh.ledgers.bitcoin.plan import Plan, sign_plan
from vaultmesh.ledgers.bitcoin.reserve import decide, next_sequence, require_wallet, spendable
from vaultmesh.ledgers.bitcoin.rpc import CALL_SECONDS, Node
from vaultmesh.ledgers.bitcoin.send import send
from vaultmesh.ledgers.bitcoin.settings import SATS_PER_KVB, BtcSettings
from vaultmesh.ledgers.bitcoin.verify import verify_claim
from vaultmesh.ledgers.driver import Anchoring, Claim, Evidence, Fate
from vaultmesh.ledgers.judging import by_rules

POLL_SECONDS, REGTEST_POLL_SECONDS = 10.0, 1.0
"""Between two looks: blocks come every ten minutes, on a private network every few seconds."""

Settings = BtcSettings
"""The keys of a network's section in anchors.yaml."""


def open_target(target: Target, settings: BtcSettings, root: Path) -> "BtcAnchoring":
    """Return the target; connects with the first call.

    Raises:
        ValidationFailure: target and settings disagree.
    """
    del root  # no setting is a path
    problems = settings.disagreements(target)
    if problems:
        raise ValidationFailure("; ".join(f"{key} {text}" for key, text in problems.items()))
    return BtcAnchoring(target, settings)


class BtcAnchoring(Anchoring):
    """One Bitcoin network and the wallet that anchors on it."""

    def __init__(
        self, target: Target, settings: BtcSettings, call_seconds: float = CALL_SECONDS
    ) -> None:
        """Use `open_target`, which also checks the settings.

        Raises:
            ValidationFailure: there is no such network.
        """
        try:
            network = Network(target.reference)
        except ValueError:
            message = f"{target} is no Bitcoin network: write btc and one of {', '.join(Network)}"
            raise ValidationFailure(message) from None
        self._settings = settings
        self._rules = Rules(network, settings.confirmations, settings.bump_after.total_seconds())
        self._bids = Bids(settings.floor_per_kvb, settings.cap_per_kvb, settings.conf_target)
        self._node = Node(settings.rpc_url.get_secret_value(), settings.wallet, call_seconds)

    @override
    def __repr__(self) -> str:
        """Name the network; settings hold secrets."""
        return f"BtcAnchoring(btc:{self._rules.network})"

    @property
    @override
    def aggregator_settings(self) -> AggregatorSettings:
        return AggregatorSettings(
            window_seconds=self._settings.window.total_seconds(),
            window_max_seconds=self._settings.window_max.total_seconds(),
            max_leaves=self._settings.max_leaves,
        )

    @property
    @override
    def aggregation(self) -> Mode:
        return self._settings.aggregation.value

    @property
    @override
    def confirmations(self) -> int:
        return self._settings.confirmations

    @property
    @override
    def poll_seconds(self) -> float:
        is_private = self._rules.network is Network.REGTEST
        return REGTEST_POLL_SECONDS if is_private else POLL_SECONDS

    @override
    async def reserve(
        self,
        commitment: bytes,
        label: str,
        *,
        last: Reservation | None,
        highest_stored: Callable[[str], int | None],
        known: Callable[[bytes], bool] | None = None,
    ) -> tuple[Reservation, Terms]:
        del label  # only the commitment is published
        pinned = last.fields.get("genesis") if last is not None else None
        ledger = await read_ledger(self._node, self._rules.network, pinned)
        require_synced(self._node, ledger)
        account = await require_wallet(self._node)
        stored = await asyncio.to_thread(highest_stored, account)
        sequence = next_sequence(account, last, stored)
        plan, fee = await decide(self._node, ledger, self._rules, self._bids, commitment)
        return Reservation(account=account, sequence=sequence, fields=plan.fields), {FEE: fee}

    @override
    async def sign(self, reservation: Reservation, terms: Terms, n: int) -> SignedCandidate:
        plan, fee = self._plan(reservation), fee_of(terms)
        signed = await sign_plan(self._node, plan, fee)
        await lock_output(self._node, plan.outpoint)
        return SignedCandidate(
            n=n, tx_ref=signed.txid, raw=signed.serialised().hex(), terms={FEE: fee}
        )

    @override
    async def broadcast(self, reservation: Reservation, candidate: SignedCandidate) -> Broadcasted:
        plan = self._plan(reservation)
        ledger = await read_ledger(self._node, self._rules.network, plan.genesis)
        fee, is_syncing = fee_of(candidate.terms), ledger.is_syncing or ledger.height < plan.height
        return await send(self._node, plan, fee, candidate, is_syncing=is_syncing)

    @override
    async def bump(self, reservation: Reservation, highest: Terms) -> Bumped:
        plan, before = self._plan(reservation), fee_of(highest)
        if await has_descendants(self._node, plan.outpoint):
            message = f"the transaction that spends {plan.outpoint} has children in the pool, which a higher bid would drop"
            return Bumped(message=message)
        market = await read_market(self._node, self._bids)
        fee = next_fee(before, plan.vsize, market, self._bids, plan.most_fee_sats)
        if fee is not None:
            return Bumped(terms={FEE: fee})
        message = (
            f"fee cap reached: the bid stays at {before} sat, {shown_rate(before * SATS_PER_KVB / plan.vsize)} sat/vB; "
            f"the cap is {shown_rate(self._bids.cap_per_kvb)} sat/vB, and the input pays at most {plan.most_fee_sats} sat"
        )
        return Bumped(message=message)

    @override
    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        if not rounds:
            return []
        view_at: dict[int, RoundView] = {}
        for rules, positions in by_rules(rounds, self._signed_under).items():
            alike = [rounds[position] for position in positions]
            seen = await look_at(self._node, rules, alike, datetime.now(UTC))
            view_at |= dict(zip(positions, seen, strict=True))
        views = [view_at[position] for position in range(len(rounds))]
        await lock_outputs(self._node, rounds, views)
        return views

    @override
    async def evidence(self, watched: WatchedRound | None, view: RoundView, raw: str) -> Evidence:
        depths = [] if watched is None else watched.depths
        commitment = None if watched is None else watched.commitment.digest
        rules = self._rules if watched is None else self._signed_under(watched)
        stored = {} if watched is None else watched.stored
        wanted = Wanted(commitment, required_depth(depths, rules.confirmations), stored)
        return await collect(self._node, rules, view, raw, wanted)

    @override
    def proven(self, commitment: bytes, stored: Mapping[str, JsonValue]) -> str:
        return proven_transaction(self._rules.network, commitment, stored)

    @override
    async def fate(
        self, reservation: Reservation, tx_refs: Sequence[str], notes: Terms | None = None
    ) -> Fate:
        plan = self._plan(reservation)
        ledger = await read_ledger(self._node, self._rules.network, plan.genesis)
        rules = self._rules.signed_under(reservation.fields)
        deciding = Deciding(self._node, ledger, plan, tx_refs, rules.confirmations)
        return await deciding.fate(Notes.of(notes or {}))

    @override
    async def adoptable(self, reservation: Reservation, tx_ref: str) -> SignedCandidate:
        plan = self._plan(reservation)
        await read_ledger(self._node, self._rules.network, plan.genesis)
        return await adoptable(self._node, plan, tx_ref.lower())

    @override
    async def verify(self, claim: Claim) -> list[Check]:
        rules = self._rules.signed_under(claim.reservation)
        return await verify_claim(self._node, rules, claim)

    @override
    async def probe(self) -> str:
        """Look whether the node has caught up, and what the wallet can spend, if it is unlocked."""
        require_synced(self._node, await read_ledger(self._node, self._rules.network))
        return await spendable(self._node)

    @property
    @override
    def tally(self) -> Tally:
        return self._node.tally

    @override
    async def figures(self) -> TargetFigures:
        return await read_figures(self._node, self._bids)

    @override
    async def fee_paid(self, tx_ref: str, terms: Terms) -> int | None:
        """Return the fee that was signed: all that the transaction's input does not give to its outputs."""
        del tx_ref
        return fee_of(terms)

    @override
    async def diagnose(self, older_tx: str) -> list[Diagnosis]:
        del older_tx  # a node keeps all headers, and the wallet its own transactions
        target = f"btc:{self._rules.network}"
        return await BitcoinDiagnosis(target, self._node, self._rules, self._bids).lines(
            datetime.now(UTC)
        )

    @override
    async def close(self) -> None:
        await self._node.close()

    def _signed_under(self, watched: WatchedRound) -> Rules:
        return self._rules.signed_under(watched.reservation.fields)

    def _plan(self, reservation: Reservation) -> Plan:
        plan = Plan.of(reservation)
        if plan.network != self._rules.network:
            message = (
                f"the reservation is for btc:{plan.network}, not for btc:{self._rules.network}"
            )
            raise ValidationFailure(message)
        return plan
