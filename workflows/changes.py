"""The place where it is kept which changes of its code a pen's run knows: one that began before a change goes on without it.

A run asks once, at its beginning, so that a replay decides what the run decided.
"""

from dataclasses import dataclass

LATE_COMERS = "late comers are heeded"


@dataclass(slots=True)
class Changes:
    """Changes that a run began after."""

    late_comers: bool = False
    """Nothing that arrives while something else is under way is lost:

    1. Receipts are written once more for requests that joined the round while they were written.
    2. A step that falls due earlier than the one the pen sleeps for wakes it.
    3. Receipts of a closed round that failed are tried again.
    4. A reservation that a node calls consumed, while a look finds nothing, is looked at and sent again.
    5. Bids that a node refuses one after the other are sent at the pace of the ladder.
    6. A look that finds a round before the answer to its broadcast arrives is not undone by that answer.
    """
