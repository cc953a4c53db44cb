"""Remembers what a process has written of rounds, or read while they were open, so that it can be stored again where an older copy was put back.

Of the newest rounds only: so many leaves of manifests, and so many rounds with their candidates and end.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from vaultmesh.domain.rounds.manifest import Candidate, Closed, Manifest

MOST_LEAVES_KEPT = 4_000
"""Leaves of the manifests that are kept in memory, about 3 kB each."""
MOST_SIGNED_KEPT = 1_000
"""Rounds whose candidates and ends are kept in memory, about 6 kB each: an hour of a round every four seconds."""


@dataclass(slots=True)
class SignedRound:
    """What was written of one signed round."""

    candidates: dict[int, Candidate] = field(default_factory=dict)
    end: Closed | None = None


class RoundMemory:
    """What one process knows of a target's rounds; used by any thread."""

    def __init__(self) -> None:
        """Know of nothing."""
        self._lock = threading.RLock()
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()
        self._signed: OrderedDict[str, SignedRound] = OrderedDict()

    def manifest(self, round_id: str) -> Manifest | None:
        """Return a manifest that is known."""
        with self._lock:
            if round_id in self._manifests:
                self._manifests.move_to_end(round_id)
            return self._manifests.get(round_id)

    def manifests(self) -> list[Manifest]:
        """Return every manifest that is known, the one that was asked for longest ago first."""
        with self._lock:
            return list(self._manifests.values())

    def keep(self, manifest: Manifest) -> None:
        """Keep a manifest; the one that was asked for longest ago goes first."""
        with self._lock:
            self._manifests[manifest.round_id] = manifest
            while sum(len(kept.leaves) for kept in self._manifests.values()) > MOST_LEAVES_KEPT:
                self._manifests.popitem(last=False)

    def signed(self) -> list[tuple[str, list[Candidate], Closed | None]]:
        """Return every signed round that is known: its candidates in order of their numbers, and its end."""
        with self._lock:
            return [
                (round_id, [known.candidates[n] for n in sorted(known.candidates)], known.end)
                for round_id, known in self._signed.items()
            ]

    def keep_candidate(self, round_id: str, candidate: Candidate) -> None:
        """Keep what was signed."""
        with self._lock:
            self._known(round_id).candidates[candidate.n] = candidate

    def keep_end(self, round_id: str, end: Closed | None) -> None:
        """Keep the end of a round of which more is known, or that it is open again."""
        with self._lock:
            if round_id in self._signed:
                self._signed[round_id].end = end

    def _known(self, round_id: str) -> SignedRound:
        known = self._signed.setdefault(round_id, SignedRound())
        self._signed.move_to_end(round_id)
        while len(self._signed) > MOST_SIGNED_KEPT:
            self._signed.popitem(last=False)
        return known
