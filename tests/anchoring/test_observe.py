"""An observation hands its notes to the next one, and to its caller when it ends."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.anchoring import observe as observing
from activities.anchoring.observe import Observing
from activities.anchoring.stores import Files
from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    Reservation,
    RoundState,
    RoundView,
    WatchedRound,
)
from vaultmesh.domain.aggregator.messages import Observe
from vaultmesh.domain.rounds.manifest import Candidate
from vaultmesh.domain.target import Target
from vaultmesh.process.target_metrics import TargetMetrics

TARGET = Target("eip155", "8")


class CountingTarget:
    """Counts its observations in the round's notes, and ends with the views that a test names."""

    poll_seconds = 0.0

    def __init__(self, *last: RoundView) -> None:
        """Show `last` after three observations that say nothing new."""
        self.observed: list[WatchedRound] = []
        self.last = last

    async def open(self, _: Target) -> "CountingTarget":
        """Be the opened target."""
        return self

    async def look(self, *asked: object) -> list[object]:
        """Look at open rounds, or at closed ones."""
        if len(asked) > 1:
            return []
        (watched,) = asked[0]  # type: ignore[misc]
        self.observed.append(watched)
        count = len(self.observed)
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
async def test_each_observation_begins_with_the_notes_of_the_one_before(
    tmp_path: Path, news: RoundView
) -> None:
    target = CountingTarget(news)
    observe = Observing(Files(tmp_path), target, target).observe  # type: ignore[arg-type]
    seen = await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[watched()]))
    assert seen.views == [news]
    assert [row.notes for row in target.observed] == [{}, {"looks": 1}, {"looks": 2}, {"looks": 3}]


async def test_an_observation_that_ends_without_news_hands_on_its_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = CountingTarget(RoundView(round_id="r", state=RoundState.PENDING))
    monkeypatch.setattr(observing, "LONGEST_LOOK_SECONDS", 0.2)
    observe = Observing(Files(tmp_path), target, target).observe  # type: ignore[arg-type]
    seen = await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[watched()]))
    assert [view.notes for view in seen.views] == [{"looks": 3}]


async def test_an_observation_looks_for_bids_that_its_caller_has_forgotten(tmp_path: Path) -> None:
    files, target = (
        Files(tmp_path),
        CountingTarget(RoundView(round_id="r", state=RoundState.DISPLACED)),
    )
    row = watched()
    reserved = row.reservation.model_dump(mode="json")
    for n, hash_ in enumerate(("0x2", "0x3")):
        document = {"n": n, "reservation": reserved, "raw": "0x01", "hash": hash_}
        files.rounds(TARGET).add_candidate("r", Candidate.model_validate(document))
    earlier = {"n": 2, "reservation": {**reserved, "sequence": 7}, "raw": "0x01", "hash": "0x4"}
    files.rounds(TARGET).add_candidate("r", Candidate.model_validate(earlier))
    observe = Observing(files, target, target).observe  # type: ignore[arg-type]
    await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[row]))
    assert target.observed[0].tx_refs == ["0x2", "0x3"]


def _block(number: int) -> BlockRef:
    return BlockRef(number=number, hash=f"0x{number:064x}", time=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        (_block(5), RoundView(round_id="r", state=RoundState.MISSING, height=6), (1, 0)),
        (_block(5), RoundView(round_id="r", state=RoundState.INCLUDED, block=_block(6)), (1, 0)),
        (_block(5), RoundView(round_id="r", state=RoundState.INCLUDED, block=_block(5), final=True), (0, 0)),
        (None, RoundView(round_id="r", state=RoundState.DISPLACED, foreign=True), (0, 1)),
        (None, RoundView(round_id="r", state=RoundState.DISPLACED), (0, 0)),
    ],
)  # fmt: skip
async def test_what_befell_a_round_is_counted_once_where_it_is_seen(
    tmp_path: Path, before: BlockRef | None, after: RoundView, counted: tuple[int, int]
) -> None:
    """A replaced block is a reorganisation, also where the round is in another one at once; a foreign use is none."""
    metrics, target = TargetMetrics("scheduler"), CountingTarget(after)
    target.observed = [watched()] * 3
    row = watched()
    if before is not None:
        included = {"state": RoundState.INCLUDED, "block": before, "tx_ref": after.tx_ref}
        row = row.model_copy(update=included)
    observe = Observing(Files(tmp_path), target, target, metrics).observe  # type: ignore[arg-type]
    await ActivityEnvironment().run(observe, Observe(target=TARGET, rounds=[row]))
    metrics.configured([str(TARGET)])
    page = metrics.page().decode()
    for name, count in zip(("reorganisations", "foreign_uses"), counted, strict=True):
        assert f'scheduler_{name}_total{{target="{TARGET}"}} {count}\n' in page
