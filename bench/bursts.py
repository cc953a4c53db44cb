"""The place where many namespaces become due in the same instant, again and again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.client import Client

from bench.events import Anchored, anchors_of
from bench.place import BenchError, Place, sleep_until, until
from vaultmesh.domain.names import path_form

_QUIET_SECONDS = 2.0
"""From the writing of the batches until they are due, at the least."""
_LOOK_FROM = 0.5
"""From the due instant until we look for receipts, and disturb."""
ANSWERED_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of one due instant that all namespaces shared."""

    namespaces: int
    last_started: float
    """Seconds from the due instant to the start of the last `anchor`."""
    last_answered: float
    transactions: int
    repeated: int
    """Requests that took more than one attempt."""
    cpu_seconds: float
    """What server and workers used, from before the due instant until all were answered."""

    @property
    def rate(self) -> float:
        """Anchors per second."""
        return self.namespaces / self.last_answered


def next_due(every: int, *, least: float = _QUIET_SECONDS) -> int:
    """Return the first slot of a period that is not too near."""
    return int(time.time() + least) // every * every + every


async def burst(place: Place, client: Client, wanted: Sequence[str], every: int) -> Burst:
    """Seal a batch for each registered namespace, and wait until the next slot has anchored all."""
    due = next_due(every, least=_QUIET_SECONDS + len(wanted) / 500)
    before = place.transactions()
    await sleep_until(due - every + 1)  # the slot before this one finds nothing
    place.seal(wanted)
    if time.time() > due - _QUIET_SECONDS / 2:
        message = f"writing {len(wanted)} batches took too long"
        raise BenchError(message)
    await sleep_until(due - 0.5)
    cpu = place.cpu_seconds()
    await sleep_until(due + _LOOK_FROM)
    done = await _answers(place, client, wanted, due)
    used = place.cpu_seconds() - cpu
    return Burst(
        namespaces=len(wanted),
        last_started=max(one.started for one in done) - due,
        last_answered=max(one.answered for one in done) - due,
        transactions=place.transactions() - before,
        repeated=sum(one.attempts > 1 for one in done),
        cpu_seconds=used,
    )


async def _answers(
    place: Place, client: Client, wanted: Sequence[str], due: int
) -> list[Anchored]:
    """Wait for receipts, which costs nobody anything; then ask the server until it knows all answers."""
    folders = {path_form(name) for name in wanted}
    anchors = place.root / "out" / "anchors"
    have = len(list(anchors.glob("*/*/*.json"))) if len(wanted) <= 200 else 0
    done: list[Anchored] = []

    async def recorded() -> bool:
        if not anchors.exists():
            return False
        return {one.name for one in anchors.iterdir()} >= folders

    async def answered() -> bool:
        done[:] = [one for one in await anchors_of(client, wanted) if one.due == due]
        return len(done) == len(wanted)

    del have
    await until(recorded, "receipts", ANSWERED_WITHIN)
    await until(answered, f"the answers of {len(wanted)} namespaces", ANSWERED_WITHIN)
    return done
