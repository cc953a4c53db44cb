"""Stores transactions that only use up a reservation below a round of ours (fillers).

They lie in the folder of the round beyond the gap, as `filler-<sequence>-<n>.json`, in the form of candidates: stored
before they are sent, exclusively, so that two workers never sign two for one number. They are no candidates of the
round: they commit to nothing, and mean nothing once that round is in the ledger.
"""

import re

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.rounds.leaf import read_document
from vaultmesh.domain.rounds.manifest import Candidate
from vaultmesh.storage.files import Store

_NAME = re.compile(r"filler-([0-9]{1,18})-([0-9]{1,9})\.json")


class FillerFiles:
    """The fillers of one round."""

    def __init__(self, store: Store, folder: str) -> None:
        """Keep them in the round's folder."""
        self._store = store
        self._folder = folder

    def stored(self) -> dict[int, list[Candidate]]:
        """Return the fillers by sequence, each in order of their numbers.

        Raises:
            InvalidValue: one of them is malformed: its bytes may be on their way.
        """
        fillers: dict[int, list[Candidate]] = {}
        matches = filter(None, map(_NAME.fullmatch, self._store.names(self._folder)))
        for match in sorted(matches, key=lambda name: (int(name[1]), int(name[2]))):
            candidate = self._read(match[0])
            if candidate is not None:
                fillers.setdefault(int(match[1]), []).append(candidate)
        return fillers

    def add(self, sequence: int, candidate: Candidate) -> Candidate:
        """Store a filler durably before it is sent; returns the one that is stored under its number."""
        name = f"filler-{sequence}-{candidate.n}.json"
        if self._store.create(f"{self._folder}/{name}", candidate.document().encode()):
            return candidate
        return self._read(name) or candidate

    def _read(self, name: str) -> Candidate | None:
        path = f"{self._folder}/{name}"
        content = self._store.read(path)
        if content is None:
            return None
        try:
            return read_document(Candidate, content)
        except InvalidValue as error:
            message = f"{path}: {error}; restore it from a backup"
            raise InvalidValue(message) from error
