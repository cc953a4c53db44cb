"""Both configuration files of a running worker, each checked against what the other says."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import write_namespaces
from vaultmesh.domain.target import Target
from vaultmesh.process.config_files import AnchorsSource, NamespacesSource
from vaultmesh.process.settings import Settings
from worker import watched_files


class Files:
    """Two files, and what a worker without keys makes of them."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "vmsh/config"
        self.write("1")
        self.describe("1")
        settings = Settings.from_environment({"VMSH_ROOT": str(root)})
        watched: tuple[NamespacesSource, AnchorsSource] = watched_files(settings, ["workflows"])
        self.namespaces, self.anchors = watched
        self.look()

    def write(self, *chains: str) -> None:
        """Have a namespace anchor on each of these chains."""
        write_namespaces(
            self.folder / "namespaces.yaml",
            {
                f"dao:on{chain}": {"fast": {"target": f"eip155:{chain}", "every": "1h"}}
                for chain in chains
            },
        )

    def describe(self, *chains: str, leaves: int = 5) -> None:
        """Have anchors.yaml describe these chains."""
        contract = "0x" + "11" * 20
        section = {"rpcUrls": ["http://127.0.0.1:1"], "contract": contract, "maxLeaves": leaves}
        content = {"eip155": dict.fromkeys(chains, section)}
        (self.folder / "anchors.yaml").write_text(json.dumps(content))

    def look(self) -> tuple[bool, bool]:
        """Look as a worker does; tells whether namespaces.yaml and anchors.yaml are in use as they are."""
        self.anchors.current()
        self.namespaces.look()
        return not self.namespaces.refused, not self.anchors.refused


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_target_that_nothing_describes_is_refused_until_it_is_described(files: Files) -> None:
    files.write("1", "2")
    assert files.look() == (False, True)
    assert set(files.namespaces.look()) == {"dao:on1"}
    files.describe("1", "2")
    assert files.look() == (True, True)
    assert set(files.namespaces.look()) == {"dao:on1", "dao:on2"}


def test_a_target_in_use_can_not_be_taken_away(files: Files) -> None:
    files.describe("2")
    assert files.look() == (True, False)
    files.describe("1")
    assert files.look() == (True, True)


def test_both_files_may_move_to_another_target_at_once(files: Files) -> None:
    files.write("2")
    files.describe("2")
    assert files.look() == (True, True)
    assert files.namespaces.targets_in_use == {Target.parse("eip155:2")}


def test_a_refused_namespaces_file_keeps_nobody_from_mending_anchors(files: Files) -> None:
    files.write("1", "3")
    assert files.look() == (False, True)
    version, _ = files.anchors.current()
    files.describe("1", leaves=6)
    assert files.look() == (False, True)
    assert files.anchors.current()[0] != version
