"""How long a workflow task waits for a cached workflow: short after a kill, long in a burst."""

from vaultmesh.process.sticky import FEW, LONG, SHORT, sticky_timeout


def test_few_namespaces_go_on_soon_after_a_kill_and_many_keep_their_cache_in_a_burst() -> None:
    assert [sticky_timeout(count, 0) for count in (0, FEW, FEW + 1)] == [SHORT, SHORT, LONG]


def test_many_jobs_that_are_due_at_once_keep_their_workflows_in_memory() -> None:
    assert [sticky_timeout(0, jobs) for jobs in (10, FEW // 2, FEW // 2 + 1)] == [
        SHORT,
        SHORT,
        LONG,
    ]
    assert sticky_timeout(FEW, 1) == LONG
