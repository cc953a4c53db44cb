"""Lets a worker's workflows notice within seconds that another worker died: tests kill dozens, and wait each time.

What holds in production is held by `tests/workflows/test_options.py`, and tried by storms and restores.
"""

from datetime import timedelta

from workflows import options

DEAD_WITHIN = timedelta(seconds=4)
"""Two beats: an attempt that a busy machine holds up longer is only made once more."""


def notice_the_dead_soon() -> None:
    """Shorten the heartbeat time-out of every activity that this process orders."""
    for value in vars(options).values():
        if isinstance(value, dict) and "heartbeat_timeout" in value:
            value["heartbeat_timeout"] = DEAD_WITHIN
