"""Defines what a ledger's driver MUST offer; a row of `vaultmesh.domain.schemes` names it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import JsonValue

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
from vaultmesh.domain.diagnosis import Diagnosis
from vaultmesh.domain.rounds.manifest import Mode
from vaultmesh.domain.tally import Tally, TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings

DEPTH_CHECK, FINALITY_CHECK = "depth", "finality"
"""The checks that an anchor which is not final yet may fail without being wrong."""


class StaleCaller(Exception):
    """The ledger shows reservations of ours that the caller does not know."""


class UnknownRounds(Exception):
    """The ledger shows anchors of ours of which neither the caller nor the storage knows: files are gone."""

    def __init__(self, commitments: Sequence[bytes]) -> None:
        """Name what they commit to."""
        super().__init__(f"{len(commitments)} anchors of ours are in the ledger and in no round")
        self.commitments = tuple(commitments)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an included round's receipts carry of the ledger."""

    scheme: Mapping[str, JsonValue]
    """The scheme's own part of a receipt's evidence."""
    tx_ref: str
    tx_hash: str | None
    block_number: int
    anchor_ts: datetime


@dataclass(frozen=True, slots=True)
class Fate:
    """What a ledger shows of a reservation when an operator is to decide."""

    shown_by: str = ""
    """Who shows a candidate, or the round's entry; empty if nobody does."""
    unused: str = ""
    """Why the signed bytes could still be mined; empty once the reservation is used up."""
    lines: tuple[str, ...] = ()
    """What was found, for the record."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a receipt claims, for `verify`."""

    commitment: bytes
    tx_ref: str
    block_number: int
    anchor_ts: datetime
    required_depth: int
    evidence: Mapping[str, JsonValue]
    reservation: Mapping[str, JsonValue] = field(default_factory=dict)
    """Fields of the round's reservation where our own record still has it: what the claim is judged by."""


class Anchoring(Protocol):
    """One configured target. Errors are `AnchorError`s; every call to the outside has a time-out.

    One object lives per process and target and is used concurrently.
    """

    @property
    def aggregator_settings(self) -> AggregatorSettings:
        """Collection window and size of rounds."""
        ...

    @property
    def aggregation(self) -> Mode:
        """Whether several roots share a transaction."""
        ...

    @property
    def confirmations(self) -> int:
        """Least required depth on this target."""
        ...

    @property
    def poll_seconds(self) -> float:
        """Time between two looks at the ledger."""
        ...

    async def reserve(
        self,
        commitment: bytes,
        label: str,
        *,
        last: Reservation | None,
        highest_stored: Callable[[str], int | None],
        known: Callable[[bytes], bool] | None = None,
    ) -> tuple[Reservation, Terms]:
        """Decide everything the signature will cover.

        `highest_stored` tells the highest sequence that the storage knows of an account, `known` whether it accounts for the
        round with a commitment; both block.
        MUST check that the ledger is the one configured before it returns (E1), and that nobody else used the account.

        Raises:
            StaleCaller: the ledger's count is explained by reservations in the storage that `last` does not cover.
            UnknownRounds: it is explained by anchors of ours that are not `known`.
        """
        ...

    async def sign(self, reservation: Reservation, terms: Terms, n: int) -> SignedCandidate:
        """Sign; the same record gives the same bytes."""
        ...

    async def broadcast(self, reservation: Reservation, candidate: SignedCandidate) -> Broadcasted:
        """Send the bytes; may be repeated at will. Unknown outcomes are looked up, else raised (X4)."""
        ...

    async def bump(self, reservation: Reservation, highest: Terms) -> Bumped:
        """Decide a higher bid on the same reservation (E2, E3)."""
        ...

    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        """Look once at every round, in order; each is judged by what its reservation says."""
        ...

    async def evidence(self, watched: WatchedRound | None, view: RoundView, raw: str) -> Evidence:
        """Collect what the receipts carry; raises `NetworkFailure` when the block is not canonical any more."""
        ...

    def proven(self, commitment: bytes, stored: Mapping[str, JsonValue]) -> str:
        """Return the transaction that a receipt's evidence proves to be in the block that it names; empty if it proves none.

        Asks nobody: whether that block is the ledger's is for a look to find out.
        """
        del commitment, stored
        return ""

    async def forgetful(self, tx_ref: str) -> list[str]:
        """Return who of those that are asked shows no final transaction of ours, a line each; asked once if all answer."""
        del tx_ref
        return []

    async def unsettling(self) -> list[str]:
        """Return why anchors can't become final as configured, a line for each of those that are asked.

        Who does not answer says nothing.
        """
        return []

    async def free_below(self, reservation: Reservation) -> list[int]:
        """Return the sequences below a reservation that the ledger counts as free; none where it knows no order."""
        del reservation
        return []

    async def filler(
        self, beyond: Reservation, sequence: int, before: Terms | None
    ) -> tuple[Reservation, Terms] | None:
        """Decide a transaction that commits to nothing and uses a free sequence below a round's.

        With `before`, a higher bid than that one. None at the fee cap, and where the ledger knows no order.
        """
        del beyond, sequence, before
        return None

    async def fate(
        self, reservation: Reservation, tx_refs: Sequence[str], notes: Terms | None = None
    ) -> Fate:
        """Say what the ledger shows of a reservation and its candidates; raises unless everybody who is asked answers.

        `notes` are those that looks at its round left.
        """
        ...

    async def adoptable(self, reservation: Reservation, tx_ref: str) -> SignedCandidate:
        """Return a transaction that the ledger shows, spends the reservation and carries its commitment.

        Raises:
            ValidationFailure: it is not shown, or is none of that kind.
        """
        ...

    async def verify(self, claim: Claim) -> list[Check]:
        """Check a receipt's claim against the live ledger, a line per check."""
        ...

    async def probe(self) -> str:
        """Ask whether the ledger answers, as cheaply as it can be asked: nothing is paid, stamped or changed.

        Returns what an operator may mend there, such as a balance, in any form: when it differs, a step that failed may
        succeed. A ledger without such a question leaves its targets to the backoff.

        Raises:
            AnchorError: it does not answer, or not well enough for a step.
        """
        return ""

    @property
    def tally(self) -> Tally:
        """What was counted here since the target was opened; a ledger that counts nothing shows nothing."""
        return Tally()

    async def figures(self) -> TargetFigures:
        """Look at what metrics show of balance, bid and certificates; nothing is signed, paid or stamped.

        Raises:
            AnchorError: the ledger does not answer.
        """
        return TargetFigures()

    async def fee_paid(self, tx_ref: str, terms: Terms) -> int | None:
        """Return what an included candidate with these terms paid, in the scheme's least unit; None where nothing is.

        Raises:
            AnchorError: the ledger does not answer.
        """
        del tx_ref, terms
        return None

    async def diagnose(self, older_tx: str) -> list[Diagnosis]:
        """Examine everything that anchors rest on there, a line each; nothing is signed or paid, and nothing raised.

        `older_tx` is a final transaction of ours, empty if there is none.
        """
        del older_tx
        return []

    async def close(self) -> None:
        """Close connections."""
        ...


class SchemeModule(Protocol):
    """What the module of one scheme offers."""

    Settings: type[CommonSettings]
    """The keys of its section in anchors.yaml."""

    def open_target(self, target: Target, settings: Any, root: Path) -> Anchoring:  # noqa: ANN401 - an instance of Settings
        """Return a configured target; paths in the settings are relative to `root`."""
        ...
