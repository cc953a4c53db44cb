"""Registration where some namespaces do not take their configuration."""

from pathlib import Path
from typing import cast

import pytest
from temporalio.client import Client

from tests.cli.conftest import cadences, write_namespaces
from tests.support.running_namespaces import REFUSED, RunningNamespaces
from vaultmesh.process.config_files import load_namespaces
from vaultmesh.process.registration import NotRegistered, register
from vaultmesh.process.settings import Settings


async def test_clocks_that_refuse_are_told_at_the_end_and_hold_up_no_other(tmp_path: Path) -> None:
    names = ["dao:a", "dao:b", "dao:c", "dao:d"]
    file = write_namespaces(tmp_path / "namespaces.yaml", {name: cadences() for name in names})
    specs = load_namespaces(file).specs
    namespaces = RunningNamespaces(draining={"dao:a"}, ending={"dao:c"})
    settings = Settings.from_environment({"VMSH_ROOT": str(tmp_path)})
    registering = register(cast("Client", namespaces), specs, settings)
    done = [(await anext(registering)).namespace for _ in range(2)]
    assert done == namespaces.configured == ["dao:b", "dao:d"]
    with pytest.raises(NotRegistered) as refused:
        await anext(registering)
    assert str(refused.value).splitlines() == [
        f"dao:a: {REFUSED}",
        "dao:c: its workflow has just ended; register it again",
    ]
