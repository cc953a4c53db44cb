"""An aggregator's rounds: who rides on them, and what of them fits into the next run."""

from datetime import UTC, datetime

import pytest

from vaultmesh.domain.aggregator.ledger_messages import Reservation, SignedCandidate
from vaultmesh.domain.aggregator.messages import SealedRound
from vaultmesh.domain.aggregator.state import (
    MOST_CARRIED_BYTES,
    MOST_WAITING,
    AggregatorState,
    OpenRound,
    merged,
)
from vaultmesh.domain.messages import AnchorRequest

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
ROUNDS, JOINED = 14, 1_000


def request(
    namespace: str = "dao:x", depth: int = 2, *, slot: str = "1", batches: str = ""
) -> AnchorRequest:
    """Return a namespace's request."""
    return AnchorRequest(
        namespace=namespace, cadence="fast", slot=slot, required_depth=depth, batches=batches
    )


def a_round(number: int = 0, *joining: AnchorRequest) -> OpenRound:
    """Return an open round with whom it took on board."""
    round_ = OpenRound(
        sealed=SealedRound(
            round_id=f"{number:032x}",
            commitment="0x" + "11" * 32,
            label="1",
            leaves=1,
            required_depths=[2],
        ),
        reservation=Reservation(account="0xa", sequence=number, fields={}),
        candidates=[SignedCandidate(n=0, tx_ref="0x1", raw="0x")],
        since=NOW,
        signed_at=NOW,
        open_depths=[2],
    )
    round_.join(joining)
    return round_


def crowded(name: str) -> AggregatorState:
    """Return a recovered aggregator with many rounds, each with many late joiners whose names end in `name`."""
    rounds = [
        a_round(number, *(request(f"{number:02}-{one:03}-{name}") for one in range(JOINED)))
        for number in range(ROUNDS)
    ]
    return AggregatorState(rounds=rounds, recovered=True, revision=9)


# --- late joiners


def test_a_namespace_rides_once_with_the_largest_depth_that_it_asked_for() -> None:
    round_ = a_round(0, request(depth=3, slot="1"))
    round_.join([request(depth=12, slot="2"), request(depth=6, slot="3")])
    assert round_.late_joiners == [request(depth=12, slot="1")]


def test_a_namespace_rides_once_for_each_folder() -> None:
    round_ = a_round(0, request(), request(batches="out/own"), request(batches="out/own", slot="2"))
    assert round_.late_joiners == [request(), request(batches="out/own")]


def test_everyone_who_boards_waits_and_keeps_its_own_depth_open() -> None:
    asked = [request(depth=6, slot="1"), request(depth=12, slot="2"), request(depth=6, slot="3")]
    round_ = a_round(0, *asked)
    assert round_.waiting == asked
    assert round_.open_depths == [2, 6, 12]


def test_merging_keeps_the_first_of_each_namespace_and_folder_and_the_largest_depth() -> None:
    asked = [
        request("a", 2),
        request("b", 9, batches="out/b"),
        request("a", 7, slot="2"),
        request("b", 3, slot="2", batches="out/b"),
    ]
    assert merged(asked) == {
        ("a", ""): request("a", 7),
        ("b", "out/b"): request("b", 9, batches="out/b"),
    }
    assert merged([]) == {}


def test_merging_twice_changes_nothing() -> None:
    once = merged([request("a", 2), request("a", 7, slot="2"), request("b")])
    assert merged(once.values()) == once


# --- what the next run begins with


def test_a_small_state_is_carried_as_it_is() -> None:
    aggregator = AggregatorState(rounds=[a_round(0, request())], recovered=True)
    assert aggregator.carried() is aggregator


def test_too_many_rounds_to_carry_are_left_to_recovery_and_their_waiting_requests_queue() -> None:
    aggregator = crowded("x" * 90)
    before = aggregator.model_copy(deep=True)
    carried = aggregator.carried()
    assert (carried.rounds, carried.recovered, carried.revision) == ([], False, 9)
    waiting = [one.id for round_ in aggregator.rounds for one in round_.waiting]
    assert list(carried.queue) == waiting[:MOST_WAITING]
    assert aggregator == before


def test_every_waiting_request_queues_while_there_is_room() -> None:
    aggregator = crowded("x" * 90)
    aggregator.rounds = [
        round_.model_copy(update={"waiting": round_.waiting[:100]}) for round_ in aggregator.rounds
    ]
    carried = aggregator.carried()
    assert carried.rounds == []
    assert len(carried.queue) == ROUNDS * 100


@pytest.mark.parametrize(
    "name", ["x" * 90, "x" * 193, "ü" * 96, "語" * 64], ids=["usual", "longest", "ü", "語"]
)
def test_what_is_carried_is_within_what_a_server_takes_whatever_the_names(name: str) -> None:
    carried = crowded(name).carried().model_dump_json().encode()
    assert len(carried) <= MOST_CARRIED_BYTES


def test_what_fits_is_decided_in_bytes() -> None:
    """A name may hold characters of several bytes; a server counts those."""
    aggregator = AggregatorState(
        rounds=[a_round(0, *(request(f"{one:04}{'語' * 65}") for one in range(3_000)))]
    )
    assert (
        len(aggregator.model_dump_json())
        < MOST_CARRIED_BYTES
        < len(aggregator.model_dump_json().encode())
    )
    assert len(aggregator.carried().model_dump_json().encode()) <= MOST_CARRIED_BYTES
