"""Chooses the database of HTTP cron jobs, and makes it ready as soon as it answers.

1. PostgreSQL by JOBS_DATABASE_URL, else a file below VMSH_ROOT; jobs in another store are never left behind in silence.
2. A setting that can't work, tables of another form and missing rights are refused at once; a database that is away is not.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.names import EMPTY_STORE
from vaultmesh.domain.paths import JOBS_DATABASE
from vaultmesh.storage.jobs.audit import Audit
from vaultmesh.storage.jobs.database import (
    BUSY_SECONDS,
    Database,
    Place,
    file_place,
    postgres_place,
)
from vaultmesh.storage.jobs.figures import Figures
from vaultmesh.storage.jobs.history import History
from vaultmesh.storage.jobs.intake import Intake
from vaultmesh.storage.jobs.jobs import Jobs
from vaultmesh.storage.jobs.rows import KnownJobs
from vaultmesh.storage.jobs.runs import Runs
from vaultmesh.storage.jobs.takeover import Traits, check_host, take_over


@dataclass(frozen=True, slots=True)
class Ready:
    """A database that was made ready, and what reads and writes it."""

    database: Database
    traits: Traits
    jobs: Jobs
    runs: Runs
    history: History
    intake: Intake
    figures: Figures
    audit: Audit


def choose(url: str | None, root: Path, *, supabase: bool) -> Place:
    """Return where the jobs lie.

    Raises:
        StoreError: the setting can't be used; says how to mend it.
    """
    wanted = (url or "").strip()
    if wanted and wanted != EMPTY_STORE:
        return postgres_place(wanted)
    if supabase and not wanted:
        message = (
            "SUPABASE_URL is set and JOBS_DATABASE_URL is not: the jobs in that database would be left behind - set "
            "JOBS_DATABASE_URL to its connection string (postgresql://…, from the project's database settings), or to "
            f"{EMPTY_STORE} to begin with an empty store"
        )
        raise StoreError(message, StoreErrorKind.SETTING)
    return file_place((root / JOBS_DATABASE).absolute())


class StoreCore:
    """One database of jobs; used by the store's threads."""

    def __init__(self, place: Place) -> None:
        """Connect to nothing yet."""
        self.place = place
        self.database = Database(place)
        self._ready: Ready | None = None
        self._turn = threading.Lock()

    @property
    def traits(self) -> Traits | None:
        """What the database turned out to be; None as long as it never answered."""
        return None if self._ready is None else self._ready.traits

    def ready(self) -> Ready:
        """Return what reads and writes; makes the database ready at the first call that reaches it."""
        if self._ready is not None:
            return self._ready
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            why = "it is being made ready"
            raise self.database.failure(why, StoreErrorKind.DOWN)
        try:
            if self._ready is None:
                self._ready = self._make_ready()
            return self._ready
        finally:
            self._turn.release()

    def _make_ready(self) -> Ready:
        database = self.database
        if not self.place.is_postgres:
            path = Path(str(self.place.url.database))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                why = f"its folder can't be made: {error.strerror}"
                raise database.failure(why, StoreErrorKind.DENIED) from error
            check_host(path)
        traits = take_over(database)
        known = KnownJobs()
        figures = Figures(database, known)
        jobs, runs = Jobs(database, known, figures), Runs(database, traits, known, figures)
        history, intake = History(database), Intake(database, traits)
        return Ready(database, traits, jobs, runs, history, intake, figures, Audit(database))

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()
