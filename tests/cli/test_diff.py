"""`diff`: the file against what runs, without any worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.temporal import TemporalServer
from tests.cli.conftest import Command, cadences, write_namespaces
from tests.support.replays import replayed_server
from vaultmesh.domain.namespaces.config import parse_namespaces
from vaultmesh.domain.namespaces.drift import changed_keys
from vaultmesh.domain.status import CadenceView, NamespaceView

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with replayed_server(tmp_path_factory.mktemp("diff")) as running:
        yield running


def test_what_is_missing_is_a_difference_and_a_bad_file_is_bad_usage(
    run: Command, server: TemporalServer, tmp_path: Path
) -> None:
    place = write_namespaces(tmp_path / "namespaces.yaml", {})
    environment = {"TEMPORAL_ADDRESS": server.address, "VMSH_ROOT": str(tmp_path)}
    same = run("diff", "--config", place, **environment)
    assert (same.code, same.out) == (0, "")
    assert run("diff", "--config", place, "--json").json() == {"differences": []}
    write_namespaces(place, {"diff:new": cadences()})
    outcome = run("diff", "--config", place)
    assert (outcome.code, outcome.out) == (1, "diff:new: missing: no workflow runs\n")
    place.write_text("namespaces: nonsense")
    outcome = run("diff", "--config", place)
    assert (outcome.code, outcome.out) == (2, "")
    assert str(place) in outcome.err


def test_the_keys_that_differ_are_named() -> None:
    def cadence(every: str, target: str = "eip155:1", **more: object) -> dict[str, object]:
        return {"target": target, "every": every, **more}

    def keys(batches: str = "", **entry: dict[str, object]) -> list[str]:
        document: dict[str, Any] = {"cadence": entry, **({"batches": batches} if batches else {})}
        return changed_keys(
            parse_namespaces({"namespaces": {"dao:x": document}}).specs["dao:x"], view
        )

    runs = {label: CadenceView(target="eip155:1", every="1h") for label in ("fast", "strong")}
    view = NamespaceView(namespace="dao:x", cadences=runs)
    assert keys(fast=cadence("2h"), cold=cadence("1h", "rfc3161:tsa"), batches="b") == [
        "batches default -> b",
        "cold added",
        "fast.every 1h -> 2h",
        "strong removed",
    ]
    same = cadence("1h")
    assert keys(fast=cadence("1h", "eip155:2"), strong=same) == ["fast.target eip155:1 -> eip155:2"]
    assert keys(fast=cadence("1h", confirmations=3), strong=same) == ["confirmations or phase"]
