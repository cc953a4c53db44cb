"""The golden backoff: its numbers, weights and end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.failures import (
    ADVICE,
    WEIGHT,
    AnchorError,
    AuthFailure,
    FailureKind,
    NetworkFailure,
    ValidationFailure,
)
from vaultmesh.domain.messages import Backoff

BACKOFF = [8.1, 13.1, 21.2, 34.3, 55.5, 89.7, 145.2]


@pytest.mark.parametrize(("failures", "seconds"), list(enumerate(BACKOFF, start=1)))
def test_the_backoff_climbs_by_the_golden_ratio(failures: int, seconds: float) -> None:
    delay = Backoff().delay(failures, FailureKind.NETWORK)
    assert round(delay.total_seconds(), 1) == seconds


def test_the_backoff_ends_at_its_cap() -> None:
    highest = Backoff().delay(7, FailureKind.UNKNOWN)
    assert Backoff().delay(8, FailureKind.UNKNOWN) == highest
    assert Backoff().delay(10**9, FailureKind.UNKNOWN) == highest


@pytest.mark.parametrize(
    ("kind", "weight"), [("network", 1.0), ("auth", 2.0), ("validation", 0.5), ("unknown", 1.0)]
)
def test_each_kind_has_its_weight(kind: str, weight: float) -> None:
    plain = Backoff().delay(3, FailureKind.NETWORK).total_seconds()
    assert Backoff().delay(3, FailureKind(kind)).total_seconds() == pytest.approx(plain * weight)


def test_every_kind_has_a_weight_and_an_advice() -> None:
    assert set(WEIGHT) == set(ADVICE) == set(FailureKind)


@given(failures=st.integers(1, 50), kind=st.sampled_from(FailureKind), cap=st.integers(1, 20))
def test_a_further_failure_never_shortens_the_wait(
    failures: int, kind: FailureKind, cap: int
) -> None:
    backoff = Backoff(base_seconds=5, cap=cap)
    assert backoff.delay(failures, kind) <= backoff.delay(failures + 1, kind)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AnchorError("x"), "unknown"),
        (NetworkFailure("x"), "network"),
        (AuthFailure("x"), "auth"),
        (ValidationFailure("x"), "validation"),
        (NetworkFailure("x", kind=FailureKind.AUTH), "auth"),
    ],
)
def test_an_error_carries_its_kind(error: AnchorError, kind: str) -> None:
    assert error.kind == kind
