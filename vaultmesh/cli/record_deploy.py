"""Adds `record-deploy`: which version was deployed, by whom and when, as a sealed event and as a row in the Remembrancer."""

import argparse
import asyncio
import time
from datetime import UTC, datetime

from pydantic import JsonValue

from vaultmesh.cli import job_orders, output
from vaultmesh.cli.output import settings_with_root
from vaultmesh.domain.deployment import (
    DEPLOYMENTS,
    LONGEST_NOTE,
    Deployment,
    read_name,
    read_sha256,
)
from vaultmesh.domain.errors import InvalidValue, bounded_text
from vaultmesh.domain.jobs.records import AuditLine
from vaultmesh.process.config_files import batches_folder, load_namespaces, namespaces_path
from vaultmesh.process.logs import for_keeps
from vaultmesh.process.settings import Settings
from vaultmesh.storage.deployments import Deployments, Recorded

ACTION = "record-deploy"


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `record-deploy`."""
    parser = subparsers.add_parser(
        "record-deploy",
        help="record which version was deployed",
        description="Record a deployment: ops/receipts/deploy gets its record, which is sealed as an event of a namespace, the "
        "Remembrancer a row, and the audit a line. The same again finishes what was cut off, and changes nothing else.",
        epilog="example: python starter.py record-deploy --version 2.0.0 --sha256 0123…cdef --note 'change 1234'",
    )
    parser.add_argument("--version", required=True, metavar="V", help="what was deployed")
    parser.add_argument(
        "--sha256", required=True, metavar="HEX", help="of the artifact, such as an image's digest"
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="why, or which change")
    parser.add_argument(
        "--component",
        default="scheduler",
        metavar="C",
        help="of which program; scheduler by default",
    )
    parser.add_argument(
        "--namespace", metavar="N", help="whose event it is; needed where there are several"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_record_deploy)


def run_record_deploy(arguments: argparse.Namespace) -> int:
    """Record a deployment, and print its batch."""
    settings = settings_with_root()
    asked = _asked(arguments, settings)
    folder = batches_folder(asked.namespace, namespaces_path(settings))
    if folder is None:
        message = f"namespace {asked.namespace!r} is not in namespaces.yaml: a deployment is sealed in one that is anchored; name that one"
        raise output.Usage(message)
    recorded = asyncio.run(_record(asked, folder, settings))
    _say(recorded, as_json=arguments.json)
    return output.SUCCESS


def _asked(arguments: argparse.Namespace, settings: Settings) -> Deployment:
    try:
        return Deployment(
            component=read_name(arguments.component, "component"),
            version=read_name(arguments.version, "version"),
            sha256=read_sha256(arguments.sha256),
            at=datetime.now(UTC).replace(microsecond=0),
            by=job_orders.operator().name,
            namespace=arguments.namespace or _only_namespace(settings),
            note=bounded_text(arguments.note, "the note"),
        )
    except InvalidValue as error:
        raise output.Usage(str(error)) from error


def _only_namespace(settings: Settings) -> str:
    """Return the one namespace that there is; where there are several, nobody knows whose event it would be."""
    file = load_namespaces(namespaces_path(settings))
    if not file.specs:
        message = f"{file.path} names no namespace: a deployment is sealed as an event of one - write one there first"
        raise output.Usage(message)
    if len(file.specs) > 1:
        message = f"there are several namespaces: name one by --namespace; there are: {', '.join(file.specs)}"
        raise output.Usage(message)
    return next(iter(file.specs))


async def _record(asked: Deployment, folder: str, settings: Settings) -> Recorded:
    """Record it, and then enter it in the audit, which is asked first whether it answers."""
    async with job_orders.opened() as store:
        head = await store.of_audit(lambda audit: audit.head())
        note = for_keeps(asked.note)[:LONGEST_NOTE]  # the store's own secrets are known by now
        asked = asked.model_copy(update={"audit": head, "note": note})
        deployments = Deployments(settings.root)
        recorded = await asyncio.to_thread(deployments.record, asked, folder, now=int(time.time()))
        deployment = recorded.deployment
        detail: dict[str, JsonValue] = {
            "version": deployment.version,
            "sha256": deployment.sha256,
            "note": deployment.note,
            "namespace": deployment.namespace,
            "event": recorded.event,
            "batch": recorded.batch,
        }
        line = AuditLine(
            at=deployment.at,
            actor=deployment.by,
            action=ACTION,
            job_name=f"{DEPLOYMENTS}{deployment.component}",
            detail={key: value for key, value in detail.items() if value},
        )
        await store.note(line, deployment.id)
    return recorded


def _say(recorded: Recorded, *, as_json: bool) -> None:
    deployment = recorded.deployment
    if as_json:
        output.print_json(
            {
                **deployment.model_dump(mode="json"),
                "path": recorded.path,
                "event": recorded.event,
                "batch": recorded.batch,
                "recorded": "now" if recorded.is_new else "before",
            }
        )
        return
    what = f"{deployment.component} {deployment.version}"
    how = (
        "recorded"
        if recorded.is_new
        else f"was recorded before, {deployment.at:%Y-%m-%dT%H:%M:%SZ}"
    )
    print(f"{what}: {how}; sealed in batch {recorded.batch} of {deployment.namespace}")
    output.note(f"event {recorded.event}, record {recorded.path}")
