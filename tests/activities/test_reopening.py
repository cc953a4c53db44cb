"""Closed rounds whose blocks left the ledger are found, whatever else is wrong with the rounds beside them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.files import Files
from activities.reopening import Reopening
from tests.activities.scripted_ledger import EVM, OTHER_ROOT, Stage, owed, request
from vaultmesh.domain.ledger import RoundState, RoundView, WatchedRound

FIRST = "dao:first"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def look(stage: Stage) -> list[str]:
    """Look as a new process does."""
    reopening = Reopening(Files(stage.root))
    return await ActivityEnvironment().run(reopening.look, EVM, stage.ledger)  # type: ignore[arg-type]


async def test_an_unreadable_round_hides_no_older_one_that_left_the_chain(stage: Stage) -> None:
    first = stage.sign(owed("b1", request(FIRST)))
    await stage.included(first, request(FIRST))
    second = stage.sign(owed("b2", request(FIRST), root=OTHER_ROOT))
    await stage.included(second, request(FIRST))
    (stage.root / f"out/rounds/{EVM.path}/{second}/manifest.json").write_bytes(b"{")
    stage.ledger.state = RoundState.MISSING
    assert await look(stage) == [first]


async def test_a_round_that_was_mined_after_a_later_one_is_not_hidden_by_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.ledger.block = 9
    first = stage.sign(owed("b1", request(FIRST)))
    await stage.included(first, request(FIRST))
    stage.ledger.block = 5
    second = stage.sign(owed("b2", request(FIRST), root=OTHER_ROOT))
    await stage.included(second, request(FIRST))

    async def above_block_6(rounds: Sequence[WatchedRound]) -> list[RoundView]:
        """Show what lies above a block of another branch as missing."""
        (asked,) = rounds
        assert asked.block is not None
        if asked.block.number > 6:
            return [RoundView(round_id=asked.round_id, state=RoundState.MISSING, height=20)]
        return [stage.ledger.view(asked.round_id)]

    monkeypatch.setattr(stage.ledger, "look", above_block_6)
    assert await look(stage) == [first]
