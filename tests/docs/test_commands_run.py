"""Every command of `starter.py` and `worker.py` that the README and its page of commands show runs as shown, on a real system."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.docs.readme import README, REPOSITORY, blocks, commands
from tests.support.running_dev import Running
from tests.support.system import System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]
SECONDS = 90.0
"""A command that says more than this late fails."""
ENDLESS = ("--watch", "dev", "--roles")
"""What runs until somebody ends it."""
REFUSED = {"resolve": "can't be taken back; add --yes"}
"""What a decision that is shown without `--yes` answers, with exit code 2."""
LEDGERS = 3
EVENT, BATCH, ROOTS = "evt-0001", "1761300000", "roots.pem"
"""Names that the pages show; each is replaced by one of the running system."""
STARTER = ["python", "starter.py"]
PLACE_OF_API = "http://127.0.0.1:PORT"
"""How the pages show where the API of jobs is."""


class Shell:
    """A shell as the README describes it: a folder of the user's, and two variables."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        (folder / "scheduler.json").write_text('{"namespaces": {}}')
        (folder / "job.json").write_text(*blocks("json", README.read_text(encoding="utf-8")))
        self.places: dict[str, str] = {
            ROOTS: str(running.root / "tsa" / "roots.pem"),
            PLACE_OF_API: running.announced()["api"]["url"],
        }
        self.environment = {
            "PATH": os.environ["PATH"],
            "VMSH_ROOT": str(running.root),
            "TEMPORAL_ADDRESS": running.announced()["temporal"]["address"],
            "METRICS_PORT": "0",
        }

    def write_files(self) -> None:
        """Write the files that are sealed: new ones, since a file is sealed once."""
        for name in ("minutes.pdf", "ledger.csv"):
            (self.folder / name).write_bytes(os.urandom(64))

    def start(
        self, program: str, arguments: list[str], out: int | IO[str] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(REPOSITORY / program), *self.real(arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=out,
            stderr=subprocess.PIPE if out is subprocess.PIPE else subprocess.STDOUT,
            text=True,
        )

    def real(self, arguments: list[str]) -> list[str]:
        """Return arguments with what the running system has in place of what the pages show."""
        text = shlex.join(arguments)
        for shown, real in self.places.items():
            text = text.replace(shown, real)
        return shlex.split(text)

    def run(self, arguments: list[str]) -> str:
        """Run a command to its end, and learn the ids that it prints."""
        process = self.start("starter.py", arguments)
        out, errors = process.communicate(timeout=SECONDS)
        said = f"{shlex.join(arguments)}: {out}{errors}"
        if refusal := REFUSED.get(arguments[0]):
            assert process.returncode == 2, said
            assert refusal in errors, said
            return out
        assert process.returncode == 0, said
        if arguments[0] == "seal" and "--pending" not in arguments:
            self.places[BATCH] = out.strip()
            self.places[EVENT] = errors.splitlines()[0].removeprefix("event ")
        return out

    def call(self, arguments: list[str]) -> None:
        """Call the API of jobs as it is shown; it takes what it is given."""
        done = subprocess.run(
            ["curl", "--silent", *self.real(arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        assert json.loads(done.stdout)["success"] is True, done.stdout

    def run_for_a_while(self, program: str, arguments: list[str]) -> None:
        """Start a command that does not end by itself, and end it as a user does once it has said something."""
        said = self.folder / "said.txt"
        with said.open("w") as out:
            process = self.start(program, arguments, out)
        try:
            System.wait(lambda: said.stat().st_size, f"a word of {program}", SECONDS)
            time.sleep(2)  # it goes on by itself
            assert process.poll() is None, said.read_text()
            process.send_signal(signal.SIGINT)
            code = process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()
        assert code in {0, 130}, said.read_text()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("shown")
    running = Running(folder / "root")
    try:
        running.announced()
        yield Shell(running, folder / "user")
    finally:
        running.end()


def _anchored(shell: Shell, verify: list[str]) -> bool:
    """Whether every ledger holds the batch for good."""
    process = shell.start("starter.py", [*verify, "--json"])
    out, _ = process.communicate(timeout=SECONDS)
    if process.returncode != 0:
        return False
    levels = json.loads(out)["levels"]
    return not levels["awaited"] and len(levels["proven"]) >= LEDGERS


@pytest.mark.parametrize(
    "page", [README, REPOSITORY / "docs" / "commands.md"], ids=lambda p: p.stem
)
def test_every_command_that_is_shown_does_what_it_says(shell: Shell, page: Path) -> None:
    shown = commands("", page.read_text(encoding="utf-8"))
    assert [words[:2] for words in shown].count(STARTER) >= 6
    shell.write_files()
    for program, given in ((words[:2], words[2:]) for words in shown):
        if program[:1] == ["curl"]:
            shell.call([*program[1:], *given])
        if program != STARTER or any(word in given for word in ENDLESS):
            continue
        if given[:2] == ["verify", "--batch"]:
            System.wait(
                lambda given=given: _anchored(shell, given), "three ledgers hold it", SECONDS
            )
        shell.run(given)


def test_what_is_shown_and_does_not_end_runs_until_it_is_ended(
    shell: Shell, tmp_path: Path
) -> None:
    shell.places["/var/tmp/vm"] = str(tmp_path / "vm")
    started = 0
    for program in ("starter.py", "worker.py"):
        for given in commands(f"python {program} "):
            if any(word in given for word in ENDLESS):
                shell.run_for_a_while(program, given)
                started += 1
    assert started == 3
