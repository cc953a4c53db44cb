"""Reads files beside the event loop: with few threads, and never for long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from vaultmesh.domain.failures import NetworkFailure

THREADS = 4
"""A storage that hangs takes these, and no others of the process."""
WITHIN_SECONDS = 10.0
"""Who waits for a page waits no longer for its files."""
Result = TypeVar("Result")


class Readers:
    """A few threads that read."""

    def __init__(self, threads: int = THREADS, within_seconds: float = WITHIN_SECONDS) -> None:
        """Start no thread before it is needed."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="overview")
        self._within_seconds = within_seconds

    async def run(self, function: Callable[..., Result], /, *arguments: object) -> Result:
        """Return what a function returns that blocks.

        Raises:
            NetworkFailure: it took too long, or waited too long for a thread.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._within_seconds):
                return await loop.run_in_executor(self._pool, partial(function, *arguments))
        except TimeoutError as error:
            message = (
                f"the files below VMSH_ROOT could not be read within {self._within_seconds:g} s; "
                "see whether the storage hangs"
            )
            raise NetworkFailure(message) from error

    def close(self) -> None:
        """Wait for nothing: what hangs ends with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)
