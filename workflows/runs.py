"""Decides when a workflow's run has grown enough to continue as a new one."""

from temporalio import workflow

MOST_HISTORY_BYTES = 10_000_000
"""A history is read whole at every replay; a server warns at 10 MB and ends a workflow at 50 MB."""


def has_grown(continue_after_events: int) -> bool:
    """Whether the run is to be left: the server says so, or its history has as many events or `MOST_HISTORY_BYTES`."""
    info = workflow.info()
    return (
        info.is_continue_as_new_suggested()
        or info.get_current_history_length() >= continue_after_events
        or info.get_current_history_size() >= MOST_HISTORY_BYTES
    )
