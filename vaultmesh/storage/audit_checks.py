"""Checks the audit's chain, portion by portion, against heads that are kept elsewhere.

1. A head is kept in a file below VMSH_ROOT, which whoever writes to the database need not reach. It goes forward only while
   the chain still holds what it says.
2. Records of deployments hold heads too, and are sealed.
"""

from collections.abc import Sequence
from functools import partial

from pydantic import ValidationError

from vaultmesh.domain.audit_chain import Head, KeptHead
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.records import AuditReport
from vaultmesh.domain.paths import AUDIT_HEAD
from vaultmesh.storage.files import Store, change
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs.audit import Audit, report_of


async def verify(store: JobStore, heads: Sequence[KeptHead] = ()) -> AuditReport:
    """Check the whole audit, and that it agrees with heads that are kept elsewhere; says what is wrong first.

    Raises:
        StoreError: the store does not answer.
    """
    check = await store.of_audit(partial(Audit.begin_check, heads=heads))
    while True:
        count, problem = await store.of_audit(partial(Audit.follow, check=check))
        if not problem and count:
            continue
        if not problem:
            return await store.of_audit(partial(Audit.end_check, check=check))
        # Old lines may have been deleted meanwhile: then the chain begins elsewhere.
        anew = await store.of_audit(partial(Audit.begin_check, heads=heads))
        if anew.head.entry <= check.head.entry:
            return report_of(check, problem)
        check = anew


def kept_head(files: Store) -> Head | None:
    """Return the head that is kept below VMSH_ROOT; None if there is none.

    Raises:
        InvalidValue: the file holds something else.
        NetworkFailure: the storage failed.
    """
    return _read(files.read(AUDIT_HEAD))


def keep_head(files: Store, head: Head) -> None:
    """Keep a head, unless a later one is kept.

    Raises:
        InvalidValue: the file holds something else: what it knew may be the only trace of an end that was cut off.
        NetworkFailure: the storage failed.
    """

    def later(content: bytes | None) -> bytes | None:
        kept = _read(content)
        is_later = kept is None or kept.entry < head.entry
        return head.model_dump_json(indent=2).encode() if is_later else None

    change(files, AUDIT_HEAD, later)


def _read(content: bytes | None) -> Head | None:
    try:
        return None if content is None else Head.model_validate_json(content)
    except ValidationError as error:
        message = f"{AUDIT_HEAD} holds no end of a chain any more: put it back from a copy, or delete it if there is none"
        raise InvalidValue(message) from error
