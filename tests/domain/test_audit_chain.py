"""A chain of audit lines shows what was changed, removed, inserted or cut off, and where first."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from vaultmesh.domain.audit_chain import (
    CHAIN_BEGUN,
    ChainCheck,
    Head,
    KeptHead,
    Link,
    digest_of,
    link_after,
)

Entry = tuple[Link, dict[str, Any] | None]
AT = datetime(2026, 3, 2, 12, 0, 0, 5, tzinfo=UTC)


def row(number: int, action: str = "pause", **more: object) -> dict[str, Any]:
    line = {"id": number, "at": AT, "actor": "ada", "action": action, "job_name": "x"}
    return line | {"detail": {"a": [number]}} | more


def chained(*rows: dict[str, Any]) -> list[Entry]:
    entries: list[Entry] = []
    head = Head()
    for line in rows:
        link = link_after(head, line["id"], None, digest_of(line))
        entries.append((link, line))
        head = link.head
    return entries


def checked(entries: list[Entry], *heads: Head) -> str:
    check = ChainCheck(Head(), [KeptHead(head, "the safe") for head in heads])
    for link, line in entries:
        problem = check.take(link, line)
        if problem:
            return problem
    return check.end()


@pytest.fixture
def entries() -> list[Entry]:
    return chained(*(row(number) for number in (1, 2, 5, 6)))


def test_a_chain_as_it_was_written_is_whole(entries: list[Entry]) -> None:
    heads = [link.head for link, _ in entries]
    assert checked(entries, *heads) == ""


def test_a_digest_depends_on_every_column_and_on_no_order_of_keys() -> None:
    line = row(1, detail={"a": 1, "b": 2})
    assert digest_of(line) == digest_of(dict(reversed(line.items())) | {"detail": {"b": 2, "a": 1}})
    for name in line:
        assert digest_of(line | {name: None}) != digest_of(line)


def test_a_changed_line_is_named(entries: list[Entry]) -> None:
    entries[1] = (entries[1][0], row(2, actor="mallory"))
    assert checked(entries).startswith(
        "entry 2: its line was changed: line 2 (pause of x by mallory"
    )


def test_a_line_changed_with_its_digest_is_seen_at_its_entry(entries: list[Entry]) -> None:
    forged = row(2, actor="mallory")
    entries[1] = (replace(entries[1][0], digest=digest_of(forged)), forged)
    assert checked(entries).startswith("entry 2 does not follow")


def test_an_entry_forged_as_a_whole_is_seen_at_the_next(entries: list[Entry]) -> None:
    forged = row(2, actor="mallory")
    entries[1] = (link_after(entries[0][0].head, 2, None, digest_of(forged)), forged)
    assert checked(entries).startswith("entry 3 does not follow")


def test_a_removed_line_and_a_removed_entry_are_named(entries: list[Entry]) -> None:
    assert checked([entries[0], (entries[1][0], None)]) == "entry 2: its line 2 was removed"
    assert checked([entries[0], *entries[2:]]) == "entry 2 is missing: it was removed"
    assert checked(entries[1:]) == "entry 1 is missing: it was removed"


def test_an_end_that_was_cut_off_shows_by_a_head_kept_elsewhere(entries: list[Entry]) -> None:
    head = entries[-1][0].head
    assert checked(entries[:2]) == ""
    assert checked(entries[:2], head) == (
        "the chain ends at entry 2, and the safe knows entry 4: its end was cut off"
    )


def test_a_chain_written_anew_shows_by_a_head_kept_elsewhere(entries: list[Entry]) -> None:
    head = entries[2][0].head
    anew = chained(row(1), row(2, actor="mallory"), row(5), row(6))
    assert checked(anew) == ""
    assert checked(anew, head).startswith("entry 3 has another hash than the safe says")


def test_a_chain_that_began_anew_over_deleted_entries_is_said() -> None:
    begun = chained(row(1), row(2, CHAIN_BEGUN), row(3), row(4, CHAIN_BEGUN))
    assert checked(begun[:3]) == ""
    assert checked(begun).startswith("entry 4: the chain was begun anew")
