"""Makes many namespaces due in the same instant, again and again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from bench.events import Anchored, anchors_of
from bench.system import BenchError, BenchSystem, sleep_until, until

_QUIET_SECONDS = 2.0
"""From the writing of the batches until they are due, at the least."""
_RESTED_SECONDS = 1.0
"""Until batches are written, at the least: a namespace that was registered just now looks once by itself."""
_LOOK_FROM = 0.5
"""From the due instant until we look for receipts, and disturb."""
_WRITTEN_PER_SECOND = 500
"""Batches that are written to disk in a second, at the least."""
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
    receipt_bytes: int
    """Size of the largest receipt."""

    @property
    def rate(self) -> float:
        """Anchors per second."""
        return self.namespaces / self.last_answered


async def burst(system: BenchSystem, client: Client, wanted: Sequence[str], every: int) -> Burst:
    """Seal a batch for each registered namespace, and wait until the next slot has anchored all."""
    quiet = _QUIET_SECONDS + len(wanted) / _WRITTEN_PER_SECOND
    due = next_due(every, least=_RESTED_SECONDS + quiet)
    before = system.transactions()
    await sleep_until(due - quiet)  # so that what was asked before finds nothing
    receipts = system.seal(wanted)
    if time.time() > due - _QUIET_SECONDS / 2:
        message = f"writing {len(wanted)} batches took too long"
        raise BenchError(message)
    await sleep_until(due - _QUIET_SECONDS / 2)
    cpu = system.cpu_seconds()
    await sleep_until(due + _LOOK_FROM)
    done = await answers(client, wanted, receipts, due, due)
    used = system.cpu_seconds() - cpu
    return Burst(
        namespaces=len(wanted),
        last_started=max(anchored.started for anchored in done) - due,
        last_answered=max(anchored.answered for anchored in done) - due,
        transactions=system.transactions() - before,
        repeated=sum(anchored.attempts > 1 for anchored in done),
        cpu_seconds=used,
        receipt_bytes=max(receipt.stat().st_size for receipt in receipts),
    )


def next_due(every: int, *, least: float) -> int:
    """Return the first slot of a period that is at least so many seconds away."""
    return int(time.time() + least) // every * every + every


async def answers(
    client: Client, wanted: Sequence[str], receipts: Sequence[Path], first: int, last: int
) -> list[Anchored]:
    """Return each namespace's answer to the slots from `first` to `last`, one each.

    Waits for the receipts, which costs the parts nothing, and then asks the server until it knows all.
    """
    done: list[Anchored] = []
    missing = list(receipts)

    async def recorded() -> bool:
        while missing and missing[-1].exists():
            missing.pop()
        return not missing

    async def answered() -> bool:
        done[:] = [
            anchored
            for anchored in await anchors_of(client, wanted)
            if first <= anchored.due <= last
        ]
        return len(done) >= len(wanted)

    await until(recorded, f"{len(receipts)} receipts", ANSWERED_WITHIN + last - first)
    await until(answered, f"the answers of {len(wanted)} namespaces", ANSWERED_WITHIN)
    return done
