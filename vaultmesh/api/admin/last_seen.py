"""Keeps the list of jobs that was read last, to be shown while the store does not answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vaultmesh.api.admin.job_rows import JobRow


@dataclass(slots=True)
class LastSeen:
    """What one process saw last."""

    rows: Sequence[JobRow] = ()
    at: datetime | None = None
    """None before the first list."""

    def keep(self, rows: Sequence[JobRow], at: datetime) -> None:
        """Keep a list in place of the one before."""
        self.rows, self.at = tuple(rows), at
