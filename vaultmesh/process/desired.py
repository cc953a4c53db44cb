"""Decides when a worker offers a namespace what its file says, and what counts as drift.

1. An entry is offered when the worker starts and when it changes, until the workflow has taken it.
2. After that it is offered again only if no workflow runs, or if the workflow shows content that this same worker
   offered earlier; once for each such content, so that two workers with different files end after a few changes.
3. Any other difference is drift: it is shown, not fought.
4. A worker changes nothing that runs in its first seconds: one that keeps crashing must not undo another one's file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LAG_SECONDS = 5.0
"""A visibility list may show what was true so long before it was asked for."""
SETTLED_SECONDS = 10.0
"""After it a worker is taken for one that stays."""
NO_WORKFLOW = "no workflow runs"
OTHER_CONTENT = "runs another configuration than namespaces.yaml says"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What one look found of files and decisions, beside what runs."""

    drift: Mapping[str, str] = field(default_factory=dict)
    """What differs from namespaces.yaml, by namespace."""
    stopped: Mapping[str, str] = field(default_factory=dict)
    """Which namespaces of the file, and which others that run, an operator stopped, and when, by whom and why."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a namespace did not get what its file says, or why nobody knows whether it should run."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Files that are not in use as they are now, with the reason, by file name."""
    storage: str = ""
    """Why files could not be read lately; empty if they were."""


class Offer(StrEnum):
    """What a worker does for one namespace."""

    START = "start"
    """Start its workflow; one that runs already is left as it is."""
    CONFIGURE = "configure"
    """Tell its workflow what the file says."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a visibility list shows of one namespace."""

    at: float
    """Unix seconds."""
    runs: bool
    config_hash: str | None = None
    """None if its memo does not say."""


@dataclass(slots=True)
class _Entry:
    wanted: str
    is_open: bool = True
    """Whether it is still to be offered."""
    earlier: set[str] = field(default_factory=set)
    """Hashes of what this worker offered before, and has not replaced a second time."""
    taken_at: float = 0.0


class Offers:
    """Remembers what one worker has offered, for as long as it runs. Times are Unix seconds."""

    def __init__(self, started: float) -> None:
        """Remember nothing."""
        self._started = started
        self._entries: dict[str, _Entry] = {}

    def want(self, hashes: Mapping[str, str]) -> None:
        """Take what the file says now: the hash of each namespace's entry."""
        self._entries = {name: kept for name, kept in self._entries.items() if name in hashes}
        for name, wanted in hashes.items():
            entry = self._entries.setdefault(name, _Entry(wanted))
            if entry.wanted == wanted:
                continue
            if not entry.is_open:
                entry.earlier.add(entry.wanted)
            entry.earlier.discard(wanted)
            entry.wanted, entry.is_open = wanted, True

    def due(self, name: str, listed: Listed, now: float) -> Offer | None:
        """Return what is to be offered to a namespace; ask once for each look."""
        entry = self._entries[name]
        is_fresh = _is_fresh(entry, listed)
        if not listed.runs:
            return Offer.START if entry.is_open or is_fresh else None
        if is_fresh and listed.config_hash == entry.wanted:
            entry.is_open = False
        elif is_fresh and not entry.is_open and listed.config_hash in entry.earlier:
            entry.earlier.discard(listed.config_hash)
            entry.is_open = True
        if entry.is_open and now - self._started >= SETTLED_SECONDS:
            return Offer.CONFIGURE
        return None

    def taken(self, name: str, at: float) -> None:
        """Note that a namespace has what its entry says."""
        entry = self._entries[name]
        entry.is_open, entry.taken_at = False, at

    def drift(self, name: str, listed: Listed) -> str:
        """Return how what runs differs from an entry; empty if it does not, or the list is too old to say."""
        entry = self._entries[name]
        if not _is_fresh(entry, listed):
            return ""
        if not listed.runs:
            return NO_WORKFLOW
        if listed.config_hash is None:
            return ""
        return "" if listed.config_hash == entry.wanted else OTHER_CONTENT


def _is_fresh(entry: _Entry, listed: Listed) -> bool:
    return listed.at > 0 and listed.at >= entry.taken_at + (LAG_SECONDS if entry.taken_at else 0)
