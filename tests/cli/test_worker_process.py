"""A worker that does not start says why, and what it says is told from what it never said."""

from pathlib import Path

import pytest

from devnet.errors import PartError
from devnet.ports import free_port
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.process import logs

LOGGED = f"from {logs.__name__} import end; end(['PORT: taken', 'HOST: bad']); raise SystemExit(2)"


def _ended(folder: Path, program: str) -> WorkerProcess:
    """Return a worker that ended while it started."""
    script = folder / "stands_in.py"
    script.write_text(program)
    worker = WorkerProcess(
        "worker",
        folder / "worker.log",
        {"METRICS_PORT": str(free_port()), "PYTHONPATH": str(Path(__file__).parents[2])},
        script=str(script),
    )
    with pytest.raises(PartError, match="ended while starting"):
        worker.start()
    return worker


def test_the_reason_of_a_worker_that_refuses_to_start_is_what_it_logged_last(
    tmp_path: Path,
) -> None:
    assert _ended(tmp_path, LOGGED).refusal() == "PORT: taken; HOST: bad"


@pytest.mark.parametrize(
    "program", ["", "print('{}')", "print('[1]')", "print('Killed')", "raise RuntimeError('x')"]
)
def test_a_worker_that_dies_without_a_word_gives_no_reason(tmp_path: Path, program: str) -> None:
    assert _ended(tmp_path, program).refusal() == ""
