"""Examines each part of the surroundings for `doctor`. What can't be examined is a line, and no error."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, inspect, select, text
from temporalio.service import RPCError

from activities.anchoring.endpoints import older_transaction
from activities.jobs.order_audit import ANCHORING, LATE
from vaultmesh.cli.diff import differing_from
from vaultmesh.domain.diagnosis import Diagnosis, mended, ok, warning, wrong
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.job import variable_of
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.paths import CONFIG_FOLDER, REMEMBRANCER_DATABASE
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import open_target, settings_model
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import (
    AnchorsFile,
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
    stand_in,
)
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.places import why_not_made
from vaultmesh.process.services import Service, Services
from vaultmesh.process.settings import Settings
from vaultmesh.process.surroundings import STORAGE, storage_lines, temporal_lines
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.job_tables import MARKS, METADATA, SCHEDULES
from vaultmesh.storage.jobs.audit import Audit
from vaultmesh.storage.jobs.core import choose
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.jobs.visibility import check_visible
from vaultmesh.storage.remembrancer import Remembrancer
from vaultmesh.storage.rounds import RoundStore
from vaultmesh.storage.stopped import StoppedNamespaces

CONNECT_SECONDS = 5.0
"""Of a service's port: one that is up takes milliseconds."""
TARGET_SECONDS = 20.0
"""Of one target: none of its questions takes longer than ten."""
_READ_ONLY = text("SHOW transaction_read_only")
_MAKE_ROOM = "let this user write there, or move away what is in the way"
_JOBS, _TARGETS = "jobs", "targets"


async def temporal_part(settings: Settings) -> list[Diagnosis]:
    """Examine Temporal."""
    del settings
    try:
        client = await connect()
    except DomainError as error:
        return [mended("temporal", "server", str(error), "check TEMPORAL_ADDRESS and the server")]
    return await temporal_lines(client)


# --- configuration -----------------------------------------------------------------------------------------------------


async def configuration_part(settings: Settings) -> list[Diagnosis]:
    """Examine the configuration files, and what runs beside them."""
    return [*await _namespaces(settings), *await asyncio.to_thread(_anchors_lines, settings)]


async def _namespaces(settings: Settings) -> list[Diagnosis]:
    """Examine namespaces.yaml; where the repository's own stands in, what runs is none of its business."""
    path = await asyncio.to_thread(namespaces_path, settings)
    try:
        file = await asyncio.to_thread(load_namespaces, path)
    except DomainError as error:
        return _file_lines(path, error)
    lines = [ok(str(path), "file", f"names {len(file.specs)} namespaces")]
    if await asyncio.to_thread(stand_in, settings) is not None:
        detail = f"{settings.root / CONFIG_FOLDER} has no namespaces.yaml, so that this one is read, and nothing of it is started"
        mend = "set VMSH_ROOT or VMSH_NAMESPACES to yours, or write one"
        return [*lines, warning(str(path), "stands in", detail, mend)]
    store = StoppedNamespaces(LocalStore(settings.root))
    try:
        decisions = await asyncio.to_thread(store.look, file.entries)
        drift = await differing_from(file.specs, decisions)
    except (DomainError, RPCError) as error:
        why = error.message if isinstance(error, RPCError) else str(error)
        detail = f"not compared: {why.partition(' - ')[0]}"
        return [*lines, warning(str(path), "drift", detail, "mend Temporal first")]
    if not drift:
        return [*lines, ok(str(path), "drift", "what runs is what the file says")]
    mend = "run `register`, or see `diff`"
    return [*lines, *(warning(str(path), "drift", each.line, mend) for each in drift)]


def _anchors_lines(settings: Settings) -> list[Diagnosis]:
    path = anchors_path(settings)
    try:
        load_anchors(path)
    except DomainError as error:
        return _file_lines(path, error)
    return [ok(str(path), "file", "can be read")]


def _file_lines(path: Path, error: DomainError) -> list[Diagnosis]:
    """Return a line for each problem of a file; each names place and mend already."""
    return [mended(str(path), "file", line, "correct it") for line in str(error).splitlines()]


# --- targets -----------------------------------------------------------------------------------------------------------


async def targets_part(settings: Settings) -> list[Diagnosis]:
    """Examine each target that a namespace names, side by side."""
    try:
        targets, anchors = await asyncio.to_thread(_files, settings)
    except DomainError as error:
        return [mended(_TARGETS, "files", str(error).splitlines()[0], "correct it first")]
    if not targets:
        return [warning(_TARGETS, "files", "no namespace names a target", "add one")]
    lines = await asyncio.gather(*(_in_time(target, anchors, settings) for target in targets))
    return [line for of_target in lines for line in of_target]


def _files(settings: Settings) -> tuple[list[Target], AnchorsFile]:
    specs = load_namespaces(namespaces_path(settings)).specs.values()
    anchors = load_anchors(anchors_path(settings))
    return sorted({each.target for spec in specs for each in spec.cadences.values()}), anchors


async def _in_time(target: Target, anchors: AnchorsFile, settings: Settings) -> list[Diagnosis]:
    """Examine one target; one that hangs takes no line from the others."""
    try:
        async with asyncio.timeout(TARGET_SECONDS):
            return await _target(target, anchors, settings.root)
    except TimeoutError:
        detail = f"not examined within {TARGET_SECONDS:g} s"
        return [wrong(str(target), "answers", detail, "look which of its endpoints or files hangs")]


async def _target(target: Target, anchors: AnchorsFile, root: Path) -> list[Diagnosis]:
    lines = list[Diagnosis]()
    try:
        anchoring = open_target(target, anchors, root)
    except DomainError as error:
        problems = str(error).splitlines()
        lines += [
            mended(str(target), "settings", each, "correct anchors.yaml") for each in problems
        ]
        try:
            anchoring = open_target(target, anchors, root, signing=False)
        except DomainError:
            return lines
    else:
        lines += await asyncio.to_thread(_exposed, target, anchors, root)
    rounds = RoundStore(LocalStore(root), target)
    try:
        older = await asyncio.to_thread(older_transaction, rounds)
        return [*lines, *await anchoring.diagnose(older)]
    except DomainError as error:
        return [*lines, mended(str(target), "rounds", str(error), "see status")]
    finally:
        await anchoring.close()


def _exposed(target: Target, anchors: AnchorsFile, root: Path) -> list[Diagnosis]:
    """Say which secrets of a target others may read."""
    opened = anchors.settings(target, settings_model(target)).opened_files(root)
    parts = (text.partition(" - ") for text in opened.warnings)
    return [warning(str(target), "key file", what, mend) for what, _, mend in parts]


# --- storage and jobs --------------------------------------------------------------------------------------------------


async def storage_part(settings: Settings) -> list[Diagnosis]:
    """Examine the folder of batches and receipts, and the Remembrancer in it."""
    return await asyncio.to_thread(_storage, settings.root)


def _storage(root: Path) -> list[Diagnosis]:
    lines, place = storage_lines(root), root / REMEMBRANCER_DATABASE
    if any(line.check == "writable" for line in lines):
        return lines
    part, check = f"{STORAGE} {place}", "Remembrancer"
    try:
        rows = Remembrancer(place).examine()
    except NetworkFailure as error:
        what, _, mend = str(error).partition("; ")
        return [*lines, wrong(part, check, what, mend)]
    if rows is None and (reason := why_not_made(place)):
        return [*lines, wrong(part, check, reason, _MAKE_ROOM)]
    detail = "is made with the first final anchor" if rows is None else f"{rows} rows, writable"
    return [*lines, ok(part, check, detail)]


async def jobs_part(settings: Settings) -> list[Diagnosis]:
    """Examine the store of jobs, and whether their services listen."""
    lines, wanted = await asyncio.to_thread(_store, settings.root)
    try:
        services = Services.from_environment(os.environ)
    except DomainError as error:
        problems = str(error).splitlines()
        return [
            *lines,
            *(mended(_JOBS, "services", line, "correct the variable") for line in problems),
        ]
    unknown = list[Diagnosis]()
    for name in wanted:
        try:
            services.find(name)
        except InvalidValue:
            detail = "jobs call it, and it has no URL in this environment"
            mend = f"set {variable_of(name, 'URL')} where workers run; its jobs fail without"
            unknown.append(warning(_JOBS, f"service {name}", detail, mend))
    known = await asyncio.gather(*map(_service_line, map(services.find, services.names)))
    return [*lines, *unknown, *known]


def _store(root: Path) -> tuple[list[Diagnosis], Sequence[str]]:
    """Say how the store is, and which services its jobs call."""
    try:
        stated = JobSettings.from_environment(os.environ)
        place = choose(stated.stated_url, root, supabase=stated.is_supabase)
    except DomainError as error:
        return [mended(_JOBS, "store", str(error), "correct the variable")], ()
    file = None if place.is_postgres else Path(place.url.database or "")
    if file is not None and not os.path.lexists(file):
        if reason := why_not_made(file):
            return [wrong(_JOBS, "store", f"{place.label} {reason}", _MAKE_ROOM)], ()
        detail = f"{place.label} is made when a worker with role jobs, api or anchors starts"
        return [ok(_JOBS, "store", detail)], ()
    database = Database(place)
    try:
        with database.write() as connection:
            check_visible(database, connection, METADATA.tables)
            names = _called(connection)
            if not place.is_postgres:
                _write_and_undo(connection)
            elif connection.execute(_READ_ONLY).scalar() == "on":
                detail = f"{place.label} takes no writes: a replica, or a role that may only read"
                mend = "name the primary, with a role that may write"
                return [wrong(_JOBS, "store", detail, mend)], ()
        audited = _audit_line(database)
    except StoreError as error:
        what, _, mend = str(error).partition("; ")
        mend = mend or "see whether the database is up and lets us in"
        return [wrong(_JOBS, "store", what, mend)], ()
    finally:
        database.close()
    return [ok(_JOBS, "store", f"{place.label} answers"), audited], names


def _write_and_undo(connection: Connection) -> None:
    """Write something and take it back: of a file on a volume that is read-only, SQLite says so no earlier."""
    for statement in ("SAVEPOINT doctor", "CREATE TABLE doctor (look)", "ROLLBACK TO doctor"):
        connection.exec_driver_sql(statement)


def _called(connection: Connection) -> list[str]:
    """Return the services that enabled jobs call; none where the tables are not made yet."""
    if not inspect(connection).has_table(SCHEDULES.name):
        return []
    rows = connection.execute(select(SCHEDULES.c.service).where(SCHEDULES.c.enabled).distinct())
    return sorted(name for (name,) in rows if name)


def _audit_line(database: Database) -> Diagnosis:
    """Say until when orders to workflows stand in the audit."""
    with database.read() as connection:
        has_marks = inspect(connection).has_table(MARKS.name)
    read_at = Audit(database).mark(ANCHORING.mark) if has_marks else None
    if read_at is not None and datetime.now(UTC) - read_at < LATE:
        return ok("audit", "orders", f"were read at {write_seconds(read_at)}")
    detail = "were never read" if read_at is None else f"were read last at {write_seconds(read_at)}"
    mend = "run a worker with role anchors or jobs on this store, or `audit` within Temporal's retention; what nobody reads by then is lost"
    return warning("audit", "orders", f"{detail} into this store", mend)


async def _service_line(service: Service) -> Diagnosis:
    """Say whether a service listens; nothing is sent to it."""
    parts = urlsplit(service.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no connection within {CONNECT_SECONDS:g} s"
        mend = "start it, or correct its variable; its jobs fail meanwhile"
        return warning(_JOBS, f"service {service.name}", f"{service.url}: {why}", mend)
    writer.close()
    return ok(_JOBS, f"service {service.name}", f"{service.url} listens")


LOOKS: Mapping[str, Callable[[Settings], Coroutine[Any, Any, list[Diagnosis]]]] = {
    "temporal": temporal_part,
    "configuration": configuration_part,
    "targets": targets_part,
    "storage": storage_part,
    "jobs": jobs_part,
}
"""How each part is examined."""
