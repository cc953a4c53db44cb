"""An aggregator's pace: how long it backs off, what blocks it, and when it pauses itself."""

from datetime import timedelta

import pytest

from tests.domain.aggregator.examples import NOW, seen
from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import Backoff

LATER = NOW + timedelta(minutes=1)
BACKOFF = Backoff()


def failed(*kinds: FailureKind) -> Pace:
    """Return the pace after failures in a row."""
    pace = Pace()
    for kind in kinds:
        pace.failed(kind, f"a {kind} failure", BACKOFF, NOW)
    return pace


def test_each_failure_in_a_row_backs_off_for_longer_until_a_success() -> None:
    pace = failed(FailureKind.NETWORK)
    first = pace.not_before
    pace.failed(FailureKind.NETWORK, "again", BACKOFF, NOW)
    assert first is not None
    assert pace.not_before == NOW + BACKOFF.delay(2, FailureKind.NETWORK)
    assert pace.not_before > first
    assert pace.is_backing_off(NOW)
    assert not pace.is_backing_off(pace.not_before)
    assert pace.last_failure is not None
    assert (pace.failures, pace.last_failure.message) == (2, "again")
    pace.succeeded()
    assert pace == Pace()


@pytest.mark.parametrize("kind", FailureKind)
def test_only_what_an_operator_has_to_mend_blocks(kind: FailureKind) -> None:
    blocked = failed(kind).blocked
    assert (blocked is not None) is (kind in (FailureKind.AUTH, FailureKind.VALIDATION))


def test_what_blocks_is_shown_since_it_began_and_until_the_next_step() -> None:
    pace = failed(FailureKind.AUTH)
    pace.block(FailureKind.VALIDATION, "something else", LATER)
    assert pace.blocked is not None
    assert (pace.blocked.since, pace.blocked.next_look) == (NOW, pace.not_before)
    pace.unblock()
    pace.hurry()
    pace.block(FailureKind.VALIDATION, "nobody can tell", LATER)
    assert (pace.blocked.since, pace.blocked.next_look) == (LATER, LATER)
    assert pace.failures == 1


@pytest.mark.parametrize("foreign", [True, False])
def test_the_second_loss_in_a_row_of_one_kind_pauses(*, foreign: bool) -> None:
    pace, lost = Pace(), seen(RoundState.LOST, foreign=foreign, message="nonce 0 was used")
    pace.lost(lost, NOW)
    pace.lost(seen(RoundState.LOST, foreign=not foreign), NOW)
    assert (pace.paused, pace.blocked) == (None, None)
    pace.lost(lost, LATER)
    assert pace.paused is not None
    assert pace.blocked is not None
    assert pace.paused.since == LATER
    assert "2 rounds in a row" in pace.paused.reason
    assert "nonce 0 was used" in pace.blocked.message


def test_an_included_round_ends_the_row_of_losses_and_no_pause() -> None:
    pace, lost = failed(FailureKind.AUTH), seen(RoundState.LOST)
    pace.pause("a storm", NOW)
    pace.lost(lost, NOW)
    pace.included()
    pace.lost(lost, NOW)
    assert (pace.reverts, pace.blocked, pace.failures) == (1, None, 0)
    assert pace.paused is not None
    assert pace.paused.reason == "a storm"
    pace.resume()
    assert pace.paused is None
