"""What an operator can do for a target is said by the same words as elsewhere."""

from datetime import UTC, datetime

import pytest

from vaultmesh.domain.failures import ADVICE, FailureKind
from vaultmesh.domain.status import FailureView, HoldView, PausedView, TargetState, TargetView
from vaultmesh.overview.words import mends

NOW = datetime(2026, 1, 15, tzinfo=UTC)
TARGET = "eip155:31337"


@pytest.mark.parametrize("kind", FailureKind)
def test_a_held_target_is_mended_as_its_kind_of_failure_is(kind: FailureKind) -> None:
    held = HoldView(kind=kind, message="no funds", since=NOW, next_look=NOW)
    target = TargetView(target=TARGET, state=TargetState.HELD, held=held)
    assert mends(target) == [ADVICE[kind]]


def test_what_is_held_and_fails_alike_is_advised_once() -> None:
    held = HoldView(kind=FailureKind.AUTH, message="no funds", since=NOW, next_look=NOW)
    failure = FailureView(kind=FailureKind.AUTH, message="no funds")
    target = TargetView(
        target=TARGET, state=TargetState.HELD, held=held, failures=2, last_failure=failure
    )
    assert mends(target) == [ADVICE[FailureKind.AUTH]]


def test_a_paused_target_is_resumed_by_its_own_workflow() -> None:
    target = TargetView(target=TARGET, state=TargetState.PAUSED, paused=PausedView(since=NOW))
    (mend,) = mends(target)
    assert mend.endswith(f"signal --workflow-id aggregator:{TARGET} --name resume")


def test_a_failing_target_is_reset_or_gets_other_code() -> None:
    (mend,) = mends(TargetView(target=TARGET, state=TargetState.FAILING))
    assert f"temporal workflow reset --workflow-id aggregator:{TARGET}" in mend


@pytest.mark.parametrize("state", [TargetState.RUNNING, TargetState.MISSING])
def test_a_target_that_is_well_needs_nothing(state: TargetState) -> None:
    failure = FailureView(kind=FailureKind.NETWORK, message="over by now")
    assert mends(TargetView(target=TARGET, state=state, last_failure=failure)) == []
