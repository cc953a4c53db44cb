"""Names what a job store and the workflows of jobs refuse or fail at.

DomainError
├── NotTold           a job's workflow could not be told in time
├── AlreadyRunning    a run of the job is under way
├── JobRefused        a rule says no: asking again changes nothing until somebody acts on the message
│   ├── UnknownJob    there is no job of this name
│   ├── DeletedJob    an administrator deleted it, and nobody has allowed it since
│   └── ForeignName   the name belongs to another service
└── StoreError        the database failed or refused; `kind` says whether waiting helps
"""

from enum import StrEnum

from vaultmesh.domain.errors import DomainError


class NotTold(DomainError):
    """A workflow could not be told within its time; what was decided stands in the store."""


class AlreadyRunning(DomainError):
    """A run of the job is under way."""


class JobRefused(DomainError):
    """A rule of the job store says no; the message says who can change that."""


class UnknownJob(JobRefused):
    """There is no job of this name."""


class DeletedJob(JobRefused):
    """An administrator deleted the job; it stays deleted until one allows it."""


class ForeignName(JobRefused):
    """The name belongs to the service that registered it first."""


class StoreErrorKind(StrEnum):
    """Why the database did not do it."""

    DOWN = "down"
    """Away, locked, full, or too slow: the same again later may work."""
    DENIED = "denied"
    """Its user lacks a right."""
    SCHEMA = "schema"
    """Its tables have another form than they need."""
    SETTING = "setting"
    """What names the database can't be used as it is: its form, user, password or database."""
    VALUE = "value"
    """It does not take this value."""


class StoreError(DomainError):
    """The job store could not do it; the message holds no secret and says how to mend it."""

    def __init__(self, message: str, kind: StoreErrorKind) -> None:
        """Say what failed, and of which kind it is."""
        super().__init__(message)
        self.kind = kind

    @property
    def may_pass(self) -> bool:
        """Whether the same again later may work, without anybody's doing."""
        return self.kind is StoreErrorKind.DOWN

    @property
    def may_be_mended(self) -> bool:
        """Whether the same again may work later: by itself, or after somebody mended a setting or a right."""
        return self.kind in {StoreErrorKind.DOWN, StoreErrorKind.SETTING, StoreErrorKind.DENIED}
