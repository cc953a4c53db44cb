"""Names the activities that workflows call: name, input and result, and nothing of how it is done."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from vaultmesh.domain import messages
from vaultmesh.domain.aggregator import ledger_messages
from vaultmesh.domain.aggregator import messages as steps
from vaultmesh.domain.jobs import messages as jobs

TakesT = TypeVar("TakesT")
GivesT = TypeVar("GivesT")


@dataclass(frozen=True, slots=True)
class Port(Generic[TakesT, GivesT]):
    """A typed name of an activity; `activities.registry` builds the adapter behind it."""

    name: str
    takes: type[TakesT]
    gives: type[GivesT]


ANCHOR = Port("anchor", messages.AnchorAsk, messages.AnchorOutcome)
ASK_AGAIN = Port("ask_again", messages.AnchorAsk, messages.Nothing)
WITHDRAW = Port("withdraw", messages.AnchorAsk, messages.Nothing)

RECOVER = Port("recover", steps.Recover, steps.Recovered)
SEAL = Port("seal", steps.Seal, steps.Sealed)
RESERVE = Port("reserve", steps.Reserve, steps.Reserved)
SIGN = Port("sign", steps.Sign, steps.Signed)
BROADCAST = Port("broadcast", steps.Broadcast, ledger_messages.Broadcasted)
BUMP = Port("bump", steps.Bump, ledger_messages.Bumped)
FILL = Port("fill", steps.Fill, steps.Filled)
OBSERVE = Port("observe", steps.Observe, steps.Observed)
RECORD = Port("record", steps.Record, steps.Recorded)
RESOLVE = Port("resolve", steps.Resolve, steps.Resolution)
ANSWER = Port("answer", messages.Answer, messages.Nothing)
REPORT_FAILURE = Port("report_failure", messages.ReportFailure, messages.Nothing)

RUN_JOB = Port("run_job", jobs.RunOrder, jobs.RunEnd)
RUN_TASK = Port("run_task", jobs.RunOrder, jobs.RunEnd)
CLOSE_RUN = Port("close_run", jobs.CloseOrder, jobs.Written)
RECORD_DECISION = Port("record_decision", jobs.DecisionOrder, jobs.Recorded)

EVERY = (
    ANCHOR, ASK_AGAIN, WITHDRAW,
    RECOVER, SEAL, RESERVE, SIGN, BROADCAST, BUMP, FILL, OBSERVE, RECORD, RESOLVE, ANSWER, REPORT_FAILURE,
    RUN_JOB, RUN_TASK, CLOSE_RUN, RECORD_DECISION,
)  # fmt: skip
