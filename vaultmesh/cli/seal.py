"""Adds `seal`: files or pending events become one batch."""

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vaultmesh.cli import output
from vaultmesh.cli.output import settings_with_root
from vaultmesh.cli.progress import Counter, in_bytes
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.config import check_name
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.process.config_files import batches_folder, namespaces_path
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.seal_batch import NothingPending, SealedBatch, seal_files, seal_pending


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the command `seal`."""
    parser = subparsers.add_parser(
        "seal",
        help="make a batch from files or from pending events",
        description="Make one batch, and print its id, and the ids of its events on standard error: from files (leaf = SHA-256 of the file), or from out/provisional.",
        epilog="example: python starter.py seal dao:vaultmesh minutes.pdf ledger.csv",
    )
    parser.add_argument("namespace", metavar="N", help="the namespace that the batch belongs to")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="files, in leaf order")
    parser.add_argument("--pending", action="store_true", help="seal the pending events instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_seal, many="files")


def run_seal(arguments: argparse.Namespace) -> int:
    """Seal, and print the batch id; 0 also if nothing is pending."""
    if bool(arguments.files) == arguments.pending:
        message = "name files to seal, or give --pending, and not both"
        raise output.Usage(message)
    settings = settings_with_root()
    folder = _folder(arguments.namespace, settings)
    store, now = LocalStore(settings.root), int(time.time())
    sealed: SealedBatch | NothingPending
    if arguments.pending:
        sealed = seal_pending(store, arguments.namespace, now=now, folder=folder)
    else:
        with Counter("hashed", _size(arguments.files), unit=in_bytes) as counter:
            sealed = seal_files(
                store,
                arguments.namespace,
                arguments.files,
                now=now,
                folder=folder,
                hashed=counter.advance,
            )
    output.warn(f"left alone: {left}" for left in sealed.left)
    _say(sealed, as_json=arguments.json)
    return output.SUCCESS


def _size(files: Sequence[Path]) -> int:
    """Return how much there is to read; a file that can't be read is refused when its turn comes."""
    size = 0
    for file in files:
        with suppress(OSError):
            size += file.stat().st_size
    return size


def _say(sealed: SealedBatch | NothingPending, *, as_json: bool) -> None:
    left = [str(refused) for refused in sealed.left]
    if isinstance(sealed, NothingPending):
        if as_json:
            output.print_json({"batch": None, "left": [*left]})
        else:
            output.note("nothing is pending; no batch was made")
        return
    if as_json:
        batch = sealed.batch
        output.print_json(
            {
                "batch": batch.id,
                "path": sealed.path,
                "root": batch.root.batch_form,
                "leaves": len(batch.leaves),
                "events": [*batch.events],
                "left": [*left],
            }
        )
    else:
        print(sealed.batch.id)
        for event_id in sealed.batch.events:
            output.note(f"event {event_id}")


def _folder(namespace: str, settings: Settings) -> str:
    """Return where the namespace's batches go; one that is not configured may be registered later."""
    folder = batches_folder(namespace, namespaces_path(settings))
    if folder is not None:
        return folder
    try:
        check_name(namespace)
    except InvalidValue as error:
        message = f"{namespace!r} {error}"
        raise output.Usage(message) from error
    line = (
        f"namespace {namespace!r} is not in namespaces.yaml: its batch waits until it is registered"
    )
    output.warn([line])
    return BATCHES_FOLDER
