"""Keeps which namespaces an operator stopped: a file each, so that a damaged one hides no other."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.namespaces.stopped import StopDecision, read_decision
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.storage.files import Store


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided about some namespaces."""

    stopped: Mapping[str, StopDecision] = field(default_factory=dict)
    """Decisions that hold, by namespace."""
    outdated: Collection[str] = frozenset()
    """Namespaces whose entry has changed since they were stopped: they run again."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why a decision can't be read and how to mend it, by namespace."""


class StoppedNamespaces:
    """Decisions below one root; every method blocks."""

    def __init__(self, store: Store) -> None:
        """Keep them in a store."""
        self._store = store

    def look(self, entries: Mapping[str, str]) -> Decisions:
        """Return what was decided about these namespaces, each with the hash of its entry.

        While the folder can't be listed, nobody can say anything of any.
        """
        try:
            there = set(self._store.names(STOPPED_FOLDER))
        except NetworkFailure as failure:
            return Decisions(unreadable=dict.fromkeys(entries, str(failure)))
        stopped: dict[str, StopDecision] = {}
        outdated: set[str] = set()
        unreadable: dict[str, str] = {}
        for name, config_hash in entries.items():
            if _file(name) not in there:
                continue
            try:
                decision = self.decision(name)
            except (InvalidValue, NetworkFailure) as error:
                unreadable[name] = str(error)
            else:
                if decision is not None and decision.config_hash == config_hash:
                    stopped[name] = decision
                elif decision is not None:
                    outdated.add(name)
        return Decisions(stopped, outdated, unreadable)

    def decision(self, namespace: str) -> StopDecision | None:
        """Return the decision about a namespace; None if there is none.

        Raises:
            InvalidValue: its file is damaged.
            NetworkFailure: the storage failed.
        """
        content = self._store.read(_path(namespace))
        if content is None:
            return None
        try:
            return read_decision(namespace, content)
        except InvalidValue as error:
            message = (
                f"{_path(namespace)} can't be read: {error}; restore it, or decide anew with "
                f"`unregister {namespace}` or `register --namespace {namespace}`"
            )
            raise InvalidValue(message) from None

    def keep(self, decision: StopDecision) -> None:
        """Make a decision durable, over an earlier one.

        Raises:
            NetworkFailure: the storage failed.
        """
        self._store.write(_path(decision.namespace), decision.content())

    def drop(self, namespace: str) -> None:
        """Forget the decision about a namespace, if there is one.

        Raises:
            NetworkFailure: the storage failed.
        """
        self._store.delete(_path(namespace))


def _file(namespace: str) -> str:
    return f"{path_form(namespace)}.json"


def _path(namespace: str) -> str:
    return f"{STOPPED_FOLDER}/{_file(namespace)}"
