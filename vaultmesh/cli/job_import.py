"""Adds `jobs import`: takes jobs, their history and their counters from another store, or registrations from a file.

1. It can be repeated: what is here already stays as it is.
2. What can't be taken is told with its reason and mend, and keeps nothing else from being taken; the exit code is 1 then.
3. `--check` changes nothing, here or there, and says what would be taken and what would run.
"""

import argparse
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue
from pydantic_core import from_json

from vaultmesh.cli import import_report, job_orders, output, temporal
from vaultmesh.cli.import_report import Checked
from vaultmesh.cli.progress import Counter
from vaultmesh.domain.errors import ConfigurationError, InvalidDocument, InvalidValue, described
from vaultmesh.domain.jobs import decisions as rules
from vaultmesh.domain.jobs.decisions import Action, Job
from vaultmesh.domain.jobs.importing import (
    Fate,
    ImportedJob,
    NotTaken,
    SourceJob,
    read_run,
    told_of_job,
    told_of_registration,
    works_on,
)
from vaultmesh.domain.jobs.job import JobDefinition, read_registration
from vaultmesh.domain.jobs.records import AuditLine, Change
from vaultmesh.domain.jobs.refusals import JobRefused, StoreError, StoreErrorKind
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.logs import register_url
from vaultmesh.process.services import Services
from vaultmesh.process.yaml_source import parse_yaml

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore
    from vaultmesh.storage.jobs.source import Source, Unreadable

LARGEST_FILE = 16_000_000
"""Bytes of a file of registrations; ten thousand jobs take less."""
MOST_TOLD = 1_000
"""Refusals that JSON lists; standard error has a line for each."""
SETTING = "the URL of the import"
_SQLITE_URL = "sqlite:///"
_SQLITE_FILE = b"SQLite format 3\x00"
_SLIP_OF_URL = re.compile(r"\s*postgres|.*password\s*=|.*:.*@", re.IGNORECASE | re.DOTALL)
"""What is no URL, but meant as an address of a database: it may hold a password, so it is repeated nowhere."""


@dataclass(slots=True)
class Outcome:
    """What came of an import so far."""

    jobs: list[ImportedJob] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    runs_taken: int = 0
    runs_there: int = 0
    refused: int = 0
    """Jobs and runs."""
    refusals: list[tuple[str, str]] = field(default_factory=list)
    """What was refused, and why; the first of them."""

    def refuse(self, what: str, reason: str) -> None:
        """Tell that something can't be taken."""
        output.warn([f"{output.visible(what)}: not taken: {output.visible(reason)}"])
        self.refused += 1
        if len(self.refusals) < MOST_TOLD:
            self.refusals.append((what, reason))

    def add(self, job: ImportedJob) -> None:
        """Tell what became of a job."""
        self.jobs.append(job)
        if job.fate is Fate.REFUSED:
            self.refuse(job.name, job.reason)
        output.warn(f"{output.visible(job.name)}: {line}" for line in job.warnings)


def add_parser(actions: output.Subparsers) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "import",
        help="take jobs and their history from another store, or registrations from a file",
        description="Take jobs, their history and their counters from a PostgreSQL of the scheduler before, or from a store of "
        "this one; or register what a file lists. It can be repeated. Exit code 1 if something can't be taken.",
        epilog="example: python starter.py jobs import postgresql://user:password@host:5432/database --check",
    )
    parser.add_argument(
        "source",
        metavar="URL|FILE",
        help="postgresql://…, sqlite:///PATH, a file of SQLite, or a JSON or YAML file of registrations",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; say what would be taken and run"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> int:
    """Import, or say what an import would do."""
    return temporal.run(_import(arguments))


async def _import(arguments: argparse.Namespace) -> int:
    services = Services.from_environment(os.environ)
    with _settings_told(), _opened(arguments.source) as source:
        if source is None:
            return await _from_file(arguments, services)
        source.require_jobs()
        with _here() as here:
            is_same = here is not None and source.is_same(here)
            if arguments.check:
                return _check(arguments, source, source if is_same else here, services)
        if is_same:
            output.note(
                f"{source.place} is the job store itself: there is nothing to copy, its jobs are taken over as they are; "
                "--check tells how they would run"
            )
            if arguments.json:
                output.print_json(_document(Outcome(), source.place, is_store_itself=True))
            return output.SUCCESS
        return await _copy(arguments, source, services)


@contextmanager
def _settings_told() -> Iterator[None]:
    """Tell what names a database and can't be used as bad configuration."""
    try:
        yield
    except StoreError as error:
        if error.kind is StoreErrorKind.SETTING:
            raise ConfigurationError([str(error)]) from error
        raise


@contextmanager
def _opened(text: str) -> Iterator["Source | None"]:
    """Open the store that is imported from; None if it is a file of registrations."""
    from vaultmesh.storage.jobs.source import Source  # noqa: PLC0415 - loads SQLAlchemy

    if _is_url(text):
        register_url(text)
        source = Source.at_url(text, SETTING)
    else:
        path = Path(text.removeprefix(_SQLITE_URL))
        beginning = _beginning(path)
        if beginning != _SQLITE_FILE:
            if text.startswith(_SQLITE_URL):
                message = f"{path} is no file of SQLite - name the file of a job store, such as ops/data/jobs.db"
                raise ConfigurationError([message])
            yield None
            return
        source = Source.at_file(path, SETTING)
    with closing(source):
        yield source


def _is_url(text: str) -> bool:
    """Whether a source is meant as an address of a database, well written or not."""
    if text.startswith(_SQLITE_URL):
        return False
    return "://" in text or bool(_SLIP_OF_URL.match(text) and not os.path.lexists(text))


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE_FILE))
    except OSError as error:
        message = f"{path}: can't be read: {error.strerror} - name a URL, or a file of jobs"
        raise ConfigurationError([message]) from error


@contextmanager
def _here() -> Iterator["Source | None"]:
    """Open the store that the environment names for reading alone; None if it is a file that is not there yet."""
    from vaultmesh.storage.jobs.core import choose  # noqa: PLC0415 - loads SQLAlchemy
    from vaultmesh.storage.jobs.database import Database  # noqa: PLC0415
    from vaultmesh.storage.jobs.source import Source  # noqa: PLC0415

    root = output.settings_with_root().root
    settings = JobSettings.from_environment(os.environ)
    url = settings.database_url
    place = choose(
        None if url is None else url.get_secret_value(), root, supabase=settings.is_supabase
    )
    if not (place.is_postgres or Path(str(place.url.database)).exists()):
        yield None
        return
    with closing(Source(Database(place))) as here:
        yield here


# --- from another store --------------------------------------------------------------------------------------------


def _check(
    arguments: argparse.Namespace, source: "Source", here: "Source | None", services: Services
) -> int:
    now = datetime.now(UTC)
    jobs, unreadable = _parted(source.jobs())
    known = {job.name: job.job for job in jobs} if here is source else _jobs_here(here)
    problem = _service_problem(services)
    reports = [
        told_of_job(job, known.get(job.name, Job(job.name)), now, problem)
        for job in jobs
        if job.row is not None
    ]
    reports += [
        ImportedJob(name=job.name, fate=Fate.REFUSED, reason=job.reason) for job in unreadable
    ]
    begun = [job.tally.newest_of_other for job in jobs if job.tally.newest_of_other is not None]
    checked = Checked(
        source=source.place,
        is_store_itself=here is source,
        jobs=tuple(sorted(reports, key=lambda job: job.name)),
        deleted=tuple(job.name for job in jobs if job.row is None),
        runs=source.count_runs(),
        running=sum(tally.running for tally in source.tallies().values()),
        counted_by_trigger=source.counting_trigger(),
        other_works=any(works_on(job, now) for job in jobs),
        other_began_at=max(begun, default=None),
    )
    import_report.show(checked, now, as_json=arguments.json)
    is_refused = any(job.fate is Fate.REFUSED for job in reports)
    return output.FAILURE if is_refused else output.SUCCESS


def _parted(
    jobs: Sequence["SourceJob | Unreadable"],
) -> tuple[list[SourceJob], list["Unreadable"]]:
    readable = [job for job in jobs if isinstance(job, SourceJob)]
    return readable, [job for job in jobs if not isinstance(job, SourceJob)]


def _jobs_here(here: "Source | None") -> dict[str, Job]:
    if here is None:
        return {}
    readable, _ = _parted(here.jobs())
    return {job.name: job.job for job in readable}


def _service_problem(services: Services) -> "import_report.ServiceProblem":
    def problem(service: str) -> str:
        try:
            services.find(service)
        except InvalidValue as error:
            return str(error)
        return ""

    return problem


async def _copy(arguments: argparse.Namespace, source: "Source", services: Services) -> int:
    """Take the runs first: a job that is here has its whole history, and its counters."""
    jobs, unreadable = _parted(source.jobs())
    outcome = Outcome()
    async with job_orders.opened() as store:
        await _copy_runs(store, source, outcome)
        for row in unreadable:
            outcome.add(ImportedJob(name=row.name, fate=Fate.REFUSED, reason=row.reason))
        problem = _service_problem(services)
        for job in jobs:
            await _copy_job(store, job, source.place, outcome, problem)
        now = datetime.now(UTC)
        working = [job for job in jobs if works_on(job, now)]
        output.warn(import_report.still_works(working))
        return await _finish(store, arguments, outcome, source.place)


async def _copy_runs(store: "JobStore", source: "Source", outcome: Outcome) -> None:
    now = datetime.now(UTC)
    line = AuditLine(
        at=now,
        actor=job_orders.operator().name,
        action=Action.IMPORT,
        job_name="",
        detail={"from": source.place},
    )
    with Counter("runs", source.count_runs()) as counter:
        for page in source.run_pages():
            readable = []
            for values in page:
                try:
                    readable.append(read_run(values, now))
                except NotTaken as refusal:
                    counter.clear()
                    outcome.refuse(f"run {values['id']} of {values['job_name']}", str(refusal))
            if readable:
                result = await store.take_runs(readable, line)
                outcome.runs_taken += result.taken
                outcome.runs_there += result.there
                for run, reason in result.refused:
                    counter.clear()
                    outcome.refuse(f"run {run}", reason)
            counter.advance(len(page))


async def _copy_job(
    store: "JobStore",
    job: SourceJob,
    place: str,
    outcome: Outcome,
    problem: "import_report.ServiceProblem",
) -> None:
    now = datetime.now(UTC)
    report = told_of_job(job, Job(job.name), now, problem)
    try:
        change = await store.take_job(job, job_orders.operator(), now, {"from": place})
    except JobRefused as refusal:
        report = report.model_copy(update={"fate": Fate.REFUSED, "reason": str(refusal)})
    except StoreError as error:
        if error.kind is not StoreErrorKind.VALUE:
            raise
        report = report.model_copy(update={"fate": Fate.REFUSED, "reason": str(error)})
    else:
        outcome.changes.append(change)
        fate = Fate.TAKEN if change.changed else Fate.UNCHANGED
        report = report.model_copy(update={"fate": fate, "reason": ""})
    if job.row is not None or report.fate is Fate.REFUSED:
        outcome.add(report)


# --- from a file ---------------------------------------------------------------------------------------------------


async def _from_file(arguments: argparse.Namespace, services: Services) -> int:
    path, outcome = Path(arguments.source), Outcome()
    definitions = []
    for number, entry in enumerate(_entries(path), start=1):
        try:
            definitions.append(read_registration(entry))
        except InvalidDocument as error:
            name = entry.get("name") if isinstance(entry, dict) else None
            reason = "; ".join(map(str, error.problems))
            called = name if isinstance(name, str) else f"entry {number}"
            outcome.add(ImportedJob(name=called, fate=Fate.REFUSED, reason=reason))
    problem = _service_problem(services)
    if arguments.check:
        return _check_file(arguments, definitions, outcome, problem)
    async with job_orders.opened() as store:
        for definition in definitions:
            fate, reason = Fate.TAKEN, ""
            now = datetime.now(UTC)
            try:
                change = await store.register(definition, job_orders.operator(), now)
            except JobRefused as refusal:
                fate, reason = Fate.REFUSED, str(refusal)
            else:
                outcome.changes.append(change)
                definition = change.now.definition or definition  # noqa: PLW2901 - as it stands now
                fate = Fate.TAKEN if change.changed else Fate.UNCHANGED
            service = problem(definition.service)
            outcome.add(told_of_registration(definition, fate, reason, now, service))
        return await _finish(store, arguments, outcome, str(path))


def _entries(path: Path) -> list[JsonValue]:
    """Return the registrations that a file lists; one alone is a list of one.

    A file of JSON that is broken is not read as YAML: there fractions are texts, and handlers would get those.
    """
    data = job_orders.read_bounded(
        path, LARGEST_FILE, "name a file of registrations, or split it into several"
    )
    try:
        document: JsonValue = from_json(data.removeprefix(BOM_UTF8), allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        if path.suffix.lower() == ".json":
            message = f"{path}: is not JSON ({error}) - write a list of registrations, or one registration"
            raise ConfigurationError([message]) from error
        document = parse_yaml(path, data).document  # type: ignore[assignment]
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        return [document]
    message = (
        f"{path}: holds {described(document)} - write a list of registrations, or one registration"
    )
    raise ConfigurationError([message])


def _check_file(
    arguments: argparse.Namespace,
    definitions: Sequence[JobDefinition],
    outcome: Outcome,
    problem: "import_report.ServiceProblem",
) -> int:
    now = datetime.now(UTC)
    with _here() as here:
        known = _jobs_here(here)
    reports = list(outcome.jobs)
    for definition in definitions:
        before = known.get(definition.name, Job(definition.name))
        reports.append(_told_before(before, definition, now, problem(definition.service)))
    checked = Checked(source=arguments.source, jobs=tuple(reports))
    import_report.show(checked, now, as_json=arguments.json)
    is_refused = any(job.fate is Fate.REFUSED for job in reports)
    return output.FAILURE if is_refused else output.SUCCESS


def _told_before(
    before: Job, definition: JobDefinition, now: datetime, service_problem: str
) -> ImportedJob:
    """Return what registering a job would come to."""
    try:
        after = rules.registered(before, definition, now)
    except JobRefused as refusal:
        return told_of_registration(definition, Fate.REFUSED, str(refusal), now, service_problem)
    fate = Fate.UNCHANGED if after == before else Fate.TAKEN
    stored = after.stored()
    stands = stored.definition if stored is not None else None
    report = told_of_registration(stands or definition, fate, "", now, service_problem)
    differing = tuple(rules.changes(before, after)) if before.row is not None else ()
    return report.model_copy(update={"differences": differing})


# --- the end -------------------------------------------------------------------------------------------------------


async def _finish(
    store: "JobStore", arguments: argparse.Namespace, outcome: Outcome, source: str
) -> int:
    """Tell the workflows, and say what was taken."""
    changed = [change for change in outcome.changes if change.changed]
    silences = await job_orders.tell(store, changed)
    if arguments.json:
        output.print_json({**_document(outcome, source), "untold": list(silences)})
    else:
        for line in import_report.taken_lines(outcome.jobs, datetime.now(UTC)):
            output.print_line(line)
        fates = [job.fate for job in outcome.jobs]
        print(
            f"taken: {fates.count(Fate.TAKEN)} jobs, {outcome.runs_taken} runs; here already: "
            f"{fates.count(Fate.UNCHANGED)} jobs, {outcome.runs_there} runs; refused: {outcome.refused}"
        )
    job_orders.warn_of_silence(silences)
    return output.FAILURE if outcome.refused else output.SUCCESS


def _document(
    outcome: Outcome, source: str, *, is_store_itself: bool = False
) -> dict[str, JsonValue]:
    """Return what programs read of an import."""
    return {
        "source": source,
        "isStoreItself": is_store_itself,
        "jobs": [job.model_dump(mode="json", by_alias=True) for job in outcome.jobs],
        "runs": {"taken": outcome.runs_taken, "there": outcome.runs_there},
        "refused": [{"what": what, "reason": reason} for what, reason in outcome.refusals],
        "refusedTotal": outcome.refused,
        "untold": [],
    }
