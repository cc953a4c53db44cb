"""The markdown of the Web UI: what is wrong is said, and no text from outside breaks a table."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.freshness import stale_at
from vaultmesh.domain.messages import AnchorOutcome, OutcomeStatus
from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import (
    CadenceConfig,
    Configuration,
    NamespaceInput,
    failure_note,
)
from vaultmesh.domain.namespaces.views import (
    MOST_ROUNDS_SHOWN,
    aggregator_details,
    namespace_details,
    namespace_memo,
    namespace_status,
    namespace_view,
)
from vaultmesh.domain.status import (
    AggregatorView,
    CadenceView,
    FailureView,
    HoldView,
    InFlightView,
    LastAnchorView,
    NamespaceState,
    NamespaceView,
    PausedView,
    RejectedView,
    RoundStatus,
)
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
LATE = stale_at(NOW, timedelta(seconds=89)) + timedelta(seconds=1)
"""When cadences are stale of which nothing was heard since `NOW`."""
FOREIGN = st.text(st.sampled_from("ab|\\\n\r\t \u2028`"), max_size=12) | st.text(max_size=400)


def schedule() -> NamespaceSchedule:
    """Return the namespace of a namespace with two cadences."""
    cadences = {
        label: CadenceConfig(target=Target.parse("eip155:1"), every="89s")
        for label in ("fast", "strong")
    }
    return NamespaceSchedule(
        NamespaceInput(configuration=Configuration(namespace="dao:x", cadences=cadences)), NOW
    )


def anchored() -> NamespaceSchedule:
    """Return one whose fast cadence anchored now."""
    found = schedule()
    found.begin("fast", "f1", NOW, is_slot=False)
    found.finish("fast", AnchorOutcome(status=OutcomeStatus.ANCHORED), NOW)
    return found


def rows(markdown: str) -> list[list[str]]:
    """Return the cells of the tables' rows, split where markdown splits them."""
    lines = re.split(r"\r\n|\r|\n", markdown)
    table = [line for line in lines if line.startswith("|")]
    return [re.findall(r"(?:\\.|[^|\\])+", line) for line in table]


# --- the search attribute


def answered(label: str, status: OutcomeStatus, now: datetime, into: NamespaceSchedule) -> None:
    """Let a request of a cadence be answered."""
    into.begin(label, f"f{now.timestamp():.0f}", now, is_slot=False)
    into.finish(label, AnchorOutcome(status=status), now)


def test_a_cadence_is_stale_by_its_own_period_and_makes_the_namespace_stale() -> None:
    just_before = LATE - timedelta(seconds=1)
    assert namespace_status(schedule(), just_before) == "ok"
    assert namespace_status(schedule(), LATE) == "stale"
    fresh = schedule()
    answered("fast", OutcomeStatus.ANCHORED, just_before, fresh)
    assert namespace_status(fresh, LATE) == "stale"
    answered("strong", OutcomeStatus.ANCHORED, just_before, fresh)
    assert namespace_status(fresh, LATE) == "ok"


def test_a_namespace_that_owes_nothing_is_not_stale_however_old_its_last_anchor_is() -> None:
    idle, now = anchored(), NOW
    for _ in range(200):
        now += timedelta(seconds=89)
        for label in ("fast", "strong"):
            answered(label, OutcomeStatus.NOTHING_OWED, now, idle)
        assert namespace_status(idle, now) == "ok"
    assert namespace_status(idle, now + (LATE - NOW)) == "stale"


def test_what_was_resumed_or_got_another_rhythm_is_not_stale_for_the_time_before() -> None:
    rested = schedule()
    for label in ("fast", "strong"):
        rested.pause(label, "", NOW)
        assert rested.stale_at(label) is None
        rested.resume(label, LATE)
    assert namespace_status(rested, LATE) == "ok"
    daily = schedule()
    cadences = {
        label: config.model_copy(update={"every": "1d"})
        for label, config in daily.configuration.cadences.items()
    }
    daily.set_cadences(cadences, LATE)
    assert namespace_status(daily, LATE + timedelta(days=3)) == "ok"
    assert namespace_status(daily, LATE + timedelta(days=5)) == "stale"


def test_a_request_that_was_taken_back_proves_nothing() -> None:
    withdrawn = schedule()
    for label in ("fast", "strong"):
        answered(label, OutcomeStatus.WITHDRAWN, LATE, withdrawn)
    assert namespace_status(withdrawn, LATE) == "stale"


def test_a_pause_or_a_failure_says_more_than_staleness() -> None:
    late = LATE
    paused = anchored()
    paused.pause("fast", "", NOW)
    assert namespace_status(paused, late) == "stale"
    paused.pause("strong", "", NOW)
    assert namespace_status(paused, late) == "paused"
    flight = paused.begin("strong", "1", NOW, is_slot=True)
    note = failure_note(
        flight.request, 1, FailureKind.NETWORK, "x", at=NOW, delay=timedelta(seconds=8)
    )
    assert paused.note_failure(note)
    assert namespace_status(paused, late) == "backing_off"


# --- a namespace


def cadence(**fields: object) -> CadenceView:
    """Return a cadence's view."""
    return CadenceView(target="eip155:1", every="89s", next_due=NOW).model_copy(update=fields)


def view(*cadences: CadenceView, **fields: object) -> NamespaceView:
    """Return a namespace's view with these cadences, `c0`, `c1` …"""
    return NamespaceView(
        namespace="dao:x",
        state=NamespaceState.RUNNING,
        cadences={f"c{position}": one for position, one in enumerate(cadences)},
    ).model_copy(update=fields)


def wrong_of(found: NamespaceView) -> str:
    """Return what the one cadence's row says is wrong."""
    return rows(namespace_details(found))[2][-1].strip()


def test_a_cadence_that_never_anchored_and_does_not_run_shows_dashes() -> None:
    (_, _, row) = rows(namespace_details(view(cadence(next_due=None))))
    assert [cell.strip() for cell in row] == ["c0", "`eip155:1`", "89s", "–", "–", "–"]


def test_the_last_anchor_is_told_with_its_place_and_time() -> None:
    anchor = LastAnchorView(
        slot="1", batch_count=2, tx_ref="0x" + "ab" * 32, block=79, at=NOW, anchored_at=NOW
    )
    row = rows(namespace_details(view(cadence(last_anchor=anchor))))[2]
    assert row[4].strip() == "`0xabababababababab…` block 79 at 2026-01-15T10:00:00Z, 2 batches"


def test_an_anchor_that_was_imported_has_no_place() -> None:
    anchor = LastAnchorView(slot="", at=NOW, anchored_at=NOW, finality="imported")
    assert rows(namespace_details(view(cadence(last_anchor=anchor))))[2][4].strip() == "–"


def test_what_is_wrong_is_told_worst_first_and_in_few_words() -> None:
    flight = InFlightView(slot="1", since=NOW, failures=2)
    failed = flight.model_copy(
        update={"last_failure": FailureView(kind=FailureKind.AUTH, message="no funds")}
    )
    paused = {"c0": PausedView(reason="fees", since=NOW)}
    assert (
        wrong_of(view(cadence(in_flight=flight)))
        == "waiting for inclusion since 2026-01-15T10:00:00Z"
    )
    assert (
        wrong_of(view(cadence(in_flight=failed), paused=paused))
        == "paused: fees; failed 2 times (auth): no funds"
    )


@given(FOREIGN, FOREIGN, FOREIGN)
def test_no_text_from_outside_adds_a_row_or_a_column(reason: str, failure: str, bad: str) -> None:
    flight = InFlightView(
        slot="1", since=NOW, last_failure=FailureView(kind=FailureKind.UNKNOWN, message=failure)
    )
    shown = namespace_details(
        view(
            cadence(in_flight=flight),
            cadence(),
            paused={"c0": PausedView(reason=reason, since=NOW)},
            last_rejected=RejectedView(name=bad, at=NOW, reason=reason),
        )
    )
    table = rows(shown)
    assert [len(row) for row in table] == [6, 6, 6, 6]
    assert len(re.split(r"\r\n|\r|\n", shown)) == len(table) + 2


# --- an aggregator


def round_status(number: int, **fields: object) -> RoundStatus:
    """Return a round's row."""
    return RoundStatus(
        round_id=f"{number:032x}",
        state=RoundState.PENDING,
        account="0xa",
        sequence=number,
        candidates=1,
        tx_ref="0x" + "cd" * 32,
        leaves=3,
        since=NOW,
    ).model_copy(update=fields)


def test_an_aggregator_with_nothing_to_do_says_so_in_one_line() -> None:
    assert aggregator_details(AggregatorView(target="eip155:1")).strip() == (
        "0 requests wait. Highest reservation: –."
    )


def test_nonce_and_block_zero_are_numbers_and_not_dashes() -> None:
    found = AggregatorView(
        target="eip155:1", last_sequence=0, rounds=[round_status(0, block=0, depth=1)]
    )
    shown = aggregator_details(found)
    assert "Highest reservation: 0." in shown
    row = rows(shown)[2]
    assert [cell.strip() for cell in row[2:3] + row[5:6]] == ["0", "0"]


@pytest.mark.parametrize("count", [1, MOST_ROUNDS_SHOWN, MOST_ROUNDS_SHOWN + 1])
def test_so_many_open_rounds_are_shown_and_no_more(count: int) -> None:
    found = AggregatorView(target="eip155:1", rounds=[round_status(n) for n in range(count)])
    table = rows(aggregator_details(found))
    assert len(table) == 2 + min(count, MOST_ROUNDS_SHOWN)
    assert {len(row) for row in table} == {8}


@given(FOREIGN)
def test_a_hold_a_pause_and_a_failure_are_each_one_line(text: str) -> None:
    found = AggregatorView(
        target="eip155:1",
        paused=PausedView(reason=text, since=NOW),
        held=HoldView(kind=FailureKind.VALIDATION, message=text, since=NOW, next_look=NOW),
        failures=2,
        last_failure=FailureView(kind=FailureKind.AUTH, message=text),
    )
    lines = re.split(r"\r\n|\r|\n", aggregator_details(found))
    assert [line.split(" ")[0] for line in lines] == ["0", "", "Paused", "**Held**", "Failed"]


def test_a_failure_that_is_over_is_not_shown() -> None:
    over = FailureView(kind=FailureKind.AUTH, message="no funds")
    assert "no funds" not in aggregator_details(AggregatorView(target="x", last_failure=over))


def test_view_and_memo_name_the_folder_of_batches_and_leave_counts_to_readers() -> None:
    elsewhere = schedule()
    changed = elsewhere.configuration.model_copy(update={"batches": "out/other"})
    elsewhere.configuration = changed
    shown = namespace_view(elsewhere, "namespace:dao:one", "run")
    assert shown.batches == namespace_memo(elsewhere).batches == "out/other"
    for cadence_shown in shown.cadences.values():
        assert (cadence_shown.unanchored, cadence_shown.problems) == (None, None)
        assert cadence_shown.state is NamespaceState.RUNNING
