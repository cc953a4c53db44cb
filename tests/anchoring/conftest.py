"""Gives the tests of anchoring the parts of the EVM room, and files below a folder."""

from pathlib import Path

import pytest

from tests.anchoring.scripted_ledger import Stage
from tests.ledgers.evm.conftest import chain, key, make_submitter, proxy, submitter

__all__ = ["chain", "key", "make_submitter", "proxy", "submitter"]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Return files with one shared batch: its file names no namespace."""
    made = Stage(tmp_path)
    made.batch("b1")
    return made
