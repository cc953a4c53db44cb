"""What `observe` gives back, and what it keeps between its looks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from temporalio.testing import ActivityEnvironment

from activities.anchors.contract import Anchoring
from activities.reopening import Reopening
from activities.targets import Targets
from activities.watching import Watching, differing
from vaultmesh.domain.ledger import Reservation, RoundState, RoundView, WatchedRound
from vaultmesh.domain.steps import Observe, Observed
from vaultmesh.domain.target import Target

TARGET = Target.parse("btc:regtest")
ROUND = WatchedRound(
    round_id="ab" * 16,
    commitment="0x" + "11" * 32,
    label="1761300000",
    reservation=Reservation(account="anchors", fields={}),
    tx_refs=["22" * 32],
    signed_at=datetime(2026, 1, 1, tzinfo=UTC),
    first_seen_block=1,
)
STEPS = 3


class Searching:
    """A target whose module needs some looks to find out, and goes on from its notes."""

    poll_seconds = 0.0
    looks = 0

    async def open(self, target: Target) -> Anchoring:
        """Return itself, as opened targets do."""
        del target
        return cast("Anchoring", self)

    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        """Go one step further than the notes say."""
        self.looks += 1
        return [self._view(one) for one in rounds]

    def _view(self, watched: WatchedRound) -> RoundView:
        step = int(str(watched.notes.get("step", 0))) + 1
        undecided = "nobody can tell" if step >= STEPS else ""
        state, notes = RoundState.PENDING, {"step": step}
        return RoundView(
            round_id=watched.round_id, state=state, undecided=undecided, notes=dict(notes)
        )


class NothingClosed:
    """Closed rounds that stay where they are."""

    async def look(self, target: Target, anchoring: Anchoring) -> list[str]:
        """Open nothing again."""
        del target, anchoring
        return []


async def test_a_search_goes_on_at_the_next_look_and_its_end_is_told() -> None:
    target = Searching()
    watching = Watching(cast("Targets", target), cast("Reopening", NothingClosed()))
    order = Observe(target=TARGET, rounds=[ROUND])
    seen: Observed = await ActivityEnvironment().run(watching.observe, order)
    (view,) = seen.views
    assert (view.undecided, view.notes, target.looks) == ("nobody can tell", {"step": STEPS}, STEPS)


def test_what_nobody_can_tell_is_told_once_and_so_is_its_end() -> None:
    held = ROUND.model_copy(update={"undecided": "nobody can tell"})
    same = RoundView(round_id=ROUND.round_id, state=RoundState.PENDING, undecided="nobody can tell")
    over = RoundView(round_id=ROUND.round_id, state=RoundState.PENDING)
    assert differing([ROUND], [same]) == [same]
    assert differing([held], [same]) == []
    assert differing([held], [over]) == [over]
