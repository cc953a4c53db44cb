"""Checks a receipt from the files upwards to the live ledger, a line per check.

1. Every link is checked by itself: receipt, batch file, inclusion proof, round, ledger. What is wrong is told apart.
2. A file that can't be read, or a ledger that does not answer, is a check that failed, never one left out.
3. An anchor that its receipt calls observed need not be deep enough yet: that is information.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import Reservation, RoundState, WatchedRound
from vaultmesh.domain.batches.batch import Batch, parse_batch
from vaultmesh.domain.batches.event_receipt import (
    INTEGRITY_PREFIX,
    INTERNAL_CHAIN,
    EventReceipt,
    derive_anchor,
    parse_event_receipt,
)
from vaultmesh.domain.checks import (
    Check,
    Found,
    Trust,
    Verdict,
    holds,
    holds_if,
    lacking,
    verdict_of,
    wrong,
)
from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.instants import of_seconds, write_time
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.paths import ANCHOR_RECEIPTS_FOLDER, BATCHES_FOLDER, path_form
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Finality, parse_receipt
from vaultmesh.domain.target import Target
from vaultmesh.process.config_files import (
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
)
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.round_files import recorded_reservation
from vaultmesh.verification import links
from vaultmesh.verification.offline import verify_offline

if TYPE_CHECKING:
    from vaultmesh.ledgers.driver import Anchoring


_CHECKED_ANYWAY = ("receipt status", "inclusion proof", "round")


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A receipt's file, and what was found out about it."""

    path: str
    verdict: Verdict
    receipt: AnchorReceipt | None = None
    """The anchor receipt that was checked; None for an event's, or one that can't be read."""


class Verifier:
    """Checks receipts against the files below the root and the live ledgers."""

    def __init__(self, settings: Settings) -> None:
        """Open nothing before it is needed."""
        self._settings = settings
        self._store = LocalStore(settings.root)
        self._opened: dict[Target, Anchoring] = {}
        self._specs: Mapping[str, NamespaceSpec] | None = None

    async def close(self) -> None:
        """Close every connection."""
        for opened in self._opened.values():
            await opened.close()
        self._opened.clear()

    def receipts_of(self, batch_id: str, namespace: str = "") -> list[Path]:
        """Return every anchor receipt file of a batch, readable or not."""
        root = self._settings.root
        every = sorted(self._store.names(ANCHOR_RECEIPTS_FOLDER))
        folders = [path_form(namespace)] if namespace else every
        places = [f"{ANCHOR_RECEIPTS_FOLDER}/{folder}/{path_form(batch_id)}" for folder in folders]
        return [
            root / place / name for place in places for name in sorted(self._store.names(place))
        ]

    async def checked(self, path: Path) -> CheckedFile:
        """Check one receipt, an anchor's or an event's."""
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            return _unreadable(path, f"can't be read: {error.strerror or error}")
        try:
            if links.is_event_receipt(content):
                return await self._event_verdict(path, parse_event_receipt(content))
            return await self._anchor_verdict(path, parse_receipt(content))
        except InvalidValue as error:
            return _unreadable(path, f"not what we write: {error}")

    # --- anchor receipts -----------------------------------------------------------------------

    async def _anchor_verdict(self, path: Path, receipt: AnchorReceipt) -> CheckedFile:
        carried = verify_offline(receipt, Trust())
        checks = [
            holds("receipt", f"{receipt.network}, {receipt.status}, {receipt.finality.state}"),
            self._place_check(path, receipt),
            links.status_check(receipt),
            *self._batch_checks(receipt),
            *links.commitment_checks(receipt),
            _carried_check(carried),
            *await self._live_checks(receipt),
        ]
        verdict = verdict_of(checks, links.proven(receipt), carried.caveat)
        return CheckedFile(str(path), verdict, receipt)

    def _place_check(self, path: Path, receipt: AnchorReceipt) -> Check:
        """Check that a receipt among the anchor receipts lies at its own place; a copy elsewhere is as good."""
        folder = (self._settings.root / ANCHOR_RECEIPTS_FOLDER).resolve()
        place = path.resolve()
        wanted = (self._settings.root / receipt.path).resolve()
        if not place.is_relative_to(folder):
            return holds("place", f"a copy of {receipt.path}")
        return holds_if(
            "place", f"says that it belongs at {receipt.path}", condition=place == wanted
        )

    def _batch_checks(self, receipt: AnchorReceipt) -> list[Check]:
        batch = self._batch(receipt.metadata.batch_id, receipt.metadata.namespace)
        if not isinstance(batch, Batch):
            return [wrong("batch file", batch)]
        return [links.leaves_check(batch), *links.batch_checks(receipt, batch)]

    async def _live_checks(self, receipt: AnchorReceipt) -> list[Check]:
        from vaultmesh.ledgers.driver import (  # noqa: PLC0415 - loads client libraries
            DEPTH_CHECK,
            FINALITY_CHECK,
            Claim,
        )

        aggregation = receipt.aggregation
        committed = aggregation.root if aggregation is not None else receipt.root
        claim = Claim(
            commitment=committed.digest,
            tx_ref=receipt.tx_ref,
            block_number=receipt.block_number,
            anchor_ts=receipt.anchor_ts,
            required_depth=receipt.finality.required_depth,
            evidence=receipt.scheme_evidence,
            reservation=self._reservation(receipt.network, receipt.metadata.round, receipt.tx_ref),
        )
        try:
            checks = await self._target(receipt.network).verify(claim)
        except AnchorError as error:
            return [wrong("ledger", str(error))]
        if receipt.finality.state is not Finality.OBSERVED:
            return checks
        return links.not_final_yet(checks, (DEPTH_CHECK, FINALITY_CHECK))

    def _reservation(self, target: Target, round_id: str, tx_ref: str) -> Mapping[str, JsonValue]:
        return recorded_reservation(self._store, target, round_id, tx_ref)

    # --- event receipts ------------------------------------------------------------------------

    async def _event_verdict(self, path: Path, event: EventReceipt) -> CheckedFile:
        batch_id, batch = self._batch_of(event)
        checks = [holds("event receipt", f"batch {batch_id or 'unknown'}"), links.path_check(event)]
        if not isinstance(batch, Batch):
            checks.append(wrong("batch file", batch))
        else:
            checks += [*links.membership_checks(event, batch), links.leaves_check(batch)]
        checks += await self._event_anchor_checks(event, batch_id)
        anchor = event.anchor
        when = write_time(of_seconds(anchor.ts))
        where = (
            f"in {anchor.chain} by {when}"
            if anchor.chain != INTERNAL_CHAIN
            else "anchored with its batch"
        )
        statement = f"event {event.event_hash} is {where} (legacy path)"
        return CheckedFile(str(path), verdict_of(checks, statement))

    def _batch_of(self, event: EventReceipt) -> tuple[str, Batch | str]:
        """Return id and file of the batch that an event receipt names; a text if there is none."""
        text = event.integrity.removeprefix(INTEGRITY_PREFIX)
        if text == event.integrity:
            return "", f"integrity {event.integrity!r} names no batch"
        pieces = text.split("-")
        ids = ["-".join(pieces[:count]) for count in range(1, len(pieces))]
        for batch_id in ids:
            batch = self._batch(batch_id, "")
            if isinstance(batch, Batch):
                return batch_id, batch
        batch_id = ids[0] if ids else text
        return batch_id, self._batch(batch_id, "")

    async def _event_anchor_checks(self, event: EventReceipt, batch_id: str) -> list[Check]:
        paths = self.receipts_of(batch_id) if batch_id else []
        receipts = [receipt for receipt in map(_readable, paths) if receipt is not None]
        derived = derive_anchor(receipt for receipt in receipts if receipt.root == event.batch_root)
        checks: list[Check] = []
        if event.anchor.chain != INTERNAL_CHAIN:
            checks += await self._legacy_checks(event, batch_id)
        elif not paths:
            return [wrong("anchor", f"batch {batch_id} is sealed, but not anchored")]
        if derived is not None:
            checks.append(links.derived_check(event.anchor, derived))
        if event.anchor.chain == INTERNAL_CHAIN:
            for path in paths:
                checks += (await self.checked(path)).verdict.checks
        return checks

    async def _legacy_checks(self, event: EventReceipt, batch_id: str) -> list[Check]:
        """Check the one anchor that an event receipt names against its ledger."""
        from vaultmesh.ledgers.driver import Claim  # noqa: PLC0415 - loads client libraries

        anchor = event.anchor
        try:
            opened = self._target(Target.parse(anchor.chain))
            reservation = self._reservation_of_event(event, batch_id)
            evidence = await self._found_evidence(opened, event, batch_id, reservation)
            claim = Claim(
                commitment=event.batch_root.digest,
                tx_ref=anchor.tx,
                block_number=anchor.block,
                anchor_ts=of_seconds(anchor.ts),
                required_depth=0,
                evidence={
                    **evidence,
                    "contract": anchor.contract or "",
                    "token": anchor.sig or "",
                },
                reservation=reservation,
            )
            return await opened.verify(claim)
        except (AnchorError, InvalidValue) as error:
            return [wrong("ledger", str(error))]

    def _reservation_of_event(self, event: EventReceipt, batch_id: str) -> Mapping[str, JsonValue]:
        """Return the reservation of the round that gave an event its anchor, as the batch's receipts name it."""
        receipts = map(_readable, self.receipts_of(batch_id) if batch_id else [])
        for receipt in receipts:
            if receipt is not None and receipt.tx_ref == event.anchor.tx:
                return self._reservation(receipt.network, receipt.metadata.round, receipt.tx_ref)
        return {}

    async def _found_evidence(
        self,
        opened: "Anchoring",
        event: EventReceipt,
        batch_id: str,
        reservation: Mapping[str, JsonValue],
    ) -> Mapping[str, JsonValue]:
        """Return what the ledger itself shows of the transaction: a legacy anchor carries no evidence."""
        anchor = event.anchor
        watched = WatchedRound(
            round_id=batch_id,
            commitment=event.batch_root,
            label=batch_id,
            reservation=Reservation(account=anchor.contract or "", fields=dict(reservation)),
            tx_refs=[anchor.tx],
            signed_at=of_seconds(anchor.ts),
        )
        view = (await opened.look([watched]))[0]
        if view.state is not RoundState.INCLUDED:
            return {}
        return (await opened.evidence(watched, view, "")).scheme

    # --- files and targets ---------------------------------------------------------------------

    def _target(self, target: Target) -> "Anchoring":
        from vaultmesh.ledgers.targets import open_target  # noqa: PLC0415 - loads client libraries

        if target not in self._opened:
            anchors = load_anchors(anchors_path(self._settings))
            self._opened[target] = open_target(target, anchors, self._settings.root, signing=False)
        return self._opened[target]

    def _batch(self, batch_id: str, namespace: str) -> Batch | str:
        """Return a batch, or what is wrong with its file."""
        problem = ""
        for folder in self._folders(namespace):
            place = f"{folder}/{batch_id}.json"
            content = self._store.read(place) if "/" not in batch_id else None
            if content is None:
                problem = problem or f"{place} is missing; restore it"
                continue
            try:
                return parse_batch(content, name=batch_id)
            except InvalidValue as error:
                return f"{place}: {error}"
        return problem

    def _folders(self, namespace: str) -> list[str]:
        """Return where a namespace's batches may lie; of no namespace: where any may."""
        if self._specs is None:
            self._specs = self._configured()
        own = [spec.batches for name, spec in self._specs.items() if namespace in ("", name)]
        return list(dict.fromkeys([*(folder for folder in own if folder), BATCHES_FOLDER]))

    def _configured(self) -> Mapping[str, NamespaceSpec]:
        try:
            return load_namespaces(namespaces_path(self._settings)).specs
        except ConfigurationError:
            return {}


def _carried_check(verdict: Verdict) -> Check:
    """Check what a receipt carries for others to verify without a ledger: the ledger itself says nothing of it."""
    carried = [check for check in verdict.checks if check.name not in _CHECKED_ANYWAY]
    refuted = [f"{check.name}: {check.detail}" for check in carried if check.found is Found.WRONG]
    lacks = ", ".join(check.name for check in lacking(carried))
    detail = f"holds, but lacks {lacks}" if lacks else "holds by itself"
    return holds_if("carried proof", "; ".join(refuted) or detail, condition=not refuted)


def _readable(path: Path) -> AnchorReceipt | None:
    try:
        return parse_receipt(path.read_bytes())
    except (OSError, InvalidValue):
        return None


def _unreadable(path: Path, reason: str) -> CheckedFile:
    return CheckedFile(str(path), verdict_of([wrong("receipt", reason)], ""))
