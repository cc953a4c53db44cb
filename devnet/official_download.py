"""Has the Temporal SDK download its programs from temporal.download, the official place.

It downloads only what it then starts, so it does both in a process of its own.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from devnet.errors import PartError
from devnet.supply import run_fetching

CLI = "temporal"
TEST_SERVER = "temporal-test-server"


def downloading(program: str, version: str) -> Callable[[Path], None]:
    """Return what puts a version of one of the programs into an empty folder, under its name."""

    def fetch(folder: Path) -> None:
        command = [sys.executable, "-m", __spec__.name, program, version, str(folder)]
        run_fetching(command, Path(__file__).resolve().parents[1])
        files = [place for place in folder.iterdir() if place.is_file()]
        if len(files) != 1:
            message = f"the SDK downloaded {len(files)} files instead of one program"
            raise PartError(message)
        files[0].rename(folder / program)

    return fetch


async def _start_once(program: str, version: str, folder: str) -> None:
    if program == CLI:
        environment = await WorkflowEnvironment.start_local(
            download_dest_dir=folder, dev_server_download_version=f"v{version}"
        )
    else:
        environment = await WorkflowEnvironment.start_time_skipping(
            download_dest_dir=folder, test_server_download_version=f"v{version}"
        )
    await environment.shutdown()


def main(program: str, version: str, folder: str) -> int:
    """Download one program by starting it; 1 if that fails."""
    try:
        asyncio.run(_start_once(program, version, folder))
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))  # the SDK's threads can crash an interpreter that ends as usual
