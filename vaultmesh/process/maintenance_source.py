"""Keeps maintenance.yaml as it is now: read anew whenever it changed; one that is refused leaves what it said before.

1. A file that is gone counts as refused. While the root's own file is gone, the repository's does not stand in for it.
2. The repository's file stands in only where DATABASE_URL is set; else there are no tasks.
"""

import os
import threading
from collections.abc import Collection, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.tasks import MOST_ATTEMPTS, TaskSchedule
from vaultmesh.domain.maintenance.config import Kind, MaintenanceConfig, Task
from vaultmesh.domain.paths import CONFIG_FOLDER, MAINTENANCE_FILE
from vaultmesh.process.config_files import load_maintenance, maintenance_path
from vaultmesh.process.logs import register_url
from vaultmesh.process.settings import REPOSITORY, Settings
from vaultmesh.process.yaml_source import read_bytes

DATABASE_VARIABLE = "DATABASE_URL"
CATCH_UP = timedelta(seconds=60)
"""How old a slot of a task may be that still runs, as of a job that says nothing else."""
_VERSION_LENGTH = 12
_SECOND = timedelta(seconds=1)


class MaintenanceSource:
    """maintenance.yaml of one process; any thread may ask."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        """Read the file that the settings name, at the first `look`."""
        self._settings = settings
        self._environment = os.environ if environment is None else environment
        self._lock = threading.Lock()
        self._place = maintenance_path(settings)
        self._seen: bytes | None = None
        self._config: MaintenanceConfig | None = None
        self._refused = ""

    @property
    def place(self) -> Path:
        """Where the file lies."""
        return self._place

    @property
    def refused(self) -> str:
        """Why the file is not in use as it is now; empty if it is."""
        return self._refused

    @property
    def is_stand_in(self) -> bool:
        """Whether the repository's own file is in use because a root elsewhere has none: nobody chose its tasks."""
        shipped = REPOSITORY / CONFIG_FOLDER / MAINTENANCE_FILE
        elsewhere = self._settings.root.resolve() != REPOSITORY.resolve()
        return self._settings.maintenance is None and elsewhere and self._place == shipped

    def look(self) -> MaintenanceConfig | None:
        """Return what is configured: of a refused file what it said before; None where there is nothing. Blocks."""
        with self._lock:
            try:
                self._read()
            except (ConfigurationError, OSError) as error:
                self._refused = str(error)
            else:
                self._refused = ""
            return self._config

    def schedules(self) -> Mapping[str, TaskSchedule]:
        """Return when each task runs, by its name; raises nothing, as `look`. Blocks."""
        config = self.look()
        return {} if config is None else schedules_of(config)

    def _read(self) -> None:
        place = maintenance_path(self._settings)
        if place.is_relative_to(self._settings.root / CONFIG_FOLDER):
            self._place = place
        if self._has_no_database():
            return
        content = read_bytes(self._place)
        if content == self._seen and not self._refused:
            return
        self._seen = content
        config = load_maintenance(self._place, self._environment)
        if config.database is not None:
            register_url(config.database.get_secret_value())
        self._config = config

    def _has_no_database(self) -> bool:
        """Whether the file that we ship has nothing to work on: nobody asked for maintenance here."""
        shipped = REPOSITORY / CONFIG_FOLDER / MAINTENANCE_FILE
        nobody_named_it = self._settings.maintenance is None and self._place == shipped
        return nobody_named_it and not self._environment.get(DATABASE_VARIABLE)


def check_maintenance(settings: Settings, roles: Collection[str], _: object = None) -> None:
    """Look at the file before any work is taken, where it concerns one of the roles of a process.

    Raises:
        ConfigurationError: with everything that is wrong in it.
    """
    if "jobs" not in roles:
        return
    source = MaintenanceSource(settings)
    source.look()
    if source.refused:
        raise ConfigurationError(source.refused.splitlines())


def schedules_of(config: MaintenanceConfig) -> dict[str, TaskSchedule]:
    """Return when each task of a file runs, by its name."""
    return {named.name: _schedule_of(named.task) for named in config.tasks}


def _schedule_of(task: Task) -> TaskSchedule:
    return TaskSchedule(
        kind=str(task.kind),
        cron=task.cron,
        enabled=task.enabled,
        timeout_seconds=-(-task.deadline // _SECOND),
        catch_up_seconds=CATCH_UP // _SECOND,
        attempts=1 if task.kind is Kind.CALL else MOST_ATTEMPTS,
        version=sha256(repr(task).encode()).hexdigest()[:_VERSION_LENGTH],
    )
