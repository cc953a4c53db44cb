"""What is promised of a batch, how that stands, and why it is not kept yet."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidDocument
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.namespaces.config import parse_namespaces
from vaultmesh.domain.promises import (
    Cause,
    Situation,
    Standing,
    Unfinished,
    cause,
    outcome,
    standing,
    told,
)

DEADLINE = timedelta(minutes=30)
BATCH = Unfinished("b", sealed_at=1_000)


@pytest.mark.parametrize(
    ("waited", "expected"),
    [
        (0, Standing.OPEN),
        (24 * 60 - 1, Standing.OPEN),
        (24 * 60, Standing.AT_RISK),
        (30 * 60 - 1, Standing.AT_RISK),
        (30 * 60, Standing.MISSED),
    ],
)
def test_a_promise_is_at_risk_before_it_is_missed(waited: int, expected: Standing) -> None:
    assert standing(BATCH, DEADLINE, 1_000 + waited) is expected


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_promise_never_gets_better_by_waiting(waited: int, deadline: int, more: int) -> None:
    order = list(Standing)
    before = standing(BATCH, timedelta(seconds=deadline), 1_000 + waited)
    after = standing(BATCH, timedelta(seconds=deadline), 1_000 + waited + more)
    assert order.index(after) >= order.index(before)


@pytest.mark.parametrize(
    ("batch", "situation", "label", "words"),
    [
        (BATCH, Situation(), Cause.SLOT, "slot"),
        (Unfinished("b", 0, is_signed=True), Situation(), Cause.INCLUSION, "no block"),
        (
            Unfinished("b", 0, is_signed=True, depth=2, required_depth=6),
            Situation(failures=2),
            Cause.CONFIRMATIONS,
            "2 of 6",
        ),
        (BATCH, Situation(failures=2), Cause.BACKING_OFF, "2 times"),
        (BATCH, Situation(endpoint="refused", failures=2), Cause.ENDPOINT, "refused"),
        (BATCH, Situation(paused="by an operator", endpoint="x"), Cause.PAUSED, "by an operator"),
        (BATCH, Situation(held="insufficient funds", paused="x"), Cause.HELD, "insufficient funds"),
        (BATCH, Situation(failing="nondeterminism", held="x"), Cause.FAILING, "nondeterminism"),
        (BATCH, Situation(missing=True, failing="x"), Cause.MISSING, "no workflow"),
        (BATCH, Situation(storage="stale handle", missing=True), Cause.STORAGE, "stale handle"),
    ],
)
def test_the_cause_is_what_stops_most(
    batch: Unfinished, situation: Situation, label: Cause, words: str
) -> None:
    found, said = cause(batch, situation)
    assert found is label
    assert words in said


def test_a_log_line_says_how_much_time_is_left_or_over() -> None:
    assert told(BATCH, DEADLINE, 1_000) == "to be final within 30 min of sealing; 30 min left"
    assert told(BATCH, DEADLINE, 1_000 + 9_000).endswith("2 h over")


@pytest.mark.parametrize(
    ("final_after", "now_after", "words"),
    [
        (60, 90, "kept, final after 60 s"),
        (1_800, 9_000, "kept, final after 30 min"),
        (3_600, 9_000, "missed, final after 60 min"),
        (None, 600, "open, 20 min left"),
        (None, 9_000, "missed 2 h ago, and not final"),
    ],
)
def test_what_came_of_a_promise_is_said_of_each_batch(
    final_after: int | None, now_after: int, words: str
) -> None:
    sealed = of_seconds(1_000)
    final_at = None if final_after is None else sealed + timedelta(seconds=final_after)
    now = sealed + timedelta(seconds=now_after)
    assert outcome(sealed, DEADLINE, final_at, now) == words


def document(**fast: str) -> object:
    cadence = {"fast": {"target": "eip155:1", "every": "89s", **fast}}
    return {"namespaces": {"dao:one": {"cadence": cadence}}}


def test_a_deadline_is_read_and_changes_nothing_that_a_workflow_is_told() -> None:
    """The harm: a deadline added to the file would show as drift until each workflow was configured anew."""
    plain = parse_namespaces(document()).specs["dao:one"]
    promised = parse_namespaces(document(deadline="30m")).specs["dao:one"]
    assert promised.deadlines == {"fast": DEADLINE}
    assert plain.deadlines == {}
    assert promised.content_hash == plain.content_hash


@pytest.mark.parametrize("text", ["", "0s", "soon", "30", "30M", "9999999999d"])
def test_a_deadline_that_means_nothing_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(InvalidDocument) as refusal:
        parse_namespaces(document(deadline=text))
    (problem,) = refusal.value.problems
    assert problem.path == ("namespaces", "dao:one", "cadence", "fast", "deadline")
