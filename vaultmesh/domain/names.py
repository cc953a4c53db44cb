"""Spells every name that others rely on: ids, queues, messages, attributes. Paths are in `vaultmesh.domain.paths`."""

SCHEDULER_QUEUE = "scheduler"
"""Task queue of workflows and `anchor`: needs no keys."""
ANCHORS_QUEUE = "anchors"
"""Task queue of everything the aggregator does: needs keys and the outside ledgers."""
JOBS_QUEUE = "jobs"
"""Task queue of the runs of jobs: needs their store and the services' tokens."""
CONNECTION_QUEUE = "connection"
"""There is never a task on it: who waits for one only sees whether the server goes on."""

NAMESPACE_WORKFLOW = "NamespaceWorkflow"
AGGREGATOR_WORKFLOW = "AggregatorWorkflow"
JOB_WORKFLOW = "JobWorkflow"
EMPTY_STORE = "sqlite"
"""Value of JOBS_DATABASE_URL that asks for the file, also where SUPABASE_URL is set."""
MAINTENANCE_PREFIX = "maintenance:"
"""Begins the names under which maintenance tasks stand among the jobs."""

PAUSE, RESUME, FORCE_ANCHOR, SET_CADENCE = "pause", "resume", "force_anchor", "set_cadence"
CONFIGURE, STOP = "configure", "stop"
TRIGGER = "trigger"
"""Signal and update of a job: run it now."""
NOTE_FAILURE = "note_failure"
"""Signal to a namespace from whoever failed its request: count, kind, message, next retry."""
ENQUEUE, WITHDRAW, BUMP_FEE = "enqueue", "withdraw", "bump_fee"
RELEASE = "release"
"""Signal to an aggregator: requests wait for it no longer, not even for a signed round."""
REOPENED = "reopened"
REWRITE = "rewrite"
HURRY = "hurry"
"""Signal to an aggregator: an operator wants what failed to be tried at once."""
ENDPOINT_BACK = "endpoint_back"
"""Signal to an aggregator: its ledger answers again, or an operator mended what held it."""
STATUS = "status"
RESOLVE = "resolve"
"""Update of an aggregator: an operator decides about a round."""

ATTRIBUTE_NAMESPACE, ATTRIBUTE_STATUS, ATTRIBUTE_TARGET = (
    "VmshNamespace",
    "VmshStatus",
    "VmshTarget",
)
SIGNALS_REJECTED = "signals_rejected"
"""What workflows count by the SDK's meter, which leaves replays out."""
MEMO_STATUS = "status"
"""Memo key of a namespace's workflow: what metrics and health read without a query."""
MEMO_DECIDED = "decided"
"""Memo key of a namespace's workflow: what operators decided, for a run that begins after it was ended."""
MEMO_REVISION = "revision"
"""Memo key of a job's workflow: the highest revision of the job that it heard."""


def namespace_workflow_id(namespace: str) -> str:
    """Return the workflow id of a namespace's workflow."""
    return f"namespace:{namespace}"


def aggregator_workflow_id(target: str) -> str:
    """Return the workflow id of a target's aggregator."""
    return f"aggregator:{target}"


def job_workflow_id(name: str) -> str:
    """Return the workflow id of a job; a maintenance task's name holds its prefix already."""
    return name if name.startswith(MAINTENANCE_PREFIX) else f"job:{name}"
