"""The audit is chained by every writer, and what somebody does to it by SQL shows."""

import asyncio
from datetime import timedelta

from tests.storage.jobs.places import NAME, NOON, SERVICE, Place, definition, end, every_kind, start
from vaultmesh.domain.audit_chain import Head, KeptHead
from vaultmesh.domain.jobs.records import AuditLine
from vaultmesh.storage.audit_checks import verify
from vaultmesh.storage.job_store import JobStore

MINUTE = timedelta(minutes=1)
WRITERS, LINES = 3, 12


def line(number: int, action: str = "trigger") -> AuditLine:
    detail = {"n": number, "x": [1.0, 1e21, "é\N{GRINNING FACE}", None]}
    return AuditLine(
        at=NOON + number * MINUTE, actor="ada", action=action, job_name="x", detail=detail
    )


async def head_of(store: JobStore) -> Head:
    return await store.of_audit(lambda audit: audit.head())


async def filled(place: Place) -> Head:
    """Enter five lines after the first one; returns the chain's end."""
    async with place.store() as store:
        for number in range(5):
            await store.note(line(number))
        assert (await verify(store)).problem == ""
        return await head_of(store)


@every_kind
async def test_two_writers_at_once_fork_no_chain_and_lose_no_line(place: Place) -> None:
    async with place.store() as first, place.store() as second, place.store() as third:

        async def write(store: JobStore, writer: int) -> None:
            for number in range(LINES):
                await store.note(line(100 * writer + number))

        await asyncio.gather(*(write(s, n) for n, s in enumerate((first, second, third))))
        report = await verify(second)
        assert (report.problem, report.entries) == ("", WRITERS * LINES + 1)
        assert report.head == await head_of(first)


async def test_every_change_of_a_job_is_chained_with_it(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    await store.disable(NAME, SERVICE, NOON)
    await store.open_run(start())
    await store.close_run(end(start()))
    lines = await store.audit(NAME)
    report = await verify(store)
    assert (report.problem, report.entries) == ("", len(lines) + 1)


async def test_a_changed_row_is_the_first_broken_entry(place: Place) -> None:
    await filled(place)
    place.sql("UPDATE job_audit SET actor = 'mallory' WHERE id IN (3, 5)")
    async with place.store() as store:
        report = await verify(store)
    assert report.problem.startswith(
        "entry 3: its line was changed: line 3 (trigger of x by mallory"
    )
    assert report.entries == 2


async def test_a_removed_row_shows_with_and_without_its_entry(place: Place) -> None:
    head = await filled(place)
    place.sql("DELETE FROM job_audit WHERE id = 4")
    async with place.store() as store:
        assert (await verify(store)).problem == "entry 4: its line 4 was removed"
        place.sql("DELETE FROM job_audit_chain WHERE seq = 4")
        assert (await verify(store)).problem == "entry 4 is missing: it was removed"
        place.sql(
            "DELETE FROM job_audit WHERE id >= 4; DELETE FROM job_audit_chain WHERE seq >= 4;"
        )
        assert (await verify(store)).problem == ""
        kept = KeptHead(head, "the safe")
        assert (await verify(store, [kept])).problem == (
            "the chain ends at entry 3, and the safe knows entry 6: its end was cut off"
        )
        # What is entered after that forks off from what was known.
        for number in range(4):
            await store.note(line(number, "resume"))
        assert "entry 6 has another hash" in (await verify(store, [kept])).problem


async def test_an_inserted_row_shows_until_somebody_adopts_it_in_the_open(place: Place) -> None:
    await filled(place)
    place.sql(
        "INSERT INTO job_audit (at, actor, action, job_name) "
        "VALUES ('2026-03-02T12:00:00.000000Z', 'mallory', 'allow', 'x')"
    )
    async with place.store() as store:
        report = await verify(store)
        assert report.problem.startswith("line 7 (allow of x by mallory")
        assert "has no entry" in report.problem
        assert await store.of_audit(lambda audit: audit.adopt("operator ada")) == 1
        assert (await verify(store)).problem == ""
        newest = (await store.audit())[0]
        assert (newest.actor, newest.detail) == (
            "operator ada",
            {"lines": 1, "first": 7, "last": 7},
        )


@every_kind
async def test_lines_from_before_the_chain_are_chained_as_they_are(place: Place) -> None:
    await filled(place)
    place.sql("DROP TABLE job_audit_chain; DROP TABLE job_audit_marks;")
    async with place.store() as store:
        report = await verify(store)
        assert (report.problem, report.entries) == ("", 7)
        newest = (await store.audit())[0]
        assert (newest.action, newest.detail) == ("chain begun", {"lines": 6})
    place.sql("DELETE FROM job_audit_chain")
    async with place.store() as store:
        assert "was begun anew" in (await verify(store)).problem


async def test_a_line_with_a_key_is_entered_once_whoever_repeats_it(place: Place) -> None:
    async with place.store() as store, place.store() as other:
        new = await asyncio.gather(*(each.note(line(1), "update:a") for each in (store, other)))
        assert sorted(new) == [False, True]
        both = [(line(1), "update:a"), (line(2), "update:b")]
        assert await store.of_audit(lambda audit: audit.note_all(both)) == 1
        for _ in range(2):
            await store.of_audit(lambda audit: audit.set_mark("m", NOON))
        assert await other.of_audit(lambda audit: audit.mark("m")) == NOON
        assert len(await store.audit("x")) == 2


async def test_what_is_pruned_with_age_leaves_a_chain_that_can_be_checked(place: Place) -> None:
    head = await filled(place)
    async with place.store() as store:
        assert await store.prune_audit(NOON + 3 * MINUTE) == 3
        report = await verify(
            store, [KeptHead(head, "the safe"), KeptHead(Head(entry=2), "a note")]
        )
        assert (report.problem, report.heads_agreed) == ("", 1)
        assert await store.of_audit(lambda audit: audit.holds(head))
        await store.note(line(9))
        assert await store.prune_audit(NOON + 9 * MINUTE) == 2
        assert (await verify(store)).problem == ""
    place.sql("UPDATE job_audit SET actor = 'mallory' WHERE action = 'tables made'")
    async with place.store() as store:
        assert (await verify(store)).problem.startswith("it was changed: line 1")
