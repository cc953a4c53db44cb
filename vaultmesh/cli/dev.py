"""The place where `starter.py dev` runs a whole local system until it is told to end."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client

from vaultmesh.runtime.client import connect
from vaultmesh.runtime.configuration import load_namespaces, namespaces_path
from vaultmesh.runtime.registration import register
from vaultmesh.runtime.search_attributes import ensure
from vaultmesh.runtime.settings import Settings

Subparsers = Any
"""argparse's action that holds subcommands; it has no public type."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command `dev`."""
    parser = subparsers.add_parser(
        "dev",
        help="run a whole local system: Temporal, a chain, a worker, example namespaces",
        epilog="example: python starter.py dev --root /var/tmp/vaultmesh",
    )
    parser.add_argument(
        "--root", type=Path, help="folder of the system; default: a new temporary one"
    )
    parser.set_defaults(run=dev)


def chosen_root(arguments: argparse.Namespace) -> Path:
    """Return the folder to run in, made if it does not exist."""
    given = arguments.root or os.environ.get("VMSH_DEV_ROOT")
    root = Path(given) if given else Path(tempfile.mkdtemp(prefix="vaultmesh-"))
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    return root


def dev(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 then."""
    return asyncio.run(_dev(chosen_root(arguments)))


async def _dev(root: Path) -> int:
    async with running(root) as system:
        ui, metrics = system.playground.temporal.ui, system.playground.metrics_url
        print(
            f"root     {root}\nWeb UI   {ui}\nmetrics  {metrics}/metrics\nEVM      {system.playground.anvil.url}"
        )
        print(
            f"Try: TEMPORAL_ADDRESS={system.playground.temporal.address} VMSH_ROOT={root} python starter.py status"
        )
        sys.stdout.flush()
        await system.stopped.wait()
    return 0


class System:
    """A running system and what ends it."""

    def __init__(self, root: Path) -> None:
        """Prepare a system below a folder."""
        from vaultmesh.cli.playground import Playground  # noqa: PLC0415 - loads client libraries

        self.root = root
        self.playground = Playground(root)
        self.stopped = asyncio.Event()
        self.client: Client | None = None
        self.settings: Settings | None = None

    async def start(self) -> None:
        """Start the parts and the worker."""
        await self.playground.start()
        os.environ.update(self.playground.environment())
        self.settings = Settings.from_environment(os.environ)
        self.client = await connect()
        await ensure(self.client)
        await self.playground.start_worker()

    async def register(self) -> None:
        """Register the namespaces, and announce that everything is ready."""
        from activities.anchors import SCHEMES  # noqa: PLC0415 - only here

        assert self.client is not None  # noqa: S101 - started before
        assert self.settings is not None  # noqa: S101
        file = load_namespaces(namespaces_path(self.settings), SCHEMES)
        async for _ in register(self.client, file.specs, self.settings):
            pass
        self.playground.announce()


@asynccontextmanager
async def running(root: Path, *, registered: bool = True) -> AsyncIterator[System]:
    """Run a system; it is stopped, and no process of it left, however this ends."""
    system = System(root)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    starting = True

    def end() -> None:
        system.stopped.set()
        if starting and task is not None:
            task.cancel()

    for caught in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(caught, end)
    watching: asyncio.Task[None] | None = None
    try:
        await system.start()
        watching = asyncio.create_task(system.playground.supervisor.run())
        if registered:
            await system.register()
        starting = False
        yield system
    finally:
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        system.playground.stop()
