"""Numbers of signed rounds: which are missing, and what ends that."""

import pytest

from vaultmesh.storage.round_numbers import Range, RoundNumbers


@pytest.mark.parametrize(
    ("present", "given_up", "expected", "gaps"),
    [
        ([], [], 0, []),
        ([1, 2, 3], [], 0, []),
        ([1, 2, 3], [], 3, []),
        ([1, 2], [], 4, [(3, 4)]),
        ([3, 6], [], 0, [(1, 2), (4, 5)]),
        ([3, 6], [(1, 2)], 0, [(4, 5)]),
        ([6], [(1, 4), (2, 3)], 0, [(5, 5)]),
        ([2, 2, 3], [(1, 1)], 0, []),
        ([1], [(2, 5)], 5, []),
        ([0, 0], [], 0, []),
    ],
)
def test_numbers_that_no_round_has_are_missed(
    present: list[int], given_up: list[Range], expected: int, gaps: list[Range]
) -> None:
    numbers = RoundNumbers()
    for place, number in enumerate(present):
        numbers.signed(f"round {place}", number)
    for place, taken in enumerate(given_up):
        numbers.give_up(f"decision {place}", taken)
    numbers.expect(expected)
    assert numbers.gaps() == gaps


def test_a_round_that_is_gone_by_name_is_not_missed_by_number_too() -> None:
    numbers = RoundNumbers()
    numbers.signed("a", 1)
    numbers.lose("a")
    assert (list(numbers.gone()), numbers.gaps(), numbers.range_of("a")) == (["a"], [], (1, 1))
    numbers.signed("a", 1)
    assert not numbers.is_gone("a")


def test_what_an_operator_gave_up_is_not_gone() -> None:
    numbers = RoundNumbers()
    numbers.signed("a", 1)
    numbers.lose("a")
    numbers.give_up("a", numbers.range_of("a"))
    assert (numbers.gone(), numbers.gaps()) == ({}, [])
