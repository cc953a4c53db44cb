"""Makes an EVM chain a target: roots are logged by the anchor contract."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address
from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    Broadcasted,
    Bumped,
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    Terms,
    WatchedRound,
)
from vaultmesh.domain.checks import Check
from vaultmesh.domain.diagnosis import Diagnosis
from vaultmesh.domain.failures import AuthFailure, ValidationFailure
from vaultmesh.domain.rounds.manifest import Mode
from vaultmesh.domain.tally import Tally, TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring, Claim, Evidence, Fate
from vaultmesh.ledgers.evm.diagnosis import EvmDiagnosis
from vaultmesh.ledgers.evm.evidence import collect
from vaultmesh.ledgers.evm.fate import adoptable, fate_of
from vaultmesh.ledgers.evm.fees import MAX_FEE, MAX_TIP, Bid, Caps, gwei, next_bid
from vaultmesh.ledgers.evm.figures import read_fee, read_figures
from vaultmesh.ledgers.evm.foreign import ForeignUse
from vaultmesh.ledgers.evm.gap import decide_filler, free_below, mark_gap
from vaultmesh.ledgers.evm.inquiry import inquire
from vaultmesh.ledgers.evm.libraries import Account, LocalAccount
from vaultmesh.ledgers.evm.memory import forgetful_providers
from vaultmesh.ledgers.evm.notes import Notes
from vaultmesh.ledgers.evm.observe import (
    ProviderView,
    agreed_view,
    is_divided,
    is_suspected,
    look_from,
)
from vaultmesh.ledgers.evm.outcome import OwnCall
from vaultmesh.ledgers.evm.providers import CALL_SECONDS, Provider, Providers
from vaultmesh.ledgers.evm.reads import ChainTip, Rules, read_tip
from vaultmesh.ledgers.evm.reserve import (
    Call,
    decide,
    read_market,
    require_current_caller,
    shortfall,
)
from vaultmesh.ledgers.evm.send import send
from vaultmesh.ledgers.evm.settings import EvmSettings
from vaultmesh.ledgers.evm.verify import verify_claim
from vaultmesh.ledgers.failures import shown
from vaultmesh.ledgers.judging import by_rules
from vaultmesh.process.logs import register_secret

STANDSTILL_SECONDS = 60.0
"""A newest block older than that may mean that the provider is stuck: the others are asked as well."""
MAINNETS = frozenset({1, 10, 56, 100, 137, 250, 324, 8453, 42161, 43114, 59144, 534352})
"""Chain ids where a false inclusion costs somebody something."""
HELD_SECONDS = 20.0
"""Between two questions to all providers about a round that is held."""
FASTEST_POLL_SECONDS, SLOWEST_POLL_SECONDS = 1.0, 12.0
"""Between two looks: about one block, but neither a burden for the provider nor slower than Ethereum's own rhythm."""

Settings = EvmSettings
"""The keys of a chain's section in anchors.yaml."""
_log = logging.getLogger(__name__)


def open_target(target: Target, settings: EvmSettings, root: Path) -> "EvmAnchoring":
    """Return the target; connects with the first call. `keyFile` is relative to `root`.

    Raises:
        ValidationFailure: target and settings disagree.
    """
    problems = settings.disagreements(target)
    if problems:
        raise ValidationFailure("; ".join(f"{key} {text}" for key, text in problems.items()))
    if not target.reference.isdecimal():
        message = f"{target} is not an EVM chain: write eip155 and the chain id in decimal"
        raise ValidationFailure(message)
    if settings.quorum == 1 and int(target.reference) in MAINNETS:
        _log.warning("one provider alone decides what is included", extra={"target": str(target)})
    return EvmAnchoring(target, settings, root)


class EvmAnchoring(Anchoring):
    """One EVM chain and the account that anchors on it."""

    def __init__(
        self,
        target: Target,
        settings: EvmSettings,
        root: Path,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Use `open_target`, which also checks the settings."""
        self._settings = settings
        self._root = root
        self._rules = Rules(
            chain_id=int(target.reference),
            contract=settings.contract.lower(),
            finality=settings.finality,
            confirmations=settings.confirmations,
            bump_after_blocks=settings.bump_after_blocks,
            quorum=settings.quorum,
        )
        urls = [url.get_secret_value() for url in settings.endpoints]
        self._providers = Providers(urls, settings.quorum, call_seconds)
        self._foreign = ForeignUse(self._providers, self._rules)
        self._poll_seconds = FASTEST_POLL_SECONDS
        self._seen: ChainTip | None = None
        self._forgetful: list[str] | None = None
        """Providers that forget, once all were asked; a changed configuration asks anew."""
        self._held: dict[str, tuple[float, RoundView]] = {}
        """Rounds that nobody can decide: when all were asked, and what came of it."""

    @override
    def __repr__(self) -> str:
        """Name the chain; settings hold secrets."""
        return f"EvmAnchoring(eip155:{self._rules.chain_id})"

    @property
    @override
    def aggregator_settings(self) -> AggregatorSettings:
        return AggregatorSettings(
            window_seconds=self._settings.window.total_seconds(),
            window_max_seconds=self._settings.window_max.total_seconds(),
            max_leaves=self._settings.max_leaves,
            gap_fill_seconds=self._settings.gap_fill.total_seconds(),
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
        """About the time of one block, as the looks so far have shown."""
        return self._poll_seconds

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
        account = self._account().address
        stored = await asyncio.to_thread(highest_stored, account)
        highest = require_current_caller(account, last, stored)
        contract = to_checksum_address(self._settings.contract)
        call = Call(account, contract, commitment, label, self._settings.persist)
        reservation, bid = await decide(
            self._providers,
            self._rules,
            self._caps,
            call,
            foreign=self._foreign,
            last=last,
            highest=highest,
            known=known,
        )
        return reservation, bid.terms

    @override
    async def sign(self, reservation: Reservation, terms: Terms, n: int) -> SignedCandidate:
        return await asyncio.to_thread(self._sign, reservation, terms, n)

    def _sign(self, reservation: Reservation, terms: Terms, n: int) -> SignedCandidate:
        account = self._account()
        if account.address != reservation.account:
            message = (
                f"the key changed: the reservation is by {reservation.account}, the key is of {account.address}; "
                "restore the former key until the round is included"
            )
            raise AuthFailure(message)
        if reservation.fields.get("chainId") != self._rules.chain_id:
            message = f"the reservation is not for eip155:{self._rules.chain_id}"
            raise ValidationFailure(message)
        bid = Bid.from_terms(terms)
        try:
            signed = account.sign_transaction(_transaction(reservation.fields, bid))
        except (TypeError, ValueError) as error:
            message = f"the recorded reservation can't be signed: {shown(str(error))}"
            raise ValidationFailure(message) from None
        return SignedCandidate(
            n=n,
            tx_ref="0x" + signed.hash.hex(),
            raw="0x" + signed.raw_transaction.hex(),
            terms=bid.terms,
        )

    @override
    async def broadcast(self, reservation: Reservation, candidate: SignedCandidate) -> Broadcasted:
        return await send(self._providers, reservation, candidate)

    @override
    async def bump(self, reservation: Reservation, highest: Terms) -> Bumped:
        market, _ = await read_market(self._providers)
        before = Bid.from_terms(highest)
        caps = Caps.of(*self._caps, market)
        bid = next_bid(before, market, caps)
        if bid is None:
            message = (
                f"fee cap reached: the bid stays at {gwei(before.max_fee_wei)} gwei with a tip of "
                f"{gwei(before.tip_wei)}; caps are {gwei(caps.max_fee_wei)} and {gwei(caps.tip_wei)}, "
                f"the base fee is {gwei(market.base_fee_wei)}"
            )
            return Bumped(message=message)
        # Only the newest candidate is sent: one that can't be paid would take the place of one that can.
        gas = int(str(reservation.fields.get("gas", 0)))
        lack = await shortfall(self._providers, reservation.account, gas, bid)
        if lack:
            return Bumped(
                message=f"{lack}; until then the bid stays at {gwei(before.max_fee_wei)} gwei"
            )
        return Bumped(terms=bid.terms)

    @override
    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        if not rounds:
            return []
        views: dict[int, RoundView] = {}
        by_round: dict[int, Sequence[ProviderView]] = {}
        for rules, positions in by_rules(rounds, self._signed_under).items():
            seen = await self._looks(rules, [rounds[position] for position in positions])
            self._adapt_poll(seen[0][0])
            tips = [tip for tip, _ in seen]
            for place, position in enumerate(positions):
                provider_views = by_round[position] = [row[place] for _, row in seen]
                views[position] = await self._view(rules, rounds[position], tips, provider_views)
        places = range(len(rounds))
        return mark_gap(
            rounds, [views[place] for place in places], [by_round[place] for place in places]
        )

    @override
    async def forgetful(self, tx_ref: str) -> list[str]:
        if self._forgetful is None:
            self._forgetful = await forgetful_providers(self._providers, tx_ref)
        return self._forgetful or []

    @override
    async def unsettling(self) -> list[str]:
        if self._rules.tag is None:
            return []
        awake = [provider for provider in self._providers.all if not provider.rests]
        tips, _ = await self._providers.attempt(
            lambda provider: read_tip(provider, self._rules), awake
        )
        return [tip.unsettled for tip in tips if tip.unsettled]

    @override
    async def free_below(self, reservation: Reservation) -> list[int]:
        return await free_below(self._providers, reservation)

    @override
    async def filler(
        self, beyond: Reservation, sequence: int, before: Terms | None
    ) -> tuple[Reservation, Terms] | None:
        return await decide_filler(
            self._providers, self._rules, self._caps, beyond, nonce=sequence, before=before
        )

    async def _view(
        self,
        rules: Rules,
        watched: WatchedRound,
        tips: Sequence[ChainTip],
        provider_views: Sequence[ProviderView],
    ) -> RoundView:
        """Return what is seen, and whether a quorum shows another block in the place of the one it was included in."""
        view = await self._judged(rules, watched, tips, provider_views)
        left = sum(provider_view.left_block for provider_view in provider_views) >= rules.quorum
        if not left or view.state is RoundState.INCLUDED:
            return view
        return view.model_copy(update={"left_block": True})

    async def _judged(
        self,
        rules: Rules,
        watched: WatchedRound,
        tips: Sequence[ChainTip],
        provider_views: Sequence[ProviderView],
    ) -> RoundView:
        """Return what is agreed on; where somebody shows something against the round, what is proven."""
        view = agreed_view(watched, provider_views, rules)
        self.tally.disagreements += is_divided(provider_views, view)
        if is_suspected(provider_views, view, rules):
            return await self._inquired(rules, watched)
        self._held.pop(watched.round_id, None)
        free_at = [provider_view.free_at for provider_view in provider_views]
        free = min(filter(None, free_at), key=lambda block: block.number, default=None)
        final = min((tip.settled_number or 0 for tip in tips), default=0)
        notes = Notes.of(watched).calm(free, final).document()
        return view if notes == watched.notes else view.model_copy(update={"notes": notes})

    async def _inquired(self, rules: Rules, watched: WatchedRound) -> RoundView:
        """Ask all providers; of a round that is held only now and then."""
        asked, held = self._held.get(watched.round_id, (0.0, None))
        if held is not None and time.monotonic() - asked < HELD_SECONDS:
            return held
        view = await inquire(
            self._providers,
            rules,
            watched,
            now=datetime.now(UTC),
            wait=self._settings.evidence_wait,
        )
        self._held.pop(watched.round_id, None)
        if view.undecided:
            self._held[watched.round_id] = (time.monotonic(), view)
        return view

    @override
    async def evidence(self, watched: WatchedRound | None, view: RoundView, raw: str) -> Evidence:
        if watched is None:
            return await collect(self._providers, self._rules, view, raw, None)
        rules = self._signed_under(watched)
        wanted = OwnCall.of(watched, rules.contract)
        return await collect(self._providers, rules, view, raw, wanted)

    @override
    async def fate(
        self, reservation: Reservation, tx_refs: Sequence[str], notes: Terms | None = None
    ) -> Fate:
        del notes
        return await fate_of(self._providers, self._rules, reservation, tuple(tx_refs))

    @override
    async def adoptable(self, reservation: Reservation, tx_ref: str) -> SignedCandidate:
        return await adoptable(self._providers, self._rules, reservation, tx_ref.lower())

    @override
    async def verify(self, claim: Claim) -> list[Check]:
        rules = self._rules.signed_under(claim.reservation)
        return await verify_claim(self._providers, rules, claim)

    @override
    async def close(self) -> None:
        await self._providers.close()

    @property
    def _caps(self) -> tuple[int | None, int | None]:
        return self._settings.max_fee_per_gas_wei, self._settings.max_priority_fee_wei

    @override
    async def probe(self) -> str:
        """Ask for the balance: it answers both whether providers are there, and whether somebody funded the key."""
        account = self._account().address
        balances = await self._providers.every(
            lambda provider: provider.call("eth_getBalance", account, "latest")
        )
        return ",".join(sorted({str(balance) for balance in balances}))

    @property
    @override
    def tally(self) -> Tally:
        return self._providers.tally

    @override
    async def figures(self) -> TargetFigures:
        return await read_figures(self._providers, self._account().address, self._caps)

    @override
    async def fee_paid(self, tx_ref: str, terms: Terms) -> int | None:
        del terms
        return await read_fee(self._providers, tx_ref)

    @override
    async def diagnose(self, older_tx: str) -> list[Diagnosis]:
        target = f"eip155:{self._rules.chain_id}"
        diagnosis = EvmDiagnosis(target, self._providers, self._rules, self._caps)
        return await diagnosis.lines(lambda: self._account().address, datetime.now(UTC), older_tx)

    def _account(self) -> LocalAccount:
        """Load the key each time: it is kept nowhere but in the settings or its file."""
        key = self._settings.signing_key(self._root)
        register_secret(key.get_secret_value())
        try:
            account: LocalAccount = Account.from_key(key.get_secret_value())
        except ValueError:
            message = "the key is not a valid private key of this curve"
            raise AuthFailure(message) from None
        return account

    def _signed_under(self, watched: WatchedRound) -> Rules:
        return self._rules.signed_under(watched.reservation.fields)

    async def _looks(
        self, rules: Rules, rounds: Sequence[WatchedRound]
    ) -> list[tuple[ChainTip, list[ProviderView]]]:
        """Look through as many providers as must agree; past one that stands still, through all."""

        async def look(provider: Provider) -> tuple[ChainTip, list[ProviderView]]:
            return await look_from(provider, rules, rounds)

        if self._rules.quorum > 1:
            return await self._providers.every(look)
        seen = await self._providers.first(look)
        age = time.time() - seen[0].head.timestamp
        if age < STANDSTILL_SECONDS or len(self._providers.all) == 1:
            return [seen]
        return [max(await self._providers.every(look), key=lambda answer: answer[0].height)]

    def _adapt_poll(self, tip: ChainTip) -> None:
        before, self._seen = self._seen, tip
        if before is None or tip.height <= before.height:
            return
        seconds = (tip.head.timestamp - before.head.timestamp) / (tip.height - before.height)
        self._poll_seconds = min(max(seconds, FASTEST_POLL_SECONDS), SLOWEST_POLL_SECONDS)


def _transaction(fields: Mapping[str, JsonValue], bid: Bid) -> dict[str, Any]:
    """Return what is signed: nothing but the record decides it."""
    covered = ("type", "chainId", "nonce", "to", "value", "gas", "data")
    missing = [name for name in covered if name not in fields]
    if missing:
        message = f"the recorded reservation lacks {', '.join(missing)}"
        raise ValidationFailure(message)
    fees = {MAX_FEE: bid.max_fee_wei, MAX_TIP: bid.tip_wei}
    return {name: fields[name] for name in covered} | fees
