"""A watch tells each look what the one before found out, and hands that on when it ends."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import watching
from activities.files import Files
from activities.watching import Watching
from vaultmesh.domain.ledger import Reservation, RoundState, RoundView, WatchedRound
from vaultmesh.domain.rounds import Candidate
from vaultmesh.domain.steps import Observe
from vaultmesh.domain.target import Target

TARGET = Target("eip155", "8")


class Looks:
    """A target whose looks count in the round's notes, and that ends with what it is told."""

    poll_seconds = 0.0

    def __init__(self, *last: RoundView) -> None:
        """Show `last` after three looks that say nothing new."""
        self.told: list[WatchedRound] = []
        self.last = last

    async def open(self, _: Target) -> "Looks":
        """Be the opened target."""
        return self

    async def look(self, *asked: object) -> list[object]:
        """Look at open rounds, or at closed ones."""
        if len(asked) > 1:
            return []
        (watched,) = asked[0]  # type: ignore[misc]
        self.told.append(watched)
        count = len(self.told)
        if count > 3:
            return list(self.last)
        return [RoundView(round_id="r", state=RoundState.PENDING, notes={"looks": count})]


def watched() -> WatchedRound:
    return WatchedRound(
        round_id="r",
        commitment="0x" + "1" * 64,
        label="b",
        reservation=Reservation(account="0x1", sequence=0, fields={}),
        tx_refs=["0x2"],
        signed_at=datetime(2026, 1, 1, tzinfo=UTC),
        first_seen_block=1,
    )


@pytest.mark.parametrize(
    "news",
    [
        RoundView(round_id="r", state=RoundState.PENDING, undecided="nobody shows it"),
        RoundView(round_id="r", state=RoundState.PENDING, gap=2),
        RoundView(round_id="r", state=RoundState.DISPLACED),
    ],
)
async def test_each_look_is_told_what_the_one_before_found_out(
    tmp_path: Path, news: RoundView
) -> None:
    looks = Looks(news)
    observe = Watching(Files(tmp_path), looks, looks).observe  # type: ignore[arg-type]
    seen = await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[watched()]))
    assert seen.views == [news]
    assert [one.notes for one in looks.told] == [{}, {"looks": 1}, {"looks": 2}, {"looks": 3}]


async def test_a_watch_that_ends_without_news_hands_on_what_it_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(RoundView(round_id="r", state=RoundState.PENDING))
    monkeypatch.setattr(watching, "LONGEST_WATCH_SECONDS", 0.2)
    observe = Watching(Files(tmp_path), looks, looks).observe  # type: ignore[arg-type]
    seen = await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[watched()]))
    assert [view.notes for view in seen.views] == [{"looks": 3}]


async def test_a_watch_looks_for_bids_that_its_caller_has_forgotten(tmp_path: Path) -> None:
    files, looks = Files(tmp_path), Looks(RoundView(round_id="r", state=RoundState.DISPLACED))
    row = watched()
    reserved = row.reservation.model_dump(mode="json")
    for n, hash_ in enumerate(("0x2", "0x3")):
        document = {"n": n, "reservation": reserved, "raw": "0x01", "hash": hash_}
        files.rounds(TARGET).add_candidate("r", Candidate.model_validate(document))
    earlier = {"n": 2, "reservation": {**reserved, "sequence": 7}, "raw": "0x01", "hash": "0x4"}
    files.rounds(TARGET).add_candidate("r", Candidate.model_validate(earlier))
    observe = Watching(files, looks, looks).observe  # type: ignore[arg-type]
    await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[row]))
    assert looks.told[0].tx_refs == ["0x2", "0x3"]
