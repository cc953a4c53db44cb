"""Gives all tests their rules.

1. Generated tests take the same examples in every run, and none fails for being slow.
2. Tests that need no server, no node and no toolchain are marked `quick`.
3. Modules that wait longest come first, and those that only wait beside the others.
4. Python keeps the bytecode of what it imports, also where an image told it not to: hundreds of programs are started, and each
   of them, and each sandbox of a workflow, would compile everything again.
5. Ctrl-C reaches the programs that tests start, also where a shell started the tests in the background and ignores it.
6. A workflow task is blocked after 30 s, not after 2: the machine may be busy.
7. A test that is asked once more gets what its module shares anew.
8. What was imported and collected stays to the end, so the collector of garbage does not go through it again and again.
"""

import gc
import os
import signal
import sys
from typing import Any

import pytest
from hypothesis import settings

from tests.support import fresh_reruns
from tests.support.order import WaitingBeside, put_long_modules_first
from tests.support.patience import be_patient
from tests.support.quick import mark_quick

REASON_LINES, REASON_LETTERS = 3, 300
"""Of what is shown at once of why a test failed."""
SAID = "said"
"""Property of a test (`record_property`) that is printed at the end: what was counted is told."""

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"

os.environ.pop(NO_BYTECODE, None)  # programs that tests start, and the processes of xdist
sys.dont_write_bytecode = False
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
be_patient()
settings.load_profile("ci")  # its deadline of 200 ms is off: a pause of the machine is no failure


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and sort before `-m` selects."""
    mark_quick(items)
    put_long_modules_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WaitingBeside | None:
    """Give modules out as `loadfile` does, and those that only wait to processes of their own."""
    return WaitingBeside(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Keep what stays out of the collector's way: thousands of tests and all modules."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to say beside having passed; it comes from every process."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == SAID:
                terminalreporter.write_line(f"{report.nodeid}: {value}")


class SaysFailures:
    """Prints a failed test and why as soon as it failed: a run takes long, and its end tells nothing where it is cut off."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.outcome == "rerun":
            lines = report.longreprtext.strip().splitlines() or [""]
            reasons = [line for line in lines if line.startswith("E  ")] or lines[-1:]
            what = "failed" if report.failed else "failed, and is asked once more"
            self._terminal.write_line(f"\n{report.when} {what}: {report.nodeid}")
            for line in reasons[:REASON_LINES]:
                self._terminal.write_line(line[:REASON_LETTERS])


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have failures said where results are gathered, and second attempts begin anew."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        config.pluginmanager.register(SaysFailures(terminal))
    config.pluginmanager.register(fresh_reruns)
