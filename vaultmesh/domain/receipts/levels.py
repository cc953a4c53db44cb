"""Says how far a batch is proven: per ledger what is proven so far, and what is awaited.

1. A time-stamp is worth its token at once; an anchor on a chain is included first, and final later.
2. Only a receipt that was verified proves something; any other leaves its ledger awaited.
3. What is awaited is told with the instant since when: the batch's own for an anchor that is not
   there, the block's for finality, the last look's for an anchor that was lost to a reorganisation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Finality, Status
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.status import AwaitingView
from vaultmesh.domain.target import Target


class Level(StrEnum):
    """How much one ledger proves of a batch."""

    TOKEN = "token"  # noqa: S105 - a time-stamp token
    """An authority's signed time: there is no more to come from it."""
    INCLUDED = "included"
    """In a block that can still vanish."""
    FINAL = "final"
    """In the chain for good."""


@dataclass(frozen=True, slots=True)
class Owed:
    """Where a batch is to be anchored for one namespace."""

    namespace: str
    targets: Sequence[Target]
    """Targets of its cadences, each once."""
    created_at: datetime | None = None
    """Of the batch; None if its file does not say it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One anchor receipt of a batch, and whether it was verified."""

    receipt: AnchorReceipt
    verified: bool


@dataclass(frozen=True, slots=True)
class Proven:
    """What one ledger proves for one namespace."""

    namespace: str
    target: Target
    level: Level
    since: datetime
    """When the level was reached: the ledger's own time, or the first look that found it final."""
    at: datetime
    """The ledger's own time of the anchor, which is what it proves."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """The next level that one ledger is to reach for one namespace."""

    namespace: str
    target: Target
    level: Level
    since: datetime | None
    """None if nothing says it."""
    depth: int | None = None
    """Last seen, of an anchor that is included."""
    required_depth: int | None = None
    reason: str = ""
    """Why it is awaited although there is a receipt."""

    @property
    def view(self) -> AwaitingView:
        """What operators see of it, without namespace and target."""
        return AwaitingView(
            level=self.level.value,
            since=self.since,
            depth=self.depth,
            required_depth=self.required_depth,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class Levels:
    """What is proven of one batch, and what is awaited, by namespace and target."""

    proven: Sequence[Proven]
    awaited: Sequence[Awaited]

    def document(self) -> dict[str, JsonValue]:
        """Return it as `--json` prints it; times are RFC 3339 in UTC, depths null where there are none."""
        return {
            "proven": [
                {
                    "namespace": proof.namespace,
                    "target": str(proof.target),
                    "level": proof.level.value,
                    "since": write_seconds(proof.since),
                    "at": write_seconds(proof.at),
                }
                for proof in self.proven
            ],
            "awaited": [
                {
                    "namespace": missing.namespace,
                    "target": str(missing.target),
                    **missing.view.model_dump(mode="json"),
                }
                for missing in self.awaited
            ],
        }


def levels_of(seen: Iterable[Seen], owed: Iterable[Owed]) -> Levels:
    """Return the levels of one batch, given its receipts and where it is to be anchored.

    A receipt on a target that no cadence has any more still proves what it proves.
    """
    by_namespace = {due.namespace: due for due in owed}
    proven: list[Proven] = []
    awaited: list[Awaited] = []
    answered: set[tuple[str, Target]] = set()
    for checked in seen:
        receipt = checked.receipt
        namespace = receipt.metadata.namespace
        answered.add((namespace, receipt.network))
        whose = by_namespace.get(namespace)
        created_at = whose.created_at if whose else None
        if checked.verified and receipt.status is Status.VERIFIED:
            proven.append(_proven(receipt))
        missing = next_level(receipt, created_at, verified=checked.verified)
        if missing is not None:
            awaited.append(missing)
    for whose in by_namespace.values():
        awaited += [
            Awaited(whose.namespace, target, _first(target), whose.created_at)
            for target in dict.fromkeys(whose.targets)
            if (whose.namespace, target) not in answered
        ]
    return Levels(
        sorted(proven, key=lambda proof: (proof.namespace, proof.target)),
        sorted(awaited, key=lambda level: (level.namespace, level.target)),
    )


def next_level(
    receipt: AnchorReceipt, created_at: datetime | None = None, *, verified: bool = True
) -> Awaited | None:
    """Return what is awaited after this receipt; None if nothing more is to come.

    `created_at` is the batch's; without it, what was lost is awaited since the receipt's last look.
    """
    namespace, target = receipt.metadata.namespace, receipt.network
    if receipt.status is Status.REORGED:
        reason = "its block left the chain"
        return Awaited(namespace, target, _first(target), receipt.observed_at, reason=reason)
    if receipt.status is Status.FAILED:
        since = created_at or receipt.observed_at
        return Awaited(namespace, target, _first(target), since, reason="an operator ended it")
    if not verified:
        reason = "its receipt was not verified"
        return Awaited(namespace, target, _first(target), created_at, reason=reason)
    finality = receipt.finality
    if finality.state is Finality.FINALIZED:
        return None
    return Awaited(
        namespace,
        target,
        Level.FINAL,
        receipt.anchor_ts,
        finality.observed_depth,
        finality.required_depth,
    )


def _proven(receipt: AnchorReceipt) -> Proven:
    level, since = Level.INCLUDED, receipt.anchor_ts
    if not SCHEMES[receipt.network.scheme].has_blocks:
        level = Level.TOKEN
    elif receipt.is_final:
        level, since = Level.FINAL, receipt.observed_at
    return Proven(receipt.metadata.namespace, receipt.network, level, since, receipt.anchor_ts)


def _first(target: Target) -> Level:
    """Return the first level that an anchor on a target reaches."""
    form = SCHEMES.get(target.scheme)
    return Level.TOKEN if form is not None and not form.has_blocks else Level.INCLUDED
