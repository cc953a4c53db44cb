"""Gives tests of the API one that runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.running import RunningApi, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RunningApi]:
    async with running(tmp_path) as started:
        yield started
