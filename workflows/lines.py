"""Logs events of a workflow's run, and marks each line so that the process writes it once.

1. A workflow task that failed, or that took too long, is asked for again; a workflow that a query ran ahead is run again. The
   SDK calls neither a replay. What a workflow logs then may stand in the log already.
2. Which line is a new fact, only the run can tell: it counts its lines that say the same, those of replays too. The second
   pause of a run is the second one however often the run is gone through, also where a message came in between meanwhile.
3. A line's mark is made of run, event, fields and that number. `vaultmesh.process.logs` lets each mark pass once.
"""

from collections import Counter

from temporalio import workflow

from vaultmesh.domain.log_events import MARK, LogEvent, log_event

_VARYING = frozenset(("retry_in",))
"""Fields that count from the time of the workflow task: it is another one when the task is asked for again."""


class Lines:
    """The log of one run; `always` are fields of every line."""

    def __init__(self, **always: object) -> None:
        """Begin with a run: no line is carried from the run before."""
        self._always = always
        self._said: Counter[int] = Counter()

    def log_event(self, event: LogEvent, /, **fields: object) -> None:
        """Log an event, unless this is a replay or the process logged this very line before."""
        said = {**self._always, **fields}
        facts = sorted((name, repr(said[name])) for name in said.keys() - _VARYING)
        content = hash((event, *facts))  # of this process alone, as the mark is
        self._said[content] += 1
        mark = hash((workflow.info().run_id, content, self._said[content]))
        log_event(workflow.logger, event, **{**said, MARK: mark})
