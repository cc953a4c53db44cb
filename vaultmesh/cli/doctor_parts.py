"""Examines each part of the surroundings for `doctor`. What can't be examined is a line, and no error."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import inspect, text

from activities.anchoring.endpoints import older_transaction
from activities.jobs.order_audit import ANCHORING, LATE
from vaultmesh.cli.diff import differing_from
from vaultmesh.domain.diagnosis import Diagnosis, ok, warning, wrong
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import open_target
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import (
    AnchorsFile,
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
)
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.services import Service, Services
from vaultmesh.process.settings import Settings
from vaultmesh.process.surroundings import storage_lines, temporal_lines
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.job_tables import MARKS
from vaultmesh.storage.jobs.audit import Audit
from vaultmesh.storage.jobs.core import choose
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.rounds import RoundStore
from vaultmesh.storage.stopped import StoppedNamespaces

CONNECT_SECONDS = 5.0
"""Of a service's port: one that is up takes milliseconds."""
_JOBS = "jobs"


async def temporal_part(settings: Settings) -> list[Diagnosis]:
    """Examine Temporal."""
    del settings
    try:
        client = await connect()
    except DomainError as error:
        return [wrong("temporal", "server", str(error), "check TEMPORAL_ADDRESS and the server")]
    return await temporal_lines(client)


async def configuration_part(settings: Settings) -> list[Diagnosis]:
    """Examine the configuration files, and what runs beside them."""
    lines = list[Diagnosis]()
    path = namespaces_path(settings)
    try:
        file = load_namespaces(path)
    except DomainError as error:
        lines += _file_lines(path, error)
    else:
        lines.append(ok(str(path), "file", f"names {len(file.specs)} namespaces"))
        decisions = StoppedNamespaces(LocalStore(settings.root)).look(file.entries)
        try:
            drift = await differing_from(file.specs, decisions)
        except DomainError as error:
            mend = "mend Temporal first"
            lines.append(warning(str(path), "drift", f"not compared: {error}", mend))
        else:
            mend = "run `register`, or see `diff`"
            lines += [warning(str(path), "drift", each.line, mend) for each in drift]
            if not drift:
                lines.append(ok(str(path), "drift", "what runs is what the file says"))
    path = anchors_path(settings)
    try:
        load_anchors(path)
    except DomainError as error:
        return [*lines, *_file_lines(path, error)]
    return [*lines, ok(str(path), "file", "can be read")]


def _file_lines(path: Path, error: DomainError) -> list[Diagnosis]:
    """Return a line for each problem of a file; each names place and mend already."""
    problems = (line.partition(" - ") for line in str(error).splitlines())
    return [wrong(str(path), "file", what, mend or "correct it") for what, _, mend in problems]


async def targets_part(settings: Settings) -> list[Diagnosis]:
    """Examine each target that a namespace names, side by side."""
    try:
        specs = load_namespaces(namespaces_path(settings)).specs.values()
        anchors = load_anchors(anchors_path(settings))
    except DomainError as error:
        return [wrong("targets", "files", str(error).splitlines()[0], "correct it first")]
    cadences = [cadence for spec in specs for cadence in spec.cadences.values()]
    targets = sorted({cadence.target for cadence in cadences})
    if not targets:
        return [warning("targets", "files", "no namespace names a target", "add one")]
    lines = await asyncio.gather(*(_target(target, anchors, settings.root) for target in targets))
    return [line for of_target in lines for line in of_target]


async def _target(target: Target, anchors: AnchorsFile, root: Path) -> list[Diagnosis]:
    lines = list[Diagnosis]()
    try:
        anchoring = open_target(target, anchors, root)
    except DomainError as error:
        lines.append(wrong(str(target), "settings", str(error), "correct anchors.yaml"))
        try:
            anchoring = open_target(target, anchors, root, signing=False)
        except DomainError:
            return lines
    rounds = RoundStore(LocalStore(root), target)
    try:
        older = await asyncio.to_thread(older_transaction, rounds)
        return [*lines, *await anchoring.diagnose(older)]
    except DomainError as error:
        return [*lines, wrong(str(target), "rounds", str(error), "see status")]
    finally:
        await anchoring.close()


async def storage_part(settings: Settings) -> list[Diagnosis]:
    """Examine the folder of batches and receipts."""
    return await asyncio.to_thread(storage_lines, settings.root)


async def jobs_part(settings: Settings) -> list[Diagnosis]:
    """Examine the store of jobs, and whether their services listen."""
    lines = await asyncio.to_thread(_store_lines, settings.root)
    try:
        services = Services.from_environment(os.environ)
    except DomainError as error:
        mend = "correct the variable"
        return [*lines, *(wrong(_JOBS, "services", line, mend) for line in str(error).splitlines())]
    return [*lines, *await asyncio.gather(*map(_service_line, map(services.find, services.names)))]


def _store_lines(root: Path) -> list[Diagnosis]:
    try:
        stated = JobSettings.from_environment(os.environ)
        place = choose(stated.stated_url, root, supabase=stated.is_supabase)
    except DomainError as error:
        return [wrong(_JOBS, "store", str(error), "correct the variable")]
    if not place.is_postgres and not Path(place.url.database or "").exists():
        detail = f"{place.label} is made when a worker with role jobs, api or anchors starts"
        return [ok(_JOBS, "store", detail)]
    database = Database(place)
    try:
        with database.read() as connection:
            connection.execute(text("SELECT 1"))
        audited = _audit_line(database)
    except StoreError as error:
        mend = "see whether the database is up and lets us in"
        return [wrong(_JOBS, "store", str(error), mend)]
    finally:
        database.close()
    return [ok(_JOBS, "store", f"{place.label} answers"), audited]


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
