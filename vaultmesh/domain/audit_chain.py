r"""Chains the lines of the audit by their hashes, and says where a chain is broken first.

    digest of a line = SHA-256 of its columns as JSON, with sorted keys and without spaces
    hash of an entry = SHA-256 of "<number>\n<hash of the entry before>\n<key>\n<digest of its line>"

1. Entries are numbered without gaps. The first one follows 64 zeros, or what the last pruning says of the entry before it.
2. Who may write to the database can chain anew whatever comes after a change. Hashes that are kept elsewhere, such as sealed
   ones, show that, and that the end was cut off.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

GENESIS = "0" * 64
"""What the first entry follows."""
PRUNED = "pruned"
"""Action of the line that says up to where the audit was deleted because of its age."""
CHAIN_BEGUN = "chain begun"
"""Action of the line that says how many lines were there before they were chained."""


class Head(BaseModel):
    """An entry by its number and hash: it stands for all entries up to it."""

    model_config = ConfigDict(frozen=True)

    entry: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class KeptHead:
    """What a head was once, as another place than the database says."""

    head: Head
    place: str
    """Such as a file; for people."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the chain, beside the line that it stands for."""

    seq: int
    line: int
    key: str | None
    """What makes the line unique, such as the event of a workflow that it tells of; None if nothing does."""
    digest: str
    hash: str

    @property
    def head(self) -> Head:
        """The chain up to here."""
        return Head(entry=self.seq, hash=self.hash)


class Pruning(BaseModel):
    """What the line of a pruning says: the chain begins after it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    before: datetime
    lines: int
    """That were deleted."""
    missing: int = 0
    """Lines of dropped entries that had been gone before."""
    through: Head = Field(default_factory=Head)
    """The last entry that was dropped."""
    kept: Mapping[str, str] = Field(default_factory=dict)
    """Digests of lines that stay outside the chain, by their numbers."""


def digest_of(row: Mapping[str, Any]) -> str:
    """Return the digest of a line by its columns, as the database gives them back."""
    content = {key: _plain(value) for key, value in row.items()}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def link_after(before: Head, line: int, key: str | None, digest: str) -> Link:
    """Return the entry of a line that comes after another entry."""
    seq = before.entry + 1
    return Link(seq, line, key, digest, _hash(seq, before.hash, key, digest))


def _hash(seq: int, before: str, key: str | None, digest: str) -> str:
    return sha256(f"{seq}\n{before}\n{key or ''}\n{digest}".encode()).hexdigest()


@dataclass(slots=True)
class ChainCheck:
    """Follows a chain entry by entry, up to the first that is broken."""

    head: Head
    """What is known to be whole so far; at first what the chain begins after."""
    heads: Sequence[KeptHead] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    """Digests of lines that may stand outside, by their numbers."""
    entries: int = 0
    agreed: int = 0
    """Kept heads that agree with the chain."""
    _begun: int = 0
    """The entry that says that lines before it were chained; 0 without one."""

    @classmethod
    def after(cls, pruning: Pruning | None, heads: Sequence[KeptHead]) -> "ChainCheck":
        """Begin where the last pruning ended."""
        if pruning is None:
            return cls(Head(), heads)
        return cls(pruning.through, heads, pruning.kept)

    def take(self, link: Link, row: Mapping[str, Any] | None) -> str:
        """Follow one entry with its line; returns what is wrong, empty if nothing is."""
        problem = self._problem(link, row)
        if not problem:
            self.head = link.head
            self.entries += 1
            self.agreed += sum(kept.head.entry == link.seq for kept in self.heads)
        return problem

    def _problem(self, link: Link, row: Mapping[str, Any] | None) -> str:
        if link.seq != self.head.entry + 1:
            return f"entry {self.head.entry + 1} is missing: it was removed"
        if row is None:
            return f"entry {link.seq}: its line {link.line} was removed"
        if digest_of(row) != link.digest:
            return f"entry {link.seq}: its line was changed: {described(row)}"
        if link_after(self.head, link.line, link.key, link.digest) != link:
            return (
                f"entry {link.seq} does not follow from what is before it: one of them was changed"
            )
        return self._begun_anew(link, row) or self._disagrees(link)

    def _begun_anew(self, link: Link, row: Mapping[str, Any]) -> str:
        if row["action"] != CHAIN_BEGUN:
            return ""
        if self._begun:
            return f"entry {link.seq}: the chain was begun anew, after its entries had been deleted"
        self._begun = link.seq
        return ""

    def _disagrees(self, link: Link) -> str:
        for kept in self.heads:
            if kept.head.entry == link.seq and kept.head.hash != link.hash:
                return f"entry {link.seq} has another hash than {kept.place} says: what is up to it was written anew"
        return ""

    def end(self) -> str:
        """Say what is wrong with the chain's end, empty if nothing is known to be."""
        beyond = [kept for kept in self.heads if kept.head.entry > self.head.entry]
        if not beyond:
            return ""
        last = max(beyond, key=lambda kept: kept.head.entry)
        return f"the chain ends at entry {self.head.entry}, and {last.place} knows entry {last.head.entry}: its end was cut off"

    def outside(self, row: Mapping[str, Any]) -> str:
        """Say what is wrong with a line that has no entry; empty for one that a pruning left."""
        kept = self.kept.get(str(row["id"]))
        if kept is None:
            return f"{described(row)} has no entry: it was inserted by SQL, or by an earlier version (see --adopt)"
        return "" if kept == digest_of(row) else f"it was changed: {described(row)}"


def described(row: Mapping[str, Any]) -> str:
    """Return which line it is, in words."""
    about = f" of {row['job_name']}" if row["job_name"] else ""
    return f"line {row['id']} ({row['action']}{about} by {row['actor']}, {_plain(row['at'])})"
