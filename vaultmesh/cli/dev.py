"""Adds `dev`: runs a whole local system until it is told to end."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from temporalio.client import Client

from vaultmesh.cli import output
from vaultmesh.cli.progress import Steps
from vaultmesh.domain.errors import DomainError
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import load_namespaces, namespaces_path
from vaultmesh.process.places import why_no_folder, why_not_written
from vaultmesh.process.polling import NoAnswer
from vaultmesh.process.registration import register
from vaultmesh.process.search_attributes import ensure
from vaultmesh.process.settings import Settings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.stopped import StoppedNamespaces

REGISTER_SECONDS = 60.0
"""Our own worker was started just before: in a folder that is used again, it first reads histories as long as they are."""
Subparsers = Any
"""argparse's action that holds subcommands; it has no public type."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command `dev`."""
    parser = subparsers.add_parser(
        "dev",
        help="run a whole local system: Temporal, three ledgers, PostgreSQL, a worker, example namespaces",
        description="Run Temporal, an EVM chain, Bitcoin, a time-stamp authority, PostgreSQL and a worker, with example "
        "namespaces, maintenance tasks on a sample table, the API of HTTP jobs and a sample service that jobs can call, "
        "until SIGTERM or Ctrl-C. With the same folder again it goes on with the same chain, keys and workflows.",
        epilog="example: python starter.py dev --root /var/tmp/vaultmesh",
    )
    parser.add_argument(
        "--root", type=Path, help="folder of the system; default: a new temporary one"
    )
    parser.set_defaults(run=dev)


def run_in(
    root: Path | None, work: Callable[[Path], Coroutine[None, None, int]], *, if_starting: int = 0
) -> int:
    """Run work in a folder, made if it does not exist; without one in a temporary one, which is kept after a failure.

    Returns:
        The exit code of the work; `if_starting` if it was told to end before it had started.

    Raises:
        Usage: local parts are not installed here, or the folder can't be used.
        DomainError: a part can't be had, started or reached.
    """
    if find_spec("devnet") is None:
        message = (
            "the container's image holds no local parts; run this in a checkout of the repository"
        )
        raise output.Usage(message)
    from devnet.errors import PartError  # noqa: PLC0415 - images have no local parts, and every other command

    def run(place: Path) -> int:
        output.note(f"local system in {place}")
        try:
            return asyncio.run(work(place))
        except asyncio.CancelledError:
            return if_starting
        except PartError as error:
            raise DomainError(str(error)) from error

    if root is not None:
        return run(_made(root))
    temporary = Path(tempfile.mkdtemp(prefix="vaultmesh-"))
    code = run(temporary)
    if code == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        output.note(f"{temporary} is removed again; --root DIR names a folder that is kept")
    else:
        output.note(f"logs and files are kept in {temporary}")
    return code


def _made(root: Path) -> Path:
    """Return the folder as an absolute path; it is made if it does not exist.

    Raises:
        Usage: it can't be made, or nothing can be stored in it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        reason = why_not_written(root)
    except FileExistsError:
        reason = why_no_folder(root)
    except OSError as error:
        reason = f"can't be made ({error.strerror})"
    if reason:
        message = f"--root: {root} {reason} - name another folder"
        raise output.Usage(message)
    return root.absolute()


def dev(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; 0 then."""
    return run_in(arguments.root, _dev)


async def _dev(root: Path) -> int:
    async with running(root) as system:
        dev_system = system.dev_system
        print(
            f"root     {root}\nWeb UI   {dev_system.temporal.ui}\nmetrics  {dev_system.metrics_url}/metrics\n"
            f"EVM      {dev_system.anvil.url}\nBitcoin  {dev_system.bitcoind.url}\nTSA      {dev_system.tsa.url}"
        )
        print(*dev_system.postgres.introduction(), *dev_system.jobs.introduction(), sep="\n")
        print(
            f"Try: TEMPORAL_ADDRESS={dev_system.temporal.address} VMSH_ROOT={root} python starter.py status"
        )
        sys.stdout.flush()
        await system.stopped.wait()
    return 0


class System:
    """A running system and what ends it."""

    def __init__(self, root: Path, *, own_store: bool = False) -> None:
        """Prepare a system below a folder; with `own_store` its jobs lie there in any case."""
        from vaultmesh.cli.dev_system import DevSystem  # noqa: PLC0415 - loads client libraries

        self.root = root
        self.steps = Steps()
        self.dev_system = DevSystem(root, self.steps, own_store=own_store)
        self.stopped = asyncio.Event()
        self.client: Client | None = None
        self.settings: Settings | None = None

    async def start(self) -> None:
        """Start the parts and the worker."""
        await self.dev_system.start()
        self.dev_system.adopt_environment()
        self.settings = Settings.from_environment(os.environ)
        self.client = await connect()
        await ensure(self.client)
        await self.dev_system.start_worker()

    async def register(self) -> None:
        """Register the namespaces, and announce that everything is ready.

        Raises:
            NoAnswer: the worker did not answer within `REGISTER_SECONDS`.
        """
        assert self.client is not None  # noqa: S101 - started before
        assert self.settings is not None  # noqa: S101 - started before
        with self.steps.step("registering namespaces"):
            await self._registered(self.client, self.settings)
        self.dev_system.announce()

    async def end(self, watching: asyncio.Task[None] | None) -> None:
        """Stop every part, after what watches them."""
        try:
            if watching is not None:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
        finally:
            if self.dev_system.supervisor.pids():
                with self.steps.step("stopping everything"):
                    self.dev_system.stop()
            self.dev_system.stop()

    async def _registered(self, client: Client, settings: Settings) -> None:
        file = load_namespaces(namespaces_path(settings))
        specs, decided = file.specs, StoppedNamespaces(LocalStore(self.root)).look(file.entries)
        left_out = decided.stopped.keys() | decided.unreadable.keys()
        running = {name: specs[name] for name in specs if name not in left_out}
        deadline = time.monotonic() + REGISTER_SECONDS
        while True:
            try:
                async for _ in register(client, running, settings):
                    pass
            except NoAnswer:
                if self.stopped.is_set() or time.monotonic() > deadline:
                    raise
            else:
                return


@asynccontextmanager
async def running(
    root: Path, *, registered: bool = True, own_store: bool = False
) -> AsyncIterator[System]:
    """Run a system; it is stopped, and no process of it left, however this ends.

    With `own_store` its jobs lie below `root`, whatever database the environment names.

    Raises:
        PartError: a part did not start, or could not be brought back.
        NotTheSame: the folder holds only part of an earlier system, or another one runs in it.
    """
    system = System(root, own_store=own_store)
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
        watching = asyncio.create_task(system.dev_system.supervisor.run())
        watching.add_done_callback(lambda _: system.stopped.set())
        if registered:
            await system.register()
        starting = False
        yield system
    finally:
        await system.end(watching)
