"""Shows what an import of jobs would do, and what it did, to people and programs."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from vaultmesh.cli import output
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.importing import Fate, ImportedJob, SourceJob
from vaultmesh.domain.jobs.job import IsoTime
from vaultmesh.overview.words import at, due

ServiceProblem: TypeAlias = Callable[[str], str]
"""Why a service can't be called from here, by its name; empty if it can."""


class Checked(BaseModel):
    """What an import would do, and what it would meet."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel)

    source: str
    is_store_itself: bool = False
    """Whether it is the job store itself, which is taken over and not copied."""
    jobs: tuple[ImportedJob, ...] = ()
    deleted: tuple[str, ...] = ()
    """Jobs that somebody deleted there."""
    runs: int = 0
    running: int = 0
    """Rows that still say `running`."""
    counted_by_trigger: bool = False
    """Whether a trigger of that database counts runs."""
    other_works: bool = False
    """Whether another scheduler still begins runs there."""
    other_began_at: IsoTime | None = None
    """When it began one last."""


def show(checked: Checked, now: datetime, *, as_json: bool) -> None:
    """Print what an import would do."""
    if as_json:
        output.print_json(checked.model_dump(mode="json", by_alias=True))
        return
    for job in checked.jobs:
        for line in _job_lines(job, now):
            output.print_line(line)
    for line in _store_lines(checked):
        output.print_line(line)


def _job_lines(job: ImportedJob, now: datetime) -> Iterator[str]:
    other = job.other_began_at
    groups = {
        "reason": [job.reason],
        "cron": [job.cron_expression],
        "calls": [f"{job.service} {job.endpoint}".strip()],
        "runs": [f"{at(slot)} UTC ({due(slot, now)})" for slot in job.next_runs],
        "does not run": job.why_idle,
        "differs in": [", ".join(job.differences)],
        "ran so far": [str(job.total_runs or "")],
        "warning": job.warnings,
        "another scheduler began a run": ["" if other is None else f"{at(other)} UTC"],
    }
    yield f"{job.name}: {_FATES[job.fate]}"
    for label, lines in groups.items():
        yield from (f"  {label}: {line}" for line in lines if line)


_FATES = {
    Fate.TAKEN: "would be taken",
    Fate.UNCHANGED: "is here already",
    Fate.REFUSED: "can't be taken",
}


def _store_lines(checked: Checked) -> Iterator[str]:
    if checked.is_store_itself:
        yield f"{checked.source} is the job store itself: nothing is copied, its jobs are taken over as they are"
    if checked.deleted:
        yield f"deleted there: {', '.join(checked.deleted)}"
    if checked.runs:
        yield f"runs: {checked.runs}"
    if checked.running:
        yield f"rows that still say running: {checked.running}"
    if checked.counted_by_trigger:
        yield "a trigger on scheduled_jobs counts runs there"
    if checked.other_began_at is None:
        return
    began = write_seconds(checked.other_began_at)
    if checked.other_works:
        yield f"another scheduler still works there: it began a run {began}"
    else:
        yield f"no other scheduler works there any more: the last run of one began {began}"


def still_works(jobs: Sequence[SourceJob]) -> list[str]:
    """Return the warning that runs go on being made where they were taken from."""
    begun = [job.tally.newest_of_other for job in jobs if job.tally.newest_of_other is not None]
    if not begun:
        return []
    began = write_seconds(max(begun))
    line = (
        f"another scheduler may still work there: it began a run {began} - stop it, then import again, "
        "before workers run these jobs here"
    )
    return [line]


def taken_lines(jobs: Sequence[ImportedJob], now: datetime) -> Iterator[str]:
    """Return what became of each job, a line each; what was refused was told already."""
    for job in jobs:
        if job.fate is Fate.REFUSED:
            continue
        why = "; ".join(job.why_idle)
        if not why:
            why = f"next run {at(job.next_runs[0])} UTC ({due(job.next_runs[0], now)})"
        yield f"{job.name}: {job.fate}; {why}"
