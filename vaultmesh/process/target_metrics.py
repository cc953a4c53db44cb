"""Keeps what metrics say of every target, and writes it as a part of the page.

1. Whatever is configured, or has an aggregator that tells of itself, has its series from the start, counters at 0.
2. What a ledger shows, such as a balance, has no series before it was asked once; how old it is, is a metric of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.status import TargetMemo
from vaultmesh.domain.tally import Tally, TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.process.exposition import Page

TARGET_LABELS = ("target",)


class StoredState(StrEnum):
    """What files say of an open round."""

    PENDING = "pending"
    """It is signed, and in no receipt."""
    INCLUDED = "included"
    """Receipts say where it is; it is not final."""


@dataclass(frozen=True, slots=True)
class TargetLook:
    """What one look at a target and its files showed."""

    at: float
    """Unix seconds."""
    figures: TargetFigures | None
    """None if the ledger did not answer."""
    rounds: Mapping[StoredState, int] | None
    """Open rounds; None if files can't be read."""


@dataclass(slots=True)
class TargetMetrics:
    """What one process knows of targets."""

    prefix: str
    memos: Mapping[str, TargetMemo] = field(default_factory=dict)
    """By target, as the last visibility list showed them."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Signed rounds that can't be read, as the last look found."""
    unreachable: Callable[[], Iterable[str]] = tuple
    """Tells which targets do not answer this process."""
    tallies: Callable[[], Mapping[str, Tally]] = dict
    """Tells what was counted at opened targets."""
    _configured: set[str] = field(default_factory=set)
    _looks: dict[str, TargetLook] = field(default_factory=dict)
    _at: dict[str, float] = field(default_factory=dict)
    """When a target was last looked at with success, in Unix seconds."""
    _failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    _bumps: Counter[str] = field(default_factory=Counter)
    _reorganisations: Counter[str] = field(default_factory=Counter)
    _foreign: Counter[str] = field(default_factory=Counter)
    _paid: Counter[str] = field(default_factory=Counter)

    # --- what happens ----------------------------------------------------------------------------------------------

    def configured(self, targets: Iterable[str]) -> None:
        """Take which targets namespaces anchor on."""
        self._configured = set(targets)

    def known(self) -> list[str]:
        """Return the targets that namespaces anchor on, and those whose aggregators tell of themselves."""
        return sorted({*self._configured, *self.memos})

    def failed(self, target: Target, kind: FailureKind) -> None:
        """Count a failure that was reported to a request."""
        self._failures[str(target), kind.value] += 1

    def bumped(self, target: Target) -> None:
        """Count a higher bid that was signed."""
        self._bumps[str(target)] += 1

    def reorganised(self, target: Target) -> None:
        """Count a round that left with its block."""
        self._reorganisations[str(target)] += 1

    def used_elsewhere(self, target: Target) -> None:
        """Count a reservation that somebody else's transaction used up."""
        self._foreign[str(target)] += 1

    def paid(self, target: Target, fee: int) -> None:
        """Count what a final round paid."""
        self._paid[str(target)] += fee

    def looked(self, target: str, look: TargetLook) -> None:
        """Take what a look showed; what it could not tell is as before."""
        before = self._looks.get(target)
        if look.figures is not None:
            self._at[target] = look.at
        elif before is not None:
            look = TargetLook(look.at, before.figures, look.rounds)
        self._looks[target] = look

    # --- the page --------------------------------------------------------------------------------------------------

    def page(self) -> bytes:
        """Return this part of the page."""
        page, tallies = Page(self.prefix), dict(self.tallies())
        targets = self.known()
        self._write_state(page, targets)
        self._write_counters(page, targets, tallies)
        self._write_looks(page, targets)
        self._write_tallies(page, tallies)
        return page.content()

    def _write_state(self, page: Page, targets: Iterable[str]) -> None:
        held: dict[tuple[str, ...], float] = {}
        for target in targets:
            memo = self.memos.get(target)
            cause = memo.held.kind if memo is not None and memo.held is not None else None
            held |= {(target, kind.value): int(kind is cause) for kind in FailureKind}
        text = "1 for each target that is held, by the kind of failure that holds it."
        page.family("target_held", "gauge", text, ("target", "cause"), held)
        paused = {
            (target,): int(target in self.memos and self.memos[target].paused is not None)
            for target in targets
        }
        text = "1 for each target that an operator paused."
        page.family("target_paused", "gauge", text, TARGET_LABELS, paused)
        silent = set(self.unreachable())
        text = "1 for each target whose ledger did not answer this worker when it was asked last."
        answers = {(target,): int(target in silent) for target in targets}
        page.family("target_unreachable", "gauge", text, TARGET_LABELS, answers)
        text = (
            "Signed rounds in out/rounds that can't be read: restore them, or decide with resolve."
        )
        unreadable = {(target,): 0 for target in targets}
        unreadable |= {(target,): count for target, count in dict(self.unreadable).items()}
        page.family("unreadable_rounds", "gauge", text, TARGET_LABELS, unreadable)

    def _write_counters(
        self, page: Page, targets: Iterable[str], tallies: Mapping[str, Tally]
    ) -> None:
        failures: dict[tuple[str, str], float] = {
            (target, kind.value): 0 for target in targets for kind in FailureKind
        }
        failures |= self._failures
        text = "Failures reported to anchor requests, by kind."
        page.family("anchor_failures_total", "counter", text, ("target", "kind"), failures)
        foreign, divided = Counter(self._foreign), Counter[str]()
        for target, tally in tallies.items():
            foreign[target] += tally.foreign_uses
            divided[target] += tally.disagreements
        for name, text, counted in (
            ("fee_bumps", "Higher bids that were signed for a round.", self._bumps),
            ("reorganisations", "Rounds that left with a replaced block.", self._reorganisations),
            ("foreign_uses", "Transactions of others with the target's key.", foreign),
            (
                "quorum_disagreements",
                "Looks after which endpoints or authorities did not agree.",
                divided,
            ),
        ):
            rows = {(target,): counted[target] for target in targets}
            page.family(f"{name}_total", "counter", text, TARGET_LABELS, rows)
        text = "What final rounds paid, as this worker closed them."
        paid = {(target, unit): self._paid[target] for target, unit in _units(targets, "unit")}
        page.family("fees_paid_total", "counter", text, ("target", "unit"), paid)

    def _write_looks(self, page: Page, targets: Iterable[str]) -> None:
        looks = {target: look for target in targets if (look := self._looks.get(target))}
        figures = {target: look.figures for target, look in looks.items() if look.figures}
        balances, bids = _of(figures, "unit", "balance"), _of(figures, "bid_unit", "bid")
        labels = ("target", "unit")
        page.family("balance", "gauge", "What the target's key can spend.", labels, balances)
        page.family("current_bid", "gauge", "What an anchor would bid now.", labels, bids)
        text = "Anchors that the balance pays for at the current bid."
        runway = {
            (target,): each.anchors for target, each in figures.items() if each.anchors is not None
        }
        page.family("runway_anchors", "gauge", text, TARGET_LABELS, runway)
        text = "1 while the ledger asks more than the configured cap."
        capped = {
            (target,): int(target in figures and figures[target].is_cap_reached)
            for target, _ in _units(targets, "bid_unit")
        }
        page.family("fee_cap_reached", "gauge", text, TARGET_LABELS, capped)
        text = "Unix time at which the first of a target's certificates or revocation lists ends, by kind."
        ends = {
            (target, kind): end.timestamp()
            for target, each in figures.items()
            for kind, end in each.ends.items()
        }
        name = "certificate_expiry_timestamp_seconds"
        page.family(name, "gauge", text, ("target", "kind"), ends)
        text = "Open rounds, by what files say of them."
        rounds = {
            (target, state.value): look.rounds.get(state, 0)
            for target, look in looks.items()
            if look.rounds is not None
            for state in StoredState
        }
        page.family("open_rounds", "gauge", text, ("target", "state"), rounds)
        text = "Unix time of the last successful look at a target's balance, bid and certificates."
        name = "target_look_timestamp_seconds"
        at = {(target,): self._at[target] for target in looks if target in self._at}
        page.family(name, "gauge", text, TARGET_LABELS, at)

    def _write_tallies(self, page: Page, tallies: Mapping[str, Tally]) -> None:
        labels = ("target", "host")
        endpoints = {
            (target, host): endpoint
            for target, tally in sorted(tallies.items())
            for host, endpoint in dict(tally.endpoints).items()
        }
        errors = {key: endpoint.errors for key, endpoint in endpoints.items()}
        text = "Requests to an endpoint that got no answer, or an HTTP error in its place."
        page.family("endpoint_errors_total", "counter", text, labels, errors)
        text = "Time that requests to an endpoint took."
        durations = {key: endpoint.durations for key, endpoint in endpoints.items()}
        page.histogram("endpoint_duration_seconds", text, labels, durations)
        text = "How far an authority's clock was ahead of this worker's at its newest token."
        skews = {
            (target,): tally.clock_skew.total_seconds()
            for target, tally in tallies.items()
            if tally.clock_skew is not None
        }
        page.family("token_clock_skew_seconds", "gauge", text, TARGET_LABELS, skews)


def _units(targets: Iterable[str], kind: str) -> list[tuple[str, str]]:
    """Return the targets that have a unit of that kind, each with it."""
    units = (
        (target, getattr(SCHEMES.get(target.partition(":")[0]), kind, "")) for target in targets
    )
    return [(target, unit) for target, unit in units if unit]


def _of(
    figures: Mapping[str, TargetFigures], unit: str, figure: str
) -> dict[tuple[str, ...], float]:
    """Return one figure of every target that has it, by target and unit."""
    pairs = ((key, getattr(figures[key[0]], figure)) for key in _units(figures, unit))
    return {key: value for key, value in pairs if value is not None}
