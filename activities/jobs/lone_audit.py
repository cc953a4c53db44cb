"""Enters orders in the audit where the process has no other business with the store of jobs: in workers that only anchor.

Their volume holds the store if no database is named. A store that can't be used stops no anchor: that is logged once, and it is
tried again. Old lines of that file are deleted here, since nobody else does; those of a database only if JOBS_KEEP_DAYS is set for this
process: who works with its jobs may have been told to keep them.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from temporalio.client import Client

from activities.jobs.order_audit import OrderAudit
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.storage.job_store import JobStore

AGAIN_SECONDS = 60.0
"""Until a store that could not be opened is tried again."""
_LOG = logging.getLogger(__name__)


class _Store(Protocol):
    """What of a store says who deletes in it."""

    @property
    def is_a_file(self) -> bool: ...
    @property
    def made_by_us(self) -> bool: ...


class LoneAudit:
    """Opens the store for one process, and enters orders in it."""

    def __init__(self, client: Client, root: Path) -> None:
        """Read through a client; a store that is a file lies below a root."""
        self._client = client
        self._root = root

    async def run(self) -> None:
        """Enter until cancelled."""
        said = problem = ""
        while True:
            try:
                settings = JobSettings.from_environment(os.environ)
                async with self._opened(settings) as store:
                    keep = keep_of(settings, store)
                    await OrderAudit(self._client, store, self._root, keep=keep).run()
            except (StoreError, ConfigurationError) as error:
                problem = str(error)
            if problem != said:
                _LOG.warning("orders not entered in the audit", extra={"err": problem})
            said = problem
            await asyncio.sleep(AGAIN_SECONDS)

    @asynccontextmanager
    async def _opened(self, settings: JobSettings) -> AsyncIterator[JobStore]:
        stated, supabase = settings.stated_url, settings.is_supabase
        store = await JobStore.open(stated, self._root, supabase=supabase)
        try:
            yield store
        finally:
            await store.close()


def keep_of(settings: JobSettings, store: _Store) -> timedelta | None:
    """Return how old lines may get here; None where that is for others to say."""
    if not store.is_a_file and settings.keep_days is None:
        return None
    return settings.keep(made_by_us=store.made_by_us)
