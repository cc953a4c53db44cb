"""Reads what the roles `jobs` and `api` are told by the environment about the store of jobs and their runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic import ValidationError as Invalid

from vaultmesh.domain.errors import ConfigurationError, problems_of
from vaultmesh.domain.setting_values import Count
from vaultmesh.process.logs import register_secret, register_url

KEEP_DAYS = 400
"""In a store that we made."""
DRAIN_SECONDS = 310
"""A call may last for 300 s unless its job says otherwise."""
NOT_NEEDED: Mapping[str, str] = {
    "NODE_ENV": "it changes nothing here - remove it",
    "SUPABASE_SERVICE_KEY": "the store of jobs is reached by JOBS_DATABASE_URL - remove it",
}
"""Variables of the scheduler before us, and why they are not needed."""


class _Variables(BaseModel):
    """The variables, by their names in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    jobs_database_url: SecretStr | None = None
    supabase_url: str | None = None
    jobs_keep_days: Annotated[Count, Field(le=100_000)] | None = None
    jobs_drain: Annotated[Count, Field(le=86_400)] = DRAIN_SECONDS


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Where jobs are kept, for how long, and how long their runs may end; an empty variable counts as unset."""

    database_url: SecretStr | None = None
    """`JOBS_DATABASE_URL`: of PostgreSQL, `sqlite`, or none for a file below VMSH_ROOT."""
    is_supabase: bool = False
    """Whether `SUPABASE_URL` is set: then an empty store has to be asked for."""
    keep_days: int | None = None
    """`JOBS_KEEP_DAYS`: 0 keeps all."""
    drain: timedelta = timedelta(seconds=DRAIN_SECONDS)
    """`JOBS_DRAIN`: after SIGTERM, runs under way get so long to end."""
    warnings: tuple[str, ...] = ()
    """One line each; nothing that stops a start."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; what is secret in the URL never appears in a log line from then on.

        Raises:
            ConfigurationError: with every variable that has a bad value.
        """
        names = {field.upper(): field for field in _Variables.model_fields}
        stated = {
            field: environment[name] for name, field in names.items() if environment.get(name)
        }
        try:
            read = _Variables.model_validate(stated)
        except Invalid as error:
            raise ConfigurationError(
                f"{str(problem.path[0]).upper()}: {problem.message}"
                for problem in problems_of(error, _Variables)
            ) from None
        if read.jobs_database_url is not None:
            register_url(read.jobs_database_url.get_secret_value())
        register_secret(environment.get("SUPABASE_SERVICE_KEY", ""))
        return cls(
            database_url=read.jobs_database_url,
            is_supabase=bool(read.supabase_url),
            keep_days=read.jobs_keep_days,
            drain=timedelta(seconds=read.jobs_drain),
            warnings=tuple(
                f"{name} is no longer needed: {why}"
                for name, why in NOT_NEEDED.items()
                if environment.get(name)
            ),
        )

    @property
    def stated_url(self) -> str | None:
        """The URL of the store in plain text; None if it is left open."""
        return None if self.database_url is None else self.database_url.get_secret_value()

    def keep(self, *, made_by_us: bool) -> timedelta | None:
        """Return how old runs may get; None keeps all, as in a database that others made unless they say otherwise."""
        days = self.keep_days if self.keep_days is not None else KEEP_DAYS if made_by_us else 0
        return timedelta(days=days) if days else None
