"""A worker whose workflows notice a dead worker within seconds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import worker
from tests.faults.impatient import notice_the_dead_soon
from vaultmesh.process.exiting import run_and_exit

if __name__ == "__main__":
    notice_the_dead_soon()
    run_and_exit(lambda: worker.main(sys.argv[1:]))
