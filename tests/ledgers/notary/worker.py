"""A worker that knows the notary."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import worker
from tests.ledgers.notary import row
from vaultmesh.process.exiting import run_and_exit

if __name__ == "__main__":
    row.add()
    run_and_exit(lambda: worker.main(sys.argv[1:]))
