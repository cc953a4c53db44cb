"""The picture of when what happened to a batch: in its order, on one scale, and the same in words."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.overview.recorded import (
    BATCH_ID,
    NAMESPACE,
    SEALED_AT,
    receipts,
    recorded,
    settings,
    write_batch,
    write_sent,
)
from vaultmesh.api.admin.axis import CLOSEST, LEFT, RIGHT, Axis, axis_of
from vaultmesh.domain.receipts.levels import Levels
from vaultmesh.domain.status import RoundStatus
from vaultmesh.domain.target import Target
from vaultmesh.overview.batch_reports import BatchReport, BatchReports, Moment, Step, UnderWay
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.verification.batch_levels import BatchLevels

NOW = SEALED_AT + timedelta(hours=3)
STEPS = (Step.SENT, Step.SENT_AGAIN, Step.INCLUDED, Step.FINAL)


def axis(root: Path, batch_id: str = BATCH_ID) -> Axis:
    reports = BatchReports(settings(root), BatchFiles(root))
    drawn = axis_of(reports.report(NAMESPACE, "", batch_id), NOW)
    assert drawn is not None
    return drawn


def test_each_ledger_has_a_row_whose_marks_stand_in_their_order(tmp_path: Path) -> None:
    recorded(tmp_path)
    for receipt in receipts().values():
        write_sent(tmp_path, receipt, 0, SEALED_AT + timedelta(seconds=2))
    rows = {row.name: row for row in axis(tmp_path).rows}
    assert {name: [mark.sign for mark in row.marks] for name, row in rows.items()} == {
        "btc:regtest": ["1", "2", "3", "4"],
        "eip155:31337": ["1", "2", "3", "4"],
        "rfc3161:tsa": ["1", "2", "3"],
    }
    for row in rows.values():
        places = [mark.x for mark in row.marks]
        assert places == sorted(places)
        assert not row.awaited


def test_ledgers_share_one_scale_so_that_the_later_final_one_stands_further_right(
    tmp_path: Path,
) -> None:
    recorded(tmp_path)
    finals = {row.name: row.marks[-1] for row in axis(tmp_path).rows}
    in_time = sorted(finals.values(), key=lambda mark: mark.moment.at)
    assert [mark.x for mark in in_time] == sorted(mark.x for mark in in_time)


def test_what_is_awaited_is_drawn_and_said(tmp_path: Path) -> None:
    recorded(tmp_path)
    write_batch(tmp_path, "7", namespace=NAMESPACE, created_at=int(BATCH_ID))
    drawn = axis(tmp_path, "7")
    assert {row.name for row in drawn.rows} == {"btc:regtest", "eip155:31337", "rfc3161:tsa"}
    assert all(row.awaited for row in drawn.rows)
    assert "awaiting token" in drawn.text


def test_the_words_hold_every_moment(tmp_path: Path) -> None:
    recorded(tmp_path)
    drawn = axis(tmp_path)
    for row in drawn.rows:
        for mark in row.marks:
            assert f"{mark.moment.step} at {mark.moment.at:%Y-%m-%dT%H:%M:%SZ}" in drawn.text


def test_without_any_instant_there_is_no_picture(tmp_path: Path) -> None:
    recorded(tmp_path)
    write_batch(tmp_path, "8", namespace=NAMESPACE, created_at=None)
    reports = BatchReports(settings(tmp_path), BatchFiles(tmp_path))
    assert axis_of(reports.report(NAMESPACE, "", "8"), NOW) is None


@given(st.lists(st.integers(-10_000, 10**9), min_size=0, max_size=4))
def test_marks_never_overlap_or_leave_the_picture_whatever_clocks_say(seconds: list[int]) -> None:
    moments = [
        Moment(datetime(2026, 1, 15, tzinfo=UTC) + timedelta(seconds=offset), step)
        for step, offset in zip(STEPS, seconds, strict=False)
    ]
    status = RoundStatus(round_id="r", state="pending", account="a", since=NOW)
    way = UnderWay(Target("btc", "regtest"), status, moments)
    levels = BatchLevels("1", Levels((), ()))
    drawn = axis_of(BatchReport(NAMESPACE, "1", None, "", (), levels, [way]), NOW)
    if not moments:
        assert drawn is None
        return
    assert drawn is not None
    places = [mark.x for mark in drawn.rows[0].marks]
    assert [mark.moment for mark in drawn.rows[0].marks] == moments
    assert all(LEFT <= place <= RIGHT for place in places)
    assert all(b - a >= CLOSEST - 0.02 for a, b in pairwise(places))
