"""What an aggregator's run begins with."""

from datetime import UTC, datetime

from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.state import AggregatorInput, AggregatorState
from vaultmesh.domain.status import PausedView
from vaultmesh.domain.target import Target

PAUSED = PausedView(reason="budget", since=datetime(2026, 1, 15, tzinfo=UTC))


def test_what_a_run_carries_counts_more_than_what_the_first_one_began_with() -> None:
    begun = AggregatorInput(target=Target.parse("eip155:1"), paused=PAUSED)
    assert begun.state().pace.paused == PAUSED
    resumed = begun.model_copy(update={"carried": AggregatorState(pace=Pace())})
    assert resumed.state().pace.paused is None
