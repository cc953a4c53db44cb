"""Says what operators may send to a workflow, as the Web UI and `temporal workflow metadata` show it.

Messages that only the product itself sends are left out: nobody should pick one from a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vaultmesh.domain.names import (
    BUMP_FEE,
    FORCE_ANCHOR,
    PAUSE,
    RESOLVE,
    RESUME,
    SET_CADENCE,
    STATUS,
    STOP,
    TRIGGER,
)


@dataclass(frozen=True, slots=True)
class MessageGuide:
    """What each message does and what it takes, by name."""

    signals: Mapping[str, str]
    updates: Mapping[str, str]
    queries: Mapping[str, str]


_VERBS: Mapping[str, str] = {
    PAUSE: "Start no new slot. Takes nothing (every cadence), a reason, "
    'or {"cadence": "fast", "reason": "fees"}.',
    RESUME: 'Start slots again. Takes nothing (every cadence), a cadence, or {"cadence": "fast"}.',
    FORCE_ANCHOR: "Anchor now whatever is owed. Takes nothing (every cadence), a cadence, "
    'or {"cadence": "fast", "reason": "audit"}.',
    SET_CADENCE: "Change cadences. Takes a governance payload: "
    '{"namespace": "dao:example", "cadence": {"fast": {"target": "eip155:8453", "every": "89s"}}}.',
}
OF_NAMESPACES = MessageGuide(
    signals=_VERBS,
    updates={
        **{name: f"{text} Answers with the new state." for name, text in _VERBS.items()},
        STOP: "Drain and end, as `starter.py unregister` does; only that command also keeps workers from starting it again.",
    },
    queries={STATUS: "State of the namespace: cadences, what is in flight, last anchors."},
)
OF_AGGREGATORS = MessageGuide(
    signals={
        PAUSE: "Seal no new round; open rounds go on, requests wait. Takes nothing, "
        'a reason, or {"reason": "maintenance"}.',
        RESUME: "Seal rounds again. Takes nothing.",
        BUMP_FEE: "Bid more for the lowest round that is in no block. Takes nothing.",
    },
    updates={
        BUMP_FEE: "Bid more for the lowest round that is in no block, and answer with the state. Takes nothing.",
        RESOLVE: "Decide about a round where evidence can't (docs/operations.md). Takes one of "
        '{"lost": "ROUND"}, {"adopt": ["ROUND", "TXHASH"]}, {"forget": "ROUND"}, {"fill": true}, and "by".',
    },
    queries={STATUS: "State of the target: open rounds, why it is held, who waits."},
)
OF_JOBS = MessageGuide(
    signals={
        PAUSE: 'Let no slot run. Takes nothing, a reason, or {"reason": "maintenance of the mail server"}.',
        RESUME: "Let slots run again. Takes nothing.",
        TRIGGER: 'Run the job now. Takes nothing, or {"user": "who asks"}.',
    },
    updates={
        TRIGGER: "Run the job now; refused while a run is under way. Takes nothing, or "
        '{"user": "who asks", "run_id": "a UUID"}. Answers with the state.',
    },
    queries={STATUS: "State of the job: next slot, run under way, last run, counts of slots."},
)
