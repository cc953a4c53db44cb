"""What every target owes its caller when the ledger is gone: a NetworkFailure, soon, and no secret in it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import pytest

from tests.ledgers.conformance.bench import Bench
from tests.ledgers.conformance.trial import Round, Trial, claim_of
from vaultmesh.domain.aggregator.ledger_messages import RoundView
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.receipts.receipt import AnchorReceipt

REFUSED_SECONDS = 10.0
"""A port that refuses is known at once; retries may follow."""
SILENT_SECONDS = 29.0
"""The longest time-out of a call is 10 s, and no step makes three calls in a row to a mute ledger."""
Step = Callable[[], Awaitable[object]]


def steps(
    trial: Trial, final: Round, view: RoundView, receipt: AnchorReceipt, new: Round
) -> Mapping[str, Step]:
    """Return every step that may ask the ledger."""
    return {
        "reserve": lambda: trial.reserve(trial.manifest()),
        "broadcast": lambda: trial.broadcast(new),
        "look": lambda: trial.look(final),
        "evidence": lambda: trial.evidence(final, view),
        "verify": lambda: trial.target.verify(claim_of(receipt)),
        "probe": trial.target.probe,
    }


async def outcome(trial: Trial, step: Step, seconds: float) -> bool:
    """Say whether a step failed as it may, in time; any other exception goes through."""
    began = time.monotonic()
    try:
        await step()
    except NetworkFailure as error:
        trial.texts.append(f"{error} {error!r}")
        return True
    finally:
        assert time.monotonic() - began < seconds
    return False


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_a_ledger_that_is_down_is_a_network_failure_in_time(mortal: Bench, how: str) -> None:
    trial = Trial(mortal)
    final, view = await trial.final()
    receipt = await trial.receipt(final, view)
    new = await trial.sign()
    taken = steps(trial, final, view, receipt, new)
    stopped = how == "stopped"
    seconds = REFUSED_SECONDS if stopped else SILENT_SECONDS
    chosen = taken if stopped else {name: taken[name] for name in ("broadcast", "look", "probe")}
    (mortal.stop if stopped else mortal.freeze)()
    try:
        failed = await asyncio.gather(*(outcome(trial, step, seconds) for step in chosen.values()))
    finally:
        if not stopped:
            mortal.thaw()
        await trial.target.close()
    told = {name for name, yes in zip(chosen, failed, strict=True) if yes}
    assert told == mortal.REMOTE & set(chosen)
    hidden = mortal.secrets_of(trial.section)
    assert not [text for text in trial.texts if any(one in text for one in hidden)]
