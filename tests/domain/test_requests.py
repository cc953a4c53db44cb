"""A request says for people when it was due."""

import pytest

from vaultmesh.domain.messages import AnchorRequest


@pytest.mark.parametrize(
    ("slot", "due"),
    [
        ("1768471200", "due 2026-01-15 10:00:00 UTC"),
        ("f1768471200", "forced 2026-01-15 10:00:00 UTC"),
        ("r1768471200", "registered 2026-01-15 10:00:00 UTC"),
        ("nonsense", "slot nonsense"),
        ("9" * 30, f"slot {'9' * 30}"),
    ],
)
def test_a_slot_is_told_as_the_instant_that_it_is(slot: str, due: str) -> None:
    assert AnchorRequest(namespace="dao:a", cadence="fast", slot=slot).due == due
