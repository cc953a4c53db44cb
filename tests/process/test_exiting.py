"""A program ends with its exit code and a clear line, never with a core dump, also while Temporal is away."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devnet.ports import LOOPBACK, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
STARTS = 30
"""Six of fifteen aborted, when the interpreter was taken down."""
AT_ONCE = 3
"""Each start keeps a core busy for a second."""
CONNECTS_WITHIN_SECONDS = 45.0
"""`worker.py` gives a server ten seconds to answer; loading it takes one or two, and ten on a machine that is busy."""
Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with a configuration that is fine."""
    folder = tmp_path_factory.mktemp("root")
    config = folder / "vmsh" / "config"
    config.mkdir(parents=True)
    fast = {"target": "eip155:31337", "every": "89s"}
    (config / "namespaces.yaml").write_text(
        json.dumps({"namespaces": {"dao:away": {"cadence": {"fast": fast}}}})
    )
    section = {"rpcUrl": "http://127.0.0.1:1", "contract": "0x" + "1" * 40, "key": "${KEY}"}
    (config / "anchors.yaml").write_text(json.dumps({"eip155": {"default": section}}))
    return folder


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of a port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(50)
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"


def begin(root: Path, address: str, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "TEMPORAL_ADDRESS": address,
            "VMSH_ROOT": str(root),
            "METRICS_PORT": str(free_port()),
            "KEY": "0x" + "1" * 64,
            "PYTHONUNBUFFERED": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 180.0) -> Ended:
    out, err = process.communicate(timeout=seconds)
    return Ended(process.args, process.returncode, out, err)


def assert_one_line(done: Ended, program: str, address: str) -> None:
    """The process failed in order, and says where and what to do in one line: a worker in the form of its log."""
    assert done.returncode == 1, done
    if program == "worker.py":
        last = json.loads(done.stdout.splitlines()[-1])
        assert (last["level"], done.stderr) == ("fatal", "")
        (line,) = last["problems"]
    else:
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{program}: ")
    assert address in line
    assert "start it, or set TEMPORAL_ADDRESS" in line
    assert "Traceback" not in done.stdout


# --- Temporal is away ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(700)  # thirty starts of some seconds each, on a machine that may be busy
def test_a_worker_without_temporal_ends_in_order_every_time(root: Path) -> None:
    address = f"{LOOPBACK}:{free_port()}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        starts = [
            pool.submit(lambda: ended(begin(root, address, "worker.py"))) for _ in range(STARTS)
        ]
    for one in starts:
        assert_one_line(one.result(), "worker.py", address)


def test_a_worker_ends_when_temporal_takes_connections_and_never_answers(
    root: Path, silent: str
) -> None:
    started = time.monotonic()
    done = ended(begin(root, silent, "worker.py"))
    assert time.monotonic() - started < CONNECTS_WITHIN_SECONDS
    assert_one_line(done, "worker.py", silent)
    assert "no answer within 10 s" in done.stdout


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_while_it_connects_does_so_at_once(
    root: Path, how: signal.Signals
) -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        listener.settimeout(30)
        address = f"{LOOPBACK}:{listener.getsockname()[1]}"
        process = begin(root, address, "worker.py")
        connection, _ = listener.accept()
        with connection:
            signalled = time.monotonic()
            process.send_signal(how)
            done = ended(process)
    assert time.monotonic() - signalled < 3
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1])["msg"] == "scheduler stopped"


@pytest.mark.parametrize(
    "command",
    [
        ("setup",),
        ("register",),
        ("status",),
        ("pause", "dao:away"),
        ("resume", "dao:away"),
        ("force", "dao:away"),
        ("unregister", "dao:away"),
    ],
    ids=lambda one: one[0],
)
def test_a_command_without_temporal_ends_in_order(root: Path, command: tuple[str, ...]) -> None:
    address = f"{LOOPBACK}:{free_port()}"
    done = ended(begin(root, address, "starter.py", *command))
    assert_one_line(done, "starter.py", address)


@pytest.mark.parametrize("program", [("starter.py", "status", "--watch"), ("worker.py",)])
def test_ctrl_c_while_it_loads_ends_a_program_at_once_and_without_a_traceback(
    root: Path, program: tuple[str, ...]
) -> None:
    """The harm: whoever pressed it too early saw a traceback, or the module that was being loaded swallowed it."""
    process = begin(root, f"{LOOPBACK}:{free_port()}", *program)
    mapped = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 60
    while "_pydantic_core" not in mapped.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


# --- whatever a program does ---------------------------------------------------------------------

BEGINNING = """
import logging, sys, threading, time
from vaultmesh.process import logs
from vaultmesh.process.exiting import run_and_exit
logs.set_up("info")
threading.Thread(target=time.sleep, args=(600,)).start()
def program():
    print("printed", end="")
    print("complained", end="", file=sys.stderr)
    logging.getLogger("one").info("logged")
"""
"""A program with a thread that never ends."""


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("return 0", 0),
        ("return 3", 3),
        ("sys.exit(2)", 2),
        ("sys.exit()", 0),
        ("sys.exit('a text')", 1),
        ("raise KeyboardInterrupt", 130),
        ("raise LookupError('nobody caught it')", 1),
    ],
)
def test_a_program_ends_with_its_code_and_loses_nothing_that_it_said(
    root: Path, last: str, code: int
) -> None:
    script = f"{BEGINNING}    {last}\nrun_and_exit(program)\n"
    done = ended(begin(root, "", "-c", script), 20)
    assert done.returncode == code
    assert "printed" in done.stdout
    assert '"msg": "logged"' in done.stdout
    assert "complained" in done.stderr
    assert ("a text" in done.stderr) is ("a text" in last)
    assert ("nobody caught it" in done.stdout) is ("LookupError" in last)


def test_a_reader_that_is_gone_keeps_nobody(root: Path) -> None:
    script = (
        "from vaultmesh.process.exiting import run_and_exit\nrun_and_exit(lambda: print(1) or 4)\n"
    )
    process = begin(root, "", "-c", script)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 4
    process.communicate()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_outputs_are_closed_does_its_work_and_says_so_by_its_code(
    root: Path, closed: str
) -> None:
    """As cron and `nohup` lines of some have it: the batch lay there, and the code said that it failed."""
    file = root / f"sealed {len(closed)}"
    file.write_text(closed)
    seal = f"{sys.executable} starter.py seal dao:away '{file}' {closed}"
    done = ended(begin(root, "", "-c", f"import os; os.execlp('sh', 'sh', '-c', {seal!r})"), 60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_garbage_is_collected_once_all_is_loaded_and_what_was_loaded_is_not_looked_at(
    root: Path,
) -> None:
    script = (
        "import gc\ngc.disable()\nfrom vaultmesh.process.exiting import run_and_exit\n"
        "run_and_exit(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1_000) or 0)\n"
    )
    done = ended(begin(root, "", "-c", script), 20)
    assert done.stdout == "True True\n", done.stderr


# --- a worker that can't start -------------------------------------------------------------------


@pytest.mark.parametrize("level", ["info", "silent"])
def test_a_collector_of_logs_gets_one_fatal_line_with_every_mistake(
    tmp_path: Path, level: str
) -> None:
    path = tmp_path / "namespaces.yaml"
    fast = {"target": "eip155:1", "every": "89s", "confirmation": 3}
    path.write_text(json.dumps({"namespaces": {"a:b": {"cadence": {"fast": fast, "x": 1}}}}))
    done = worker_in_pipes(LOG_LEVEL=level, VMSH_NAMESPACES=str(path), VMSH_ROOT=str(tmp_path))
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert (done.returncode, done.stderr) == (2, "")
    assert (said["level"], said["msg"]) == ("fatal", "scheduler fatal")
    assert len(said["problems"]) == 2
    assert all(problem.startswith(f"{path}:1 ") for problem in said["problems"])
    assert any("did you mean 'confirmations'?" in problem for problem in said["problems"])


def test_a_setting_that_means_nothing_is_a_fatal_line_too() -> None:
    done = worker_in_pipes(METRICS_PORT="http", LOG_LEVEL="loud")
    said = json.loads(done.stdout)
    assert (done.returncode, done.stderr, len(said["problems"])) == (2, "", 2)


def test_a_role_that_nobody_has_is_a_fatal_line_too() -> None:
    done = worker_in_pipes("--roles", "anchor")
    assert (done.returncode, done.stderr) == (2, "")
    assert "did you mean 'anchors'?" in json.loads(done.stdout)["problems"][0]


def test_a_person_at_a_terminal_reads_plain_lines() -> None:
    controller, terminal = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "worker.py"],
            cwd=REPOSITORY,
            env={**os.environ, "METRICS_PORT": "http"},
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=480,
            check=False,
        )
        said = os.read(controller, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(controller)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said.startswith("worker.py: METRICS_PORT: 'http' is not a number")


def worker_in_pipes(*arguments: str, **environment: str) -> Ended:
    return subprocess.run(
        [sys.executable, "worker.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
