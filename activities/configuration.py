"""Checks the configuration of a worker before any work is taken, and again whenever a file changes."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.config_files import (
    AnchorsFile,
    AnchorsSource,
    NamespacesSource,
    anchors_path,
    load_anchors,
    load_namespaces,
    namespaces_path,
    targets_of,
)
from vaultmesh.process.maintenance_source import check_maintenance
from vaultmesh.process.places import why_not_written
from vaultmesh.process.readiness import Readiness
from vaultmesh.process.settings import Settings

ROLES = ("workflows", "anchors", "jobs", "api")
ANCHORING = frozenset({"workflows", "anchors"})
"""Roles that need to know what is anchored where; the others hold no key and need no ledger's settings."""
OF_JOBS = frozenset({"jobs", "api"})
_LOG = logging.getLogger(__name__)


def check_configuration(
    settings: Settings, roles: Sequence[str], readiness: Readiness | None = None
) -> None:
    """Look at the configuration before any work is taken; what is anchored where concerns only those who anchor.

    Raises:
        ConfigurationError: with every problem; keys are looked at only where the role needs them.
    """
    if reason := why_not_written(settings.root):
        message = f"VMSH_ROOT: {settings.root} {reason} - name the right one, make it, or mount it"
        raise ConfigurationError([message])
    problems: list[str] = []
    for check in (_check_jobs, check_maintenance, _check_anchoring):
        try:
            check(settings, roles, readiness)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)


def _check_jobs(settings: Settings, roles: Sequence[str], _: Readiness | None) -> None:
    if not OF_JOBS.intersection(roles):
        return
    from activities.jobs.roles import JobEnvironment  # noqa: PLC0415 - loads SQLAlchemy, which others do without

    JobEnvironment.read(os.environ, settings.root)


def _check_anchoring(settings: Settings, roles: Sequence[str], readiness: Readiness | None) -> None:
    if not ANCHORING.intersection(roles):
        return
    namespaces = load_namespaces(namespaces_path(settings))
    for warning in namespaces.warnings:
        _LOG.warning("namespaces file has a warning", extra={"detail": warning})
    anchors = load_anchors(anchors_path(settings))
    models = _models(targets_of(namespaces.specs.values()))
    anchors.check(models, signing="anchors" in roles)
    if readiness is not None and "anchors" in roles:
        readiness.look(anchors, models)


def watched_files(
    settings: Settings, roles: Sequence[str], readiness: Readiness | None = None
) -> tuple[NamespacesSource, AnchorsSource]:
    """Return both files as they are from now on; each one is checked against what the other says."""
    signing = "anchors" in roles

    def check(file: AnchorsFile, targets: Iterable[Target]) -> None:
        if not ANCHORING.intersection(roles):
            return
        models = _models(targets)
        file.check(models, signing=signing)
        if readiness is not None and signing:
            readiness.look(file, models)

    def check_anchors(file: AnchorsFile) -> None:
        try:
            check(file, namespaces.targets)
        except ConfigurationError:
            if namespaces.targets == namespaces.targets_in_use:
                raise
            # A namespaces.yaml that is refused keeps nobody from mending this file.
            check(file, namespaces.targets_in_use)

    anchors = AnchorsSource(anchors_path(settings), check=check_anchors)
    namespaces = NamespacesSource(
        settings,
        lambda specs: check(anchors.current()[1], targets_of(specs.values())),
    )
    return namespaces, anchors


def _models(targets: Iterable[Target]) -> Mapping[Target, type[CommonSettings]]:
    return {target: settings_model(target) for target in sorted(targets)}
