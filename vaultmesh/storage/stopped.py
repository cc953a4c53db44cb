"""Keeps which namespaces an operator stopped: a file each, so that a damaged one hides no other.

1. A decision ends when its entry changes: in a file that was written later, or while this process had it before its eyes.
2. A file is removed only if it still says what was read: a decision that was made meanwhile stays.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.namespaces.stopped import Entries, StopDecision, read_decision
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.storage.files import Store, change, version_of


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided about some namespaces."""

    stopped: Mapping[str, StopDecision] = field(default_factory=dict)
    """Decisions that hold, by namespace."""
    outdated: Collection[str] = frozenset()
    """Namespaces whose entry has changed since they were stopped: they run again."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why a decision can't be read and how to mend it, by namespace."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """What tells each decision's file from another one, by namespace; of all that were read."""


class StoppedNamespaces:
    """Decisions below one root; every method blocks."""

    def __init__(self, store: Store) -> None:
        """Keep them in a store."""
        self._store = store
        self._first: dict[str, tuple[str, str]] = {}
        """Each decision's version, and the hash of the entry beside which this process saw it first."""

    def look(self, entries: Entries) -> Decisions:
        """Return what was decided about these namespaces.

        While the folder can't be listed, nobody can say anything of any.
        """
        try:
            there = set(self._store.names(STOPPED_FOLDER))
        except NetworkFailure as failure:
            return Decisions(unreadable=dict.fromkeys(entries.hashes, str(failure)))
        stopped: dict[str, StopDecision] = {}
        outdated: set[str] = set()
        unreadable: dict[str, str] = {}
        versions: dict[str, str] = {}
        for name in entries.hashes:
            if _file(name) not in there:
                continue
            try:
                content = self._store.read(_path(name))
                if content is None:
                    continue
                versions[name] = version_of(content)
                decision = _read(name, content)
            except (InvalidValue, NetworkFailure) as error:
                unreadable[name] = str(error)
                continue
            if self._holds(decision, versions[name], entries):
                stopped[name] = decision
            else:
                outdated.add(name)
        return Decisions(stopped, outdated, unreadable, versions)

    def _holds(self, decision: StopDecision, version: str, entries: Entries) -> bool:
        name = decision.namespace
        config_hash = entries.hashes[name]
        seen_version, seen_hash = self._first.get(name, ("", ""))
        if seen_version != version:
            seen_hash = config_hash
            self._first[name] = (version, config_hash)
        if decision.is_about(config_hash):
            return True
        has_changed = config_hash != seen_hash
        return not has_changed and entries.written_at <= decision.at.timestamp()

    def others(self, entries: Entries) -> Mapping[str, StopDecision]:
        """Return the decisions about namespaces that are not among these; one that can't be read is left out."""
        own = set(map(_file, entries.hashes))
        decisions: dict[str, StopDecision] = {}
        try:
            for file in set(self._store.names(STOPPED_FOLDER)) - own:
                content = self._store.read(f"{STOPPED_FOLDER}/{file}")
                try:
                    decision = read_decision("", content or b"")
                except InvalidValue:
                    continue
                if _file(decision.namespace) == file:
                    decisions[decision.namespace] = decision
        except NetworkFailure:
            return {}
        return decisions

    def decision(self, namespace: str) -> StopDecision | None:
        """Return the decision about a namespace; None if there is none.

        Raises:
            InvalidValue: its file is damaged.
            NetworkFailure: the storage failed.
        """
        content = self._store.read(_path(namespace))
        return None if content is None else _read(namespace, content)

    def keep(self, decision: StopDecision) -> None:
        """Make a decision durable, over an earlier one.

        Raises:
            NetworkFailure: the storage failed.
        """
        content = decision.content()
        change(self._store, _path(decision.namespace), lambda _: content)

    def drop(self, namespace: str, if_version: str) -> bool:
        """Forget the decision about a namespace if it is still the one of this version; tells whether it is gone.

        Raises:
            NetworkFailure: the storage failed.
        """
        return self._store.remove(_path(namespace), if_version)


def _read(namespace: str, content: bytes) -> StopDecision:
    try:
        return read_decision(namespace, content)
    except InvalidValue as error:
        message = (
            f"{_path(namespace)} can't be read: {error}; restore it, or decide anew with "
            f"`unregister {namespace}` or `register --namespace {namespace}`"
        )
        raise InvalidValue(message) from None


def _file(namespace: str) -> str:
    return f"{path_form(namespace)}.json"


def _path(namespace: str) -> str:
    return f"{STOPPED_FOLDER}/{_file(namespace)}"
