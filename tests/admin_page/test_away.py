"""While the store or Temporal is away the page says so in words, and shows what it can."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin_page.samples import MISSING, fill
from tests.admin_page.visitor import SAME_ORIGIN, Visitor, text_of
from tests.api.running import JOB, RunningApi, running
from vaultmesh.domain.paths import JOBS_DATABASE

NAME = JOB["name"]


@pytest.fixture
async def storeless(tmp_path: Path) -> AsyncIterator[RunningApi]:
    """Run an API whose store can't be opened: a folder lies where its file belongs."""
    (tmp_path / JOBS_DATABASE).mkdir(parents=True)
    async with running(tmp_path) as started:
        yield started


async def test_without_temporal_every_page_says_what_that_means_and_decisions_are_kept(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    api.workflows.away = True
    for page in ("jobs", f"job?name={NAME}", "audit", "pause"):
        assert "Temporal does not answer." in await visitor.see(page)
    assert "stuck" in await visitor.see("jobs")
    text = await visitor.send("disable", name=NAME)
    assert f"{NAME} is disabled." in text
    assert "has not heard the newest decision yet" in text
    assert (await api.ask("GET", f"/api/jobs/{NAME}")).json["enabled"] is False


async def test_without_temporal_a_trigger_is_refused_in_words(
    visitor: Visitor, api: RunningApi
) -> None:
    await api.register()
    api.workflows.away = True
    answer = await visitor.ask("POST", "trigger", {"name": NAME}, SAME_ORIGIN)
    assert answer.status == 500
    assert "Failed to trigger job" in answer.text
    assert "Temporal can't be reached" in text_of(answer.text)


async def test_without_the_store_the_log_in_works_and_each_page_says_why_it_is_empty(
    storeless: RunningApi,
) -> None:
    async with Visitor.of(storeless) as visitor:
        assert (await visitor.log_in()).status == 303
        answer = await visitor.ask("GET", "jobs")
        assert answer.status == 503
        assert "The job store does not answer." in text_of(answer.text)
        assert "Pause all" not in text_of(answer.text)
        for page in ("audit", "pause", f"job?name={NAME}"):
            answer = await visitor.ask("GET", page)
            assert answer.status == 500
            assert "job store" in text_of(answer.text)


async def test_a_store_that_goes_away_leaves_the_jobs_that_were_seen_last(tmp_path: Path) -> None:
    async with running(tmp_path) as api, Visitor.of(api) as visitor:
        await fill(api)
        await visitor.log_in()
        before = await visitor.see("jobs")
        place = tmp_path / JOBS_DATABASE
        for file in place.parent.glob(f"{place.name}*"):
            file.write_bytes(b"no database at all" * 1_000)
        answer = await visitor.ask("GET", "jobs")
        assert answer.status == 503
        after = text_of(answer.text)
        assert "Below is what it said" in after
        for words in (NAME, "weekly-digest", "every 5 minutes", MISSING):
            assert words in before
            assert words in after
        assert "<button" not in answer.text.partition('<table class="cards')[2]
