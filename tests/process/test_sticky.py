"""How long a workflow task waits for a cached workflow: short after a kill, long in a burst."""

from vaultmesh.process.sticky import FEW_NAMESPACES, LONG, SHORT, sticky_timeout


def test_few_namespaces_go_on_soon_after_a_kill_and_many_keep_their_cache_in_a_burst() -> None:
    assert [sticky_timeout(count) for count in (0, FEW_NAMESPACES, FEW_NAMESPACES + 1)] == [
        SHORT,
        SHORT,
        LONG,
    ]
