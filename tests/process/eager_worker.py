"""A worker that takes lists and compares them every few seconds: tests wait for a look dozens of times."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import worker
from vaultmesh.process import desired, reconcile, visibility
from vaultmesh.process.exiting import run_and_exit

if __name__ == "__main__":
    visibility.PERIOD_SECONDS = 3.0
    reconcile.PERIOD_SECONDS = 2.0
    desired.SETTLED_SECONDS = 4.0
    run_and_exit(lambda: worker.main(sys.argv[1:]))
