"""A dead worker is noticed within ten seconds, whatever it did for a target, and a living one is not taken for dead."""

import pytest

from activities.heartbeat import BEAT_SECONDS
from vaultmesh.domain.names import ANCHORS_QUEUE
from workflows import options

OF_TARGETS = {
    name: value
    for name, value in vars(options).items()
    if isinstance(value, dict) and value.get("task_queue") == ANCHORS_QUEUE
}


@pytest.mark.parametrize("name", OF_TARGETS)
def test_a_dead_worker_is_noticed_within_ten_seconds(name: str) -> None:
    heartbeat = OF_TARGETS[name]["heartbeat_timeout"]
    assert 4 * BEAT_SECONDS < heartbeat.total_seconds() <= 10


def test_every_activity_of_a_target_is_looked_at() -> None:
    assert {"SEAL", "RESERVE", "SIGN", "BROADCAST", "OBSERVE_ALONE", "RECORD"} <= set(OF_TARGETS)
