"""The place where a worker process is put together: settings, client, adapters, workflows, and the health server.

Usage: python worker.py [--roles workflows,anchors]
"""

import argparse
import asyncio
import os
import sys

from vaultmesh.domain.errors import DomainError
from vaultmesh.runtime.process import ALL_ROLES, Roles, run_until_stopped


def main() -> int:
    """Run a worker until SIGTERM or Ctrl-C; exit 2 for a configuration that stops the start."""
    parser = argparse.ArgumentParser(prog="worker.py", description="Run VaultMesh's anchor scheduler worker.")
    parser.add_argument(
        "--roles",
        default=",".join(ALL_ROLES),
        help="comma list of workflows (needs no keys), anchors (needs keys); default: all",
    )
    arguments = parser.parse_args()
