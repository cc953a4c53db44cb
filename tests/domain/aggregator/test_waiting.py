"""Requests that wait: how many, how often each failed, and which were taken back."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.domain.aggregator.examples import NOW, request
from vaultmesh.domain.aggregator.waiting import (
    MOST_REMEMBERED_FAILURES,
    MOST_REMEMBERED_WITHDRAWALS,
    MOST_WAITING,
    WITHDRAWN_FOR,
    WaitingRequests,
    merged,
)
from vaultmesh.domain.messages import AnchorRequest

MOVES = st.lists(
    st.tuples(st.sampled_from(["enqueue", "fail", "end"]), st.integers(0, 3), st.integers(0, 4)),
    max_size=30,
)


def asking(
    namespace: str = "dao:x", depth: int = 2, *, slot: str = "1", batches: str = ""
) -> AnchorRequest:
    """Return a namespace's request for a depth."""
    return AnchorRequest(
        namespace=namespace, cadence="fast", slot=slot, required_depth=depth, batches=batches
    )


@given(MOVES)
def test_a_requests_failures_never_shrink_until_it_is_answered(
    moves: list[tuple[str, int, int]],
) -> None:
    waiting = WaitingRequests()
    highest: dict[int, int] = {}
    for move, number, failures in moves:
        asked = request(number, failures)
        if move == "end":
            waiting.ended(asked.id)
            highest.pop(number, None)
            assert asked.id not in waiting.queue
        elif move == "fail":
            known = max(waiting.failures.get(asked.id, 0), failures)
            assert waiting.failed(asked).failures == known + 1
            highest[number] = known + 1
            assert asked.id not in waiting.queue
        else:
            assert waiting.enqueue(asked)
            assert waiting.queue[asked.id].failures == max(highest.get(number, 0), failures)
    assert waiting.failures == {request(number).id: count for number, count in highest.items()}


def test_who_failed_with_the_target_is_remembered_until_it_waits_again_or_is_done() -> None:
    waiting = WaitingRequests()
    waiting.failed_with_target([request(number) for number in range(4)])
    assert waiting.enqueue(request(0))
    waiting.ended(request(1).id)
    waiting.withdraw(request(2).id, NOW)
    assert list(waiting.away) == [request(3).id]


def test_no_more_are_remembered_than_may_wait() -> None:
    waiting = WaitingRequests()
    waiting.failed_with_target([request(number) for number in range(MOST_WAITING + 1)])
    waiting.failed_with_target([request(MOST_WAITING + 2)])
    assert len(waiting.away) == MOST_WAITING


def test_asking_twice_changes_nothing() -> None:
    once, twice = WaitingRequests(), WaitingRequests()
    assert once.enqueue(request())
    assert twice.enqueue(request())
    assert twice.enqueue(request())
    assert once == twice


def test_a_full_queue_takes_only_what_it_knows() -> None:
    waiting = WaitingRequests()
    assert all(waiting.enqueue(request(number)) for number in range(MOST_WAITING))
    assert not waiting.enqueue(request(MOST_WAITING))
    assert not waiting.carry(request(MOST_WAITING, failures=2))
    assert waiting.failures == {}
    assert waiting.enqueue(request(0, failures=5))
    assert len(waiting.queue) == MOST_WAITING
    assert waiting.queue[request(0).id].failures == 5
    waiting.ended(request(0).id)
    assert waiting.enqueue(request(MOST_WAITING))


def test_only_who_waits_is_taken_into_a_round_and_once() -> None:
    waiting = WaitingRequests()
    waiting.enqueue(request(1))
    assert waiting.take([request(1), request(2), request(1)]) == [request(1)]
    assert waiting.queue == {}


def test_failures_are_counted_also_where_no_more_are_remembered() -> None:
    waiting = WaitingRequests(
        failures={str(number): 1 for number in range(MOST_REMEMBERED_FAILURES)}
    )
    assert waiting.failed(request(1, failures=4)).failures == 5
    assert len(waiting.failures) == MOST_REMEMBERED_FAILURES


def test_a_withdrawal_holds_for_a_while() -> None:
    waiting = WaitingRequests()
    waiting.withdraw(request().id, NOW)
    assert waiting.is_withdrawn(request().id, NOW + WITHDRAWN_FOR - timedelta(seconds=1))
    assert not waiting.is_withdrawn(request().id, NOW + WITHDRAWN_FOR)
    assert not waiting.is_withdrawn(request(1).id, NOW)


def test_old_withdrawals_are_forgotten_and_the_oldest_of_too_many() -> None:
    waiting = WaitingRequests()
    waiting.withdraw("old", NOW - WITHDRAWN_FOR)
    for number in range(MOST_REMEMBERED_WITHDRAWALS + 1):
        waiting.withdraw(str(number), NOW)
    assert list(waiting.withdrawn) == [
        str(number) for number in range(1, MOST_REMEMBERED_WITHDRAWALS + 1)
    ]


# --- one request for each namespace and folder


def test_merging_keeps_the_first_of_each_namespace_and_folder_and_the_largest_depth() -> None:
    asked = [
        asking("a", 2),
        asking("b", 9, batches="out/b"),
        asking("a", 7, slot="2"),
        asking("b", 3, slot="2", batches="out/b"),
    ]
    assert merged(asked) == {
        ("a", ""): asking("a", 7),
        ("b", "out/b"): asking("b", 9, batches="out/b"),
    }
    assert merged([]) == {}


def test_merging_twice_changes_nothing() -> None:
    once = merged([asking("a", 2), asking("a", 7, slot="2"), asking("b")])
    assert merged(once.values()) == once
