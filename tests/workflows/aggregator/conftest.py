"""Runs every test of aggregators on the real server."""

import pytest

from tests.workflows.stage import Stage


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: the time-skipping one wedges a run that cancels an activity."""
    return real_stage
