"""Reads and writes a batch file.

1. A batch says its id, root, leaves and time, and optionally its namespace and the event ids
   of its leaves.
2. `leaves` and `createdAt` may be missing in hand-made files; what is there MUST be consistent.
3. Keys we don't know are left alone: the file is never rewritten.
"""

import json
from dataclasses import dataclass

from pydantic_core import from_json
from typing_extensions import override

from vaultmesh.domain.batches import tree
from vaultmesh.domain.errors import LONGEST_MESSAGE, InvalidValue, described, printable
from vaultmesh.domain.roots import MerkleRoot


@dataclass(frozen=True, slots=True)
class Batch:
    """An ordered set of event hashes with one root."""

    id: str
    root: MerkleRoot
    leaves: tuple[MerkleRoot, ...] = ()
    """In tree order; none where the file says none."""
    created_at: int | None = None
    """Unix seconds."""
    namespace: str = ""
    """The namespace it belongs to alone; empty: it belongs to every one."""
    events: tuple[str, ...] = ()
    """Event ids in leaf order; none where the file says none."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that can't be used as it is."""

    path: str
    reason: str
    """What is wrong with it and how to mend it."""

    @override
    def __str__(self) -> str:
        """Return one line for an operator; it can be encoded, and is short enough for any message."""
        line = printable(f"{self.path}: {self.reason}")
        return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"


def parse_batch(text: str | bytes, *, name: str) -> Batch:
    """Read a batch; `name` is its file name without `.json`.

    Raises:
        InvalidValue: says what is wrong with the file and how to mend it.
    """
    document = _object(text)
    _check_id(document, name)
    root = _hash(document.get("root"), "root")
    leaves = _leaves(document, root)
    return Batch(
        id=name,
        root=root,
        leaves=leaves,
        created_at=_created_at(document),
        namespace=_namespace(document),
        events=_events(document, len(leaves)),
    )


@dataclass(frozen=True, slots=True)
class Outline:
    """What a batch's file says of itself; that its leaves lead to the root is not checked."""

    root: MerkleRoot
    leaves: int
    """How many it names; 0 where it names none."""
    created_at: int | None
    """Unix seconds."""
    namespace: str
    """Empty: it belongs to every one."""


def parse_outline(text: str | bytes, *, name: str) -> Outline:
    """Read what a list shows of a batch, in a small part of the time that `parse_batch` takes.

    Raises:
        InvalidValue: says what is wrong with the file and how to mend it.
    """
    document = _object(text)
    _check_id(document, name)
    leaves = document.get("leaves")
    return Outline(
        root=_hash(document.get("root"), "root"),
        leaves=len(leaves) if isinstance(leaves, list) else 0,
        created_at=_created_at(document),
        namespace=_namespace(document),
    )


def batch_document(batch: Batch) -> str:
    """Return the file's text: two-space indentation, no final newline."""
    document: dict[str, object] = {"id": batch.id}
    if batch.created_at is not None:
        document["createdAt"] = batch.created_at
    document["root"] = batch.root.batch_form
    if batch.leaves:
        document["leaves"] = [leaf.batch_form for leaf in batch.leaves]
    if batch.namespace:
        document["namespace"] = batch.namespace
    if batch.events:
        document["events"] = list(batch.events)
    return json.dumps(document, indent=2, ensure_ascii=False)


def named_namespace(text: str | bytes) -> str:
    """Return the namespace that a file names, also if the rest of it can't be used; else empty."""
    try:
        return _namespace(_object(text))
    except InvalidValue:
        return ""


def _object(text: str | bytes) -> dict[str, object]:
    try:
        document = from_json(text)
    except (ValueError, RecursionError) as error:
        message = f"not JSON ({error}); write it anew or remove it"
        raise InvalidValue(message) from error
    if not isinstance(document, dict):
        message = f"holds {type(document).__name__}, not a JSON object; write it anew or remove it"
        raise InvalidValue(message)
    return document


def _check_id(document: dict[str, object], name: str) -> None:
    if document.get("id") != name:
        message = f"id is {described(document.get('id'))}, but the file is named {name!r}; they must be the same"
        raise InvalidValue(message)


def _hash(value: object, key: str) -> MerkleRoot:
    try:
        return MerkleRoot.parse_batch_form(value)
    except InvalidValue as error:
        message = f"{key}: {error}"
        raise InvalidValue(message) from error


def _leaves(document: dict[str, object], root: MerkleRoot) -> tuple[MerkleRoot, ...]:
    if "leaves" not in document:
        return ()
    values = document["leaves"]
    if not isinstance(values, list) or not values:
        message = "leaves is not a list of at least one hash; leave the key out if they are unknown"
        raise InvalidValue(message)
    leaves = tuple(_hash(value, f"leaves[{i}]") for i, value in enumerate(values))
    actual = MerkleRoot(tree.root([leaf.digest for leaf in leaves]))
    if actual != root:
        message = f"root {root} does not match its leaves, whose root is {actual}; restore the file"
        raise InvalidValue(message)
    return leaves


def _created_at(document: dict[str, object]) -> int | None:
    value = document.get("createdAt")
    if value is None and "createdAt" not in document:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        message = (
            f"createdAt is {described(value)}; write whole Unix seconds, 0 or more, or leave it out"
        )
        raise InvalidValue(message)
    return value


def _namespace(document: dict[str, object]) -> str:
    value = document.get("namespace", "")
    if not isinstance(value, str):
        message = f"namespace is {described(value)}; write a name such as dao:example, or leave the key out"
        raise InvalidValue(message)
    return value


def _events(document: dict[str, object], leaves: int) -> tuple[str, ...]:
    if "events" not in document:
        return ()
    values = document["events"]
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        message = "events is not a list of event ids; leave the key out if they are unknown"
        raise InvalidValue(message)
    if len(values) != leaves:
        message = f"events names {len(values)} events, but there are {leaves} leaves; one id each"
        raise InvalidValue(message)
    return tuple(values)
