"""Gives generated tests their rules: the same examples in every run, and none fails for being slow."""

import pytest
from hypothesis import settings

SAID = "said"
"""Property of a test (`record_property`) that is printed at the end: what was counted is told."""

settings.load_profile("ci")  # its deadline of 200 ms is off: a pause of the machine is no failure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to say beside having passed; it comes from every process."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == SAID:
                terminalreporter.write_line(f"{report.nodeid}: {value}")
