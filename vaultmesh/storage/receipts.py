"""Keeps anchor receipts: `out/anchors/<namespace>/<batch id>/<target>.json`.

1. A receipt's revision only rises: a late writer that finds a higher one stops (X9).
2. A batch is covered while its receipt says anything but failed, for the root its file has now.
3. What a receipt says of itself is trusted, not where it lies; one that says something else, or
   can't be read, covers nothing and is written anew from the rounds.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from vaultmesh.domain.batches.batch import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import ANCHOR_RECEIPTS_FOLDER, path_form
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    Status,
    parse_receipt,
    receipt_document,
    receipt_path,
)
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.target import Target
from vaultmesh.storage.batches import BatchRef
from vaultmesh.storage.event_receipts import EventReceipts
from vaultmesh.storage.files import NoFile, Store, change

LOOKED_AT_AGAIN = 64
"""Known receipts that each question looks for again: 0.1 ms of system calls."""


class Written(StrEnum):
    """What became of a receipt that was to be written."""

    WRITTEN = "written"
    SAME = "same"
    """It said the same already, apart from when and how deep it was last seen."""
    NEWER_EXISTS = "newer_exists"
    """A receipt with a higher revision is there: the caller is behind."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """What of a namespace's batches has no anchor on a target."""

    owed: Sequence[BatchRef]
    """In the order they were given."""
    refused: Sequence[Refused]
    """Batches whose file changed its root after it was anchored, and those whose receipt can't be looked for."""


@dataclass(slots=True)
class _Covered:
    """What is known of one namespace on one target."""

    roots: dict[str, bytes] = field(default_factory=dict)
    """Root of each covered batch."""
    turn: list[str] = field(default_factory=list)
    """Batches whose turn to be looked for again is still to come."""
    asked: Sequence[BatchRef] = ()
    """The last question, if nothing was lost since."""
    answer: Uncovered = field(default_factory=lambda: Uncovered((), ()))
    blocked: dict[BatchRef, Refused] = field(default_factory=dict)
    """Batches of that answer whose receipt's place holds something else: they may be anchored, so they are not owed."""


class ReceiptStore:
    """Anchor receipts of one store; one per process, used by any thread."""

    def __init__(self, store: Store) -> None:
        """Read nothing before it is asked for."""
        self._store = store
        self._lock = threading.RLock()
        self._covered: dict[tuple[str, Target], _Covered] = {}
        self._events = EventReceipts(store)

    def path(self, namespace: str, batch_id: str, target: Target) -> str:
        """Return where a receipt lies, below the root."""
        return receipt_path(namespace, batch_id, target)

    def read(self, namespace: str, batch_id: str, target: Target) -> AnchorReceipt | None:
        """Return a receipt; None if there is none.

        Raises:
            InvalidValue: it can't be read, or is another's.
        """
        path = receipt_path(namespace, batch_id, target)
        content = self._store.read(path)
        if content is None:
            return None
        receipt = _read(path, content)
        if receipt.path != path:
            message = f"{path}: it is the receipt of {receipt.path}; restore it"
            raise InvalidValue(message)
        return receipt

    def write(self, receipt: AnchorReceipt, *, only_differing: bool = False) -> Written:
        """Write a receipt unless a newer one is there; the key is namespace, batch and target.

        With `only_differing` an earlier one that says the same stays, with its own revision.

        Raises:
            NetworkFailure: it could not be written.
        """
        outcome = Written.WRITTEN

        def newest(content: bytes | None) -> bytes | None:
            nonlocal outcome
            stored = _own(receipt.path, content)
            outcome = _outcome(stored, _like(stored, receipt) if only_differing else receipt)
            return receipt_document(receipt).encode() if outcome is Written.WRITTEN else None

        if change(self._store, receipt.path, newest):
            self._learn(receipt)
        return outcome

    def _learn(self, receipt: AnchorReceipt) -> None:
        metadata = receipt.metadata
        with self._lock:
            known = self._covered.setdefault((metadata.namespace, receipt.network), _Covered())
            if receipt.status is Status.FAILED or known.answer.refused:
                known.asked, known.answer = (), Uncovered((), ())
            if receipt.status is Status.FAILED:
                known.roots.pop(metadata.batch_id, None)
            else:
                known.roots[metadata.batch_id] = receipt.root.digest

    def uncovered(self, namespace: str, batches: Sequence[BatchRef], target: Target) -> Uncovered:
        """Return what is owed; cheap when asked again with the same batches, or with more at the end."""
        with self._lock:
            known = self._looked_at_some(namespace, target)
            asked = len(known.asked)
            is_longer = batches is known.asked or tuple(batches[:asked]) == tuple(known.asked)
            before = known.answer if is_longer else Uncovered((), ())
            blocked, known.blocked = known.blocked if is_longer else {}, {}
            fresh = batches[asked:] if is_longer else batches
            owed: list[BatchRef] = []
            refused = [line for line in before.refused if line not in blocked.values()]
            roots = known.roots
            to_look_at = [
                ref
                for ref in (*before.owed, *blocked, *fresh)
                if roots.get(ref.batch_id) != ref.root.digest
            ]
            for ref in to_look_at:
                try:
                    root = self._root(known, namespace, ref.batch_id, target)
                except NoFile as failure:
                    known.blocked[ref] = Refused(ref.path, f"its receipt: {failure}")
                    continue
                if root is None:
                    owed.append(ref)
                elif root != ref.root.digest:
                    refused.append(_changed(namespace, ref, root, target))
            refused += known.blocked.values()
            known.asked, known.answer = batches, Uncovered(owed, refused)
            return known.answer

    def of_batch(
        self, batch_id: str, target: Target | None = None, *, namespace: str = ""
    ) -> list[AnchorReceipt]:
        """Return the readable anchor receipts of a batch: of one target or namespace, or of all."""
        folders = (
            [path_form(namespace)]
            if namespace
            else sorted(self._store.names(ANCHOR_RECEIPTS_FOLDER))
        )
        receipts: list[AnchorReceipt] = []
        for folder in folders:
            place = f"{ANCHOR_RECEIPTS_FOLDER}/{folder}/{path_form(batch_id)}"
            names = [f"{target.path}.json"] if target else sorted(self._store.names(place))
            for name in names:
                receipt = self._readable_at(f"{place}/{name}")
                if receipt is not None and receipt.metadata.batch_id == batch_id:
                    receipts.append(receipt)
        return receipts

    def has_any(self, namespace: str) -> bool:
        """Tell whether a namespace was ever anchored."""
        return self._store.exists(f"{ANCHOR_RECEIPTS_FOLDER}/{path_form(namespace)}")

    def in_folder(self, namespace: str, batch: str) -> list[AnchorReceipt]:
        """Return the readable receipts that lie at their own place in one batch's folder; both names as in the storage."""
        folder = f"{ANCHOR_RECEIPTS_FOLDER}/{namespace}/{batch}"
        places = (f"{folder}/{name}" for name in sorted(self._store.names(folder)))
        readable = ((place, self._readable_at(place)) for place in places)
        return [receipt for place, receipt in readable if receipt and receipt.path == place]

    def of_rounds(
        self, target: Target, round_ids: Collection[str]
    ) -> dict[str, list[AnchorReceipt]]:
        """Return the readable receipts that name these rounds, by round; reads every receipt of the target."""
        by_round: dict[str, list[AnchorReceipt]] = {}
        for namespace in sorted(self._store.names(ANCHOR_RECEIPTS_FOLDER)):
            folder = f"{ANCHOR_RECEIPTS_FOLDER}/{namespace}"
            for batch in sorted(self._store.names(folder)):
                receipt = self._readable_at(f"{folder}/{batch}/{target.path}.json")
                if receipt is not None and receipt.metadata.round in round_ids:
                    by_round.setdefault(receipt.metadata.round, []).append(receipt)
        return by_round

    def derive_event_receipts(self, batch_id: str, root: MerkleRoot) -> list[Refused]:
        """Make the event receipts of a batch say what its anchor receipts do; returns broken ones.

        To be called after an anchor receipt of a batch was written, once per batch.
        """
        return self._events.derive(batch_id, root, lambda: self.of_batch(batch_id))

    def _root(self, known: _Covered, namespace: str, batch_id: str, target: Target) -> bytes | None:
        """Return the root that a receipt covers; None if there is none, or it failed."""
        if batch_id not in known.roots:
            receipt = self._readable(namespace, batch_id, target)
            if receipt is None or receipt.status is Status.FAILED:
                return None
            known.roots[batch_id] = receipt.root.digest
        return known.roots[batch_id]

    def _readable(self, namespace: str, batch_id: str, target: Target) -> AnchorReceipt | None:
        path = receipt_path(namespace, batch_id, target)
        return _own(path, self._store.read(path))

    def _readable_at(self, path: str) -> AnchorReceipt | None:
        try:
            return _parsed(path, self._store.read(path))
        except NoFile:
            return None

    def _looked_at_some(self, namespace: str, target: Target) -> _Covered:
        """Look for the next few known receipts again; if one is lost, forget what is known."""
        key = namespace, target
        known = self._covered.setdefault(key, _Covered())
        if not known.turn:
            known.turn = list(known.roots)
        for _ in range(min(LOOKED_AT_AGAIN, len(known.turn))):
            path = receipt_path(namespace, known.turn.pop(), target)
            if not self._store.exists(path):
                known = self._covered[key] = _Covered()
                break
        return known


def _read(path: str, content: bytes) -> AnchorReceipt:
    try:
        return parse_receipt(content)
    except InvalidValue as error:
        message = f"{path}: {error}"
        raise InvalidValue(message) from error


def _parsed(path: str, content: bytes | None) -> AnchorReceipt | None:
    try:
        return None if content is None else _read(path, content)
    except InvalidValue:
        return None


def _own(path: str, content: bytes | None) -> AnchorReceipt | None:
    """Return the receipt that lies at its own place; None for any other, and for what can't be read."""
    receipt = _parsed(path, content)
    return receipt if receipt is not None and receipt.path == path else None


def _outcome(stored: AnchorReceipt | None, receipt: AnchorReceipt) -> Written:
    """Return what is to become of a receipt beside the one that is stored."""
    if stored is None:
        return Written.WRITTEN
    if _lasting(stored) == _lasting(receipt):
        return Written.SAME
    return Written.NEWER_EXISTS if _age(stored) > _age(receipt) else Written.WRITTEN


def _like(stored: AnchorReceipt | None, receipt: AnchorReceipt) -> AnchorReceipt:
    """Return the receipt with the revision of the one that is stored, if that is lower and nothing else differs."""
    if stored is None or stored.metadata.revision > receipt.metadata.revision:
        return receipt
    revised = {"revision": stored.metadata.revision}
    like = receipt.model_copy(update={"metadata": receipt.metadata.model_copy(update=revised)})
    return like if _lasting(stored) == _lasting(like) else receipt


def _age(receipt: AnchorReceipt) -> tuple[int, datetime]:
    """Return what is higher the newer a receipt is: attempts of one order share a revision, and began one after another."""
    return receipt.metadata.revision, receipt.observed_at


def _lasting(receipt: AnchorReceipt) -> AnchorReceipt:
    """Return the receipt without what changes with every look at the ledger."""
    finality = receipt.finality.model_copy(update={"observed_depth": 0})
    return receipt.model_copy(update={"finality": finality, "observed_at": receipt.anchor_ts})


def _changed(namespace: str, ref: BatchRef, root: bytes, target: Target) -> Refused:
    anchored = MerkleRoot(root).batch_form
    receipt = receipt_path(namespace, ref.batch_id, target)
    reason = f"its root is {ref.root}, but {anchored} was anchored on {target}; restore the file (the receipt is {receipt})"
    return Refused(ref.path, reason)
