"""Chooses how long a workflow task waits for the worker that keeps its workflow in memory.

1. Short is good after a kill: what the dead worker had in memory goes to another one only after this time.
2. Too short is bad in a burst: a task that waits its turn expires, and whoever takes it replays the whole history.

Measured on two cores: of 1,000 namespaces due in the same instant the last task waits 5.5 s for its turn. With 2 and 5 s
2,600 tasks expired in two such bursts, with 10 s none; about 170 tasks are done in a second. A job takes two tasks for each run.
"""

from datetime import timedelta

FEW = 200
"""As many namespaces as are served within a second and a half when all are due in the same instant."""
TASKS_OF_A_JOB = 2
"""Of each run: one orders it, one learns of its end."""
SHORT = timedelta(seconds=2)
LONG = timedelta(seconds=10)


def sticky_timeout(namespaces: int, jobs: int) -> timedelta:
    """Return the time-out for a worker that serves so many namespaces and jobs."""
    return SHORT if namespaces + TASKS_OF_A_JOB * jobs <= FEW else LONG
