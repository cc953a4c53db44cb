"""Reads and writes one round's files: `out/rounds/<target>/<round id>/`.

1. A manifest is created exclusively and durably, and never changed; without a candidate beside it
   it means nothing.
2. Candidates are created exclusively, numbered from 0; the same bytes again are the same candidate.
3. `closed.json` says that the round need not be observed any more. A lost round is open again once
   it has a candidate that its end did not count: a direct commitment that is sealed again.
4. `joined.json` names who has receipts of the round beyond those that the manifest names.
5. `resolved.json` is an operator's decision about a round that evidence can't decide; a later one about the same
   folder is `resolved-2.json`, and so on.
6. `missing.json` says that the ledger shows a round of ours of which no file is left.
7. Each file names its round: one that lies in another round's folder is refused there.
8. A manifest that can't be read any more may be known from elsewhere: receipts name leaves, salts and paths.
"""

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar

from pydantic import JsonValue

from vaultmesh.domain.aggregator.decisions import Decision, Resolved
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import ROUNDS_FOLDER, path_form
from vaultmesh.domain.rounds.leaf import read_document
from vaultmesh.domain.rounds.manifest import (
    Candidate,
    Closed,
    LateJoiner,
    LateJoiners,
    Manifest,
    RoundOutcome,
    parse_manifest,
)
from vaultmesh.domain.target import Target
from vaultmesh.storage.files import FileStamp, Store, change
from vaultmesh.storage.round_memory import RoundMemory

MANIFEST = "manifest.json"
MOST_RESOLUTIONS = 32
"""Decisions about one folder; more are no operator's."""

_CLOSED, _JOINED, _CANDIDATE, _SUFFIX = "closed.json", "joined.json", "candidate-", ".json"
_RESOLVED, _MISSING = "resolved", "missing.json"
_parse_candidate = partial(read_document, Candidate)
_parse_closed = partial(read_document, Closed)
_parse_late_joiners = partial(read_document, LateJoiners)
_parse_resolved = partial(read_document, Resolved)
Document = TypeVar("Document")


class OfRound(Protocol):
    """A file that names its round."""

    @property
    def round_id(self) -> str:
        """Whose file it is; empty in old ones."""
        ...


Own = TypeVar("Own", bound=OfRound)


class Added(StrEnum):
    """What became of a candidate that was to be stored."""

    CREATED = "created"
    SAME = "same"
    """It was stored before, with these bytes."""
    CONFLICT = "conflict"
    """Its number is taken by other bytes: the caller is behind."""


class RoundFiles:
    """The files of one target's rounds; used by any thread."""

    def __init__(self, store: Store, target: Target) -> None:
        """Read nothing before it is asked for."""
        self.target = target
        self.folder = f"{ROUNDS_FOLDER}/{target.path}"
        self._store = store
        self._lock = threading.RLock()
        self._memory = RoundMemory()
        self._restored: dict[str, Manifest] = {}

    def create_manifest(self, manifest: Manifest) -> bool:
        """Store a manifest; False: a seal that was lost left one behind.

        That one has the same commitment; under a direct one its leaves and requests may differ.
        """
        content = manifest.document().encode()
        created = self._store.create(self._manifest_path(manifest.round_id), content)
        if created:
            self._memory.keep(manifest)
        return created

    def store_again(self) -> list[str]:
        """Store what is gone of signed rounds, as far as this process knows it; returns of which.

        A round of which nothing is left gets its end first, so that nobody takes it for open. What is there in any form is
        left, and so are rounds that an operator gave up.
        """
        stored = [
            round_id
            for round_id, candidates, end in self._memory.signed()
            if candidates and not self.has_candidate(round_id, candidates[0].n)
            if self.is_lost_evidence(round_id) and not self._is_closed_as_lost(round_id)
            if self._store_signed_again(round_id, candidates, end)
        ]
        stored += [
            manifest.round_id
            for manifest in self._memory.manifests()
            if not self._store.exists(self._manifest_path(manifest.round_id))
            and self.count(manifest.round_id)
            and not self.is_forgotten(manifest.round_id)
            and self.create_manifest(manifest)
        ]
        return list(dict.fromkeys(stored))

    def _is_closed_as_lost(self, round_id: str) -> bool:
        try:
            closed = self.closed(round_id)
        except InvalidValue:
            return False
        return closed is not None and closed.outcome is RoundOutcome.LOST

    def _store_signed_again(
        self, round_id: str, candidates: Iterable[Candidate], end: Closed | None
    ) -> bool:
        if end is not None and not self.has_end(round_id):
            self.close(round_id, end)
        for candidate in candidates:
            self.add_candidate(round_id, candidate)
        return True

    def restored(self, manifest: Manifest) -> None:
        """Take a manifest from elsewhere for one that can't be read; nothing is written."""
        with self._lock:
            self._restored[manifest.round_id] = manifest

    def read_manifest(self, round_id: str) -> Manifest:
        """Return a round's manifest: from its file, or as it was restored from elsewhere.

        Raises:
            InvalidValue: it is missing or malformed, or is not this round's.
        """
        known = self._memory.manifest(round_id)
        if known is not None:
            return known
        try:
            return self.stored_manifest(round_id)
        except InvalidValue:
            with self._lock:
                if round_id in self._restored:
                    return self._restored[round_id]
            raise

    def stored_manifest(self, round_id: str) -> Manifest:
        """Return what a round's file says now; raises as `read_manifest` does."""
        path = self._manifest_path(round_id)
        content = self._store.read(path)
        if content is None:
            message = f"{path} is missing; restore it from a backup"
            raise InvalidValue(message)
        manifest = _read(path, content, parse_manifest)
        if (manifest.target, manifest.round_id) != (self.target, round_id):
            message = f"{path}: it is round {manifest.round_id} of {manifest.target}; restore it"
            raise InvalidValue(message)
        self._memory.keep(manifest)
        return manifest

    def candidates(self, round_id: str) -> list[Candidate]:
        """Return a round's candidates, in order of their numbers.

        Raises:
            InvalidValue: one of them is malformed.
        """
        candidates: list[Candidate] = []
        for n in self._numbers(round_id):
            path = self._candidate_path(round_id, n)
            content = self._store.read(path)
            if content is not None:
                candidates.append(_own(round_id, path, content, _parse_candidate))
        return candidates

    def count(self, round_id: str) -> int:
        """Return how many candidates a round has; the next one's number."""
        return max(self._numbers(round_id), default=-1) + 1

    def is_gone(self, round_id: str, candidates: int) -> bool:
        """Say whether a round without an end has fewer candidates than were signed."""
        return self.count(round_id) < candidates and not self.has_end(round_id)

    def is_lost_evidence(self, round_id: str) -> bool:
        """Say whether nothing is left of what was signed for a round, and nobody gave it up."""
        return not self.count(round_id) and not self.is_forgotten(round_id)

    def note_missing(self, round_id: str) -> None:
        """Store that a round of ours is in the ledger of which no file is left."""
        self._store.create(f"{self.folder}/{round_id}/{_MISSING}", b"{}\n")

    def is_noted_missing(self, round_id: str) -> bool:
        """Say whether the ledger has shown a round of which no file was left."""
        return self._store.exists(f"{self.folder}/{round_id}/{_MISSING}")

    def is_accounted_for(self, round_id: str) -> bool:
        """Say whether anything is known of a round of ours that the ledger shows."""
        return (
            bool(self.count(round_id))
            or self.has_end(round_id)
            or self.is_noted_missing(round_id)
            or self.is_forgotten(round_id)
        )

    def has_candidate(self, round_id: str, n: int) -> bool:
        """Say whether there is a candidate of that number, readable or not."""
        return self._store.exists(self._candidate_path(round_id, n))

    def candidate_stamp(self, round_id: str, n: int) -> FileStamp | None:
        """Return when a candidate was stored; None if it is not."""
        return self._store.stamp(self._candidate_path(round_id, n))

    def add_candidate(self, round_id: str, candidate: Candidate) -> Added:
        """Store a candidate durably, before its first broadcast (X3).

        Raises:
            InvalidValue: the stored one with its number can't be read.
        """
        path = self._candidate_path(round_id, candidate.n)
        named = candidate.model_copy(update={"round_id": round_id})
        created = self._store.create(path, named.document().encode())
        stored = None if created else self._store.read(path)
        same = stored is not None and _read(path, stored, _parse_candidate).raw == candidate.raw
        if created or same:
            self._memory.keep_candidate(round_id, named)
        return Added.CREATED if created else Added.SAME if same else Added.CONFLICT

    def close(self, round_id: str, closed: Closed) -> None:
        """Store a round's end, unless one with a higher revision is there; `candidates` is counted here if it is 0.

        Who closes a lost round beside its next seal MUST say it: the count may include a new one.
        """
        count = closed.candidates or self.count(round_id)
        number = closed.number or self.number_of(round_id)
        counted = closed.model_copy(
            update={"candidates": count, "number": number, "round_id": round_id}
        )

        def newest(content: bytes | None) -> bytes | None:
            is_behind = content is not None and _revision_of(content) > closed.revision
            return None if is_behind else counted.document().encode()

        if change(self._store, f"{self.folder}/{round_id}/{_CLOSED}", newest):
            self._memory.keep_end(round_id, counted)

    def late_joiners(self, round_id: str) -> LateJoiners:
        """Return who has receipts of a round without being named in its manifest.

        Raises:
            InvalidValue: the file is malformed.
        """
        path = f"{self.folder}/{round_id}/{_JOINED}"
        return self._late_joiners(round_id, path, self._store.read(path))

    def _late_joiners(self, round_id: str, path: str, content: bytes | None) -> LateJoiners:
        if content is None:
            return LateJoiners(round_id=round_id)
        return _own(round_id, path, content, _parse_late_joiners)

    def add_late_joiners(self, round_id: str, more: Iterable[LateJoiner]) -> None:
        """Store further late joiners, before their receipts are written.

        Raises:
            InvalidValue: the stored ones can't be read.
        """
        joining = list(more)
        path = f"{self.folder}/{round_id}/{_JOINED}"

        def joined(content: bytes | None) -> bytes | None:
            stored = self._late_joiners(round_id, path, content)
            every = stored.with_more(joining)
            named = every.model_copy(update={"round_id": round_id})
            return named.document().encode() if every != stored else None

        change(self._store, path, joined)

    def resolutions(self, round_id: str) -> list[Resolved]:
        """Return what operators decided about a round, oldest first.

        Raises:
            InvalidValue: a decision can't be read, or is missing before a later one.
        """
        names = self._store.names(f"{self.folder}/{round_id}")
        numbers = sorted(filter(None, map(_resolution_number, names)))
        missing = next(
            (expected for expected, number in enumerate(numbers, 1) if expected != number), None
        )
        if missing is not None:
            path = self._resolution_path(round_id, missing)
            message = f"{path} is missing; restore it from a backup"
            raise InvalidValue(message)
        resolutions: list[Resolved] = []
        for number in numbers:
            path = self._resolution_path(round_id, number)
            content = self._store.read(path)
            if content is not None:
                resolutions.append(_own(round_id, path, content, _parse_resolved))
        return resolutions

    def resolve(self, round_id: str, resolved: Resolved, considered: Container[str] = ()) -> str:
        """Store a decision durably, as the next one about its folder; returns where it lies.

        The same decision by two at once is one.

        Args:
            round_id: the round.
            resolved: the decision.
            considered: the transactions of which it is known that nobody shows them, for a round that is lost.

        Raises:
            InvalidValue: an earlier decision about the same reservation is another one.
        """
        named = resolved.model_copy(update={"round_id": round_id})
        for _ in range(MOST_RESOLUTIONS):
            earlier = self.resolutions(round_id)
            for number, stored in enumerate(earlier, 1):
                if stored.is_same(resolved):
                    return self._resolution_path(round_id, number)
            _require_undecided(round_id, resolved, earlier, considered)
            path = self._resolution_path(round_id, len(earlier) + 1)
            if self._store.create(path, named.document().encode()):
                return path
        message = f"others decide about round {round_id} at the same time; look at status"
        raise InvalidValue(message)

    def complete_adoptions(self, round_id: str) -> None:
        """Store the transactions that operators adopted as candidates; nothing happens for those that are.

        Raises:
            InvalidValue: a file of the round is malformed.
        """
        for resolved in self.resolutions(round_id):
            adopted = resolved.candidate
            while adopted is not None and not self._is_candidate(round_id, resolved.tx_ref):
                numbered = adopted.model_copy(update={"n": self.count(round_id)})
                self.add_candidate(round_id, numbered)

    def _is_candidate(self, round_id: str, tx_ref: str) -> bool:
        return any(candidate.tx_ref == tx_ref for candidate in self.candidates(round_id))

    def is_forgotten(self, round_id: str) -> bool:
        """Say whether an operator gave a round up that can't be read; raises as `resolutions` does."""
        paths = (self._resolution_path(round_id, number) for number in (1, 2))
        return any(map(self._store.exists, paths)) and any(
            resolved.decision is Decision.FORGOTTEN for resolved in self.resolutions(round_id)
        )

    def is_given_up(self, round_id: str, reservation: dict[str, JsonValue]) -> bool:
        """Say whether an operator decided that a reservation is lost; raises as `resolutions` does."""
        return any(
            resolved.decision is Decision.LOST and resolved.is_about(reservation)
            for resolved in self.resolutions(round_id)
        )

    def _resolution_path(self, round_id: str, number: int) -> str:
        name = _RESOLVED if number == 1 else f"{_RESOLVED}-{number}"
        return f"{self.folder}/{round_id}/{name}{_SUFFIX}"

    def reopen(self, round_id: str) -> None:
        """Forget a round's end: receipts of it are to change still."""
        self._store.delete(f"{self.folder}/{round_id}/{_CLOSED}")
        self._memory.keep_end(round_id, None)

    def has_end(self, round_id: str) -> bool:
        """Say whether there is an end, readable or not."""
        return self._store.exists(f"{self.folder}/{round_id}/{_CLOSED}")

    def closed(self, round_id: str) -> Closed | None:
        """Return a round's end; None while it is open.

        Raises:
            InvalidValue: it is malformed.
        """
        path = f"{self.folder}/{round_id}/{_CLOSED}"
        content = self._store.read(path)
        if content is None:
            return None
        closed = _own(round_id, path, content, _parse_closed)
        is_lost = closed.outcome is RoundOutcome.LOST
        return None if is_lost and self.count(round_id) > closed.candidates else closed

    def number_of(self, round_id: str) -> int:
        """Return a round's number among the signed ones of the target, as a readable file says; 0: none does."""
        try:
            closed = self.closed(round_id)
        except InvalidValue:
            closed = None
        if closed is not None and closed.number:
            return closed.number
        return max(
            (self._candidate_number(round_id, n) for n in self._numbers(round_id)), default=0
        )

    def _candidate_number(self, round_id: str, n: int) -> int:
        path = self._candidate_path(round_id, n)
        try:
            content = self._store.read(path)
            return _own(round_id, path, content, _parse_candidate).number if content else 0
        except InvalidValue:
            return 0

    def _numbers(self, round_id: str) -> list[int]:
        return sorted(_candidate_numbers(self._store.names(f"{self.folder}/{round_id}")))

    def _manifest_path(self, round_id: str) -> str:
        return f"{self.folder}/{round_id}/{MANIFEST}"

    def _candidate_path(self, round_id: str, n: int) -> str:
        return f"{self.folder}/{round_id}/{_CANDIDATE}{n}{_SUFFIX}"


def recorded_reservation(
    store: Store, target: Target, round_id: str, tx_ref: str
) -> Mapping[str, JsonValue]:
    """Return what a round's signature covered, as our own record says; empty where it can't be read.

    Of several reservations it is the one of the candidate that the ledger knows as `tx_ref`, else the newest.
    """
    if path_form(round_id) != round_id:
        return {}
    try:
        candidates = RoundFiles(store, target).candidates(round_id)
    except InvalidValue:
        return {}
    named = [candidate for candidate in candidates if candidate.tx_ref == tx_ref] or candidates
    fields = named[-1].reservation.get("fields") if named else None
    return fields if isinstance(fields, dict) else {}


def _read(path: str, content: bytes, parse: Callable[[bytes], Document]) -> Document:
    try:
        return parse(content)
    except InvalidValue as error:
        message = f"{path}: {error}; restore it from a backup"
        raise InvalidValue(message) from error


def _own(round_id: str, path: str, content: bytes, parse: Callable[[bytes], Own]) -> Own:
    """Read a file of a round; raises `InvalidValue` for one that is malformed, or another round's."""
    document = _read(path, content, parse)
    if document.round_id not in ("", round_id):
        message = f"{path}: it is of round {document.round_id}; restore it from a backup"
        raise InvalidValue(message)
    return document


def _require_undecided(
    round_id: str, resolved: Resolved, earlier: Iterable[Resolved], considered: Container[str]
) -> None:
    """Raise `InvalidValue` if another decision about the same reservation contradicts this one."""
    final = (Decision.LOST, Decision.FORGOTTEN)
    for stored in earlier:
        same = resolved.reservation is None or stored.is_about(resolved.reservation)
        adopted = stored.decision is Decision.ADOPTED and stored.tx_ref not in considered
        if resolved.decision is Decision.LOST and same and adopted:
            message = f"round {round_id} is not lost: {stored.by} adopted {stored.tx_ref} at the same time; look at status"
            raise InvalidValue(message)
        if stored.decision in final and same:
            message = (
                f"round {round_id} was decided as {stored.decision.value} by {stored.by} at {stored.decided_at.isoformat()}; "
                "a decision is never changed"
            )
            raise InvalidValue(message)


def _revision_of(end: bytes) -> int:
    """Return the revision of a round's end; one that can't be read is older than any."""
    try:
        return _parse_closed(end).revision
    except InvalidValue:
        return -1


def _resolution_number(name: str) -> int:
    """Return which decision a file is; 0: none."""
    if name == f"{_RESOLVED}{_SUFFIX}":
        return 1
    number = name.removeprefix(f"{_RESOLVED}-").removesuffix(_SUFFIX)
    is_later = name == f"{_RESOLVED}-{number}{_SUFFIX}" and number.isascii() and number.isdigit()
    return int(number) if is_later else 0


def _candidate_numbers(names: Iterable[str]) -> Iterator[int]:
    for name in names:
        number = name.removeprefix(_CANDIDATE).removesuffix(_SUFFIX)
        if name == f"{_CANDIDATE}{number}{_SUFFIX}" and number.isascii() and number.isdigit():
            yield int(number)
