"""The words of a cron expression say what runs, whatever was written."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultmesh.domain.jobs.cron import Cron, read_cron
from vaultmesh.domain.jobs.cron_words import NEVER, in_words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * * *", "every second"),
        ("*/15 * * * * *", "every 15 seconds"),
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "at minute 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour every day"),
        ("0 * * * *", "every hour"),
        ("20 */6 * * *", "every 6 hours at minute 20"),
        ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:59 on Monday to Friday"),
        ("*/10 9 * * *", "every 10 minutes from 09:00 to 09:59"),
        ("0 9 * * 1", "at 09:00 on Monday"),
        ("0 9 * * mon,fri", "at 09:00 on Monday and Friday"),
        ("0 10 * * *", "at 10:00 every day"),
        ("30 6,18 * * *", "at 06:30 and 18:30 every day"),
        ("5 0 3 * * *", "at 03:00:05 every day"),
        ("0 0 1 * *", "at 00:00 on day 1 of the month"),
        ("0 0 1,15 6-8 *", "at 00:00 on day 1 and 15 of June to August"),
        ("0 0 13 * 5", "at 00:00 on day 13 of the month if it is Friday"),
        ("0 0 * 12 0", "at 00:00 on Sunday in December"),
        ("0 0 29 2 1", "at 00:00 on day 29 if it is Monday in February"),
        ("0 0 31 2 *", NEVER),
        ("1,2-10/3 * * * *", "at minute 3, 6 and 9 of every hour every day"),
        ("0 5-1 * * *", "at 01:00, 02:00, 03:00, 04:00 and 05:00 every day"),
    ],
)
def test_common_expressions_have_the_words_that_people_use(expression: str, words: str) -> None:
    assert in_words(read_cron(expression)) == words


_LIMITS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


def _numbers(least: int, most: int) -> st.SearchStrategy[frozenset[int]]:
    """Return fields as people write them: everything, steps, single numbers, a few numbers."""
    everything = list(range(least, most + 1))
    steps = [frozenset(everything[::step]) for step in (1, 2, 3, 5, 6, 15) if step <= most]
    few = st.sets(st.sampled_from(everything), min_size=1, max_size=4).map(frozenset)
    return st.one_of(st.sampled_from(steps), few, st.just(frozenset([least])))


_FIELDS = st.tuples(*(_numbers(*limits) for limits in _LIMITS))


def _cron(fields: Sequence[frozenset[int]]) -> Cron:
    return read_cron(" ".join(",".join(map(str, sorted(field))) for field in fields))


@settings(max_examples=500)
@given(_FIELDS, _FIELDS, st.integers(0, 5))
def test_expressions_that_differ_in_a_field_have_other_words(
    fields: tuple[frozenset[int], ...], others: tuple[frozenset[int], ...], place: int
) -> None:
    changed = [*fields[:place], others[place], *fields[place + 1 :]]
    first, second = in_words(_cron(fields)), in_words(_cron(changed))
    assert first == second if changed == list(fields) else first != second or first == NEVER
