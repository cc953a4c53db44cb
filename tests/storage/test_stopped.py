"""Decisions that namespaces stay stopped: durable, and a damaged one hides no other."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.stopped import StopDecision
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.stopped import StoppedNamespaces

ENTRIES = {"dao:one": "ab", "dao:two": "ab"}
ODD = "dao:" + "Ä/.." * 60


def decision(namespace: str) -> StopDecision:
    return StopDecision(
        namespace=namespace,
        config_hash="ab",
        at=datetime(2026, 1, 15, 10, tzinfo=UTC),
        by="ann@host",
        reason="moved",
    )


def file_of(root: Path, namespace: str) -> Path:
    return root / STOPPED_FOLDER / f"{path_form(namespace)}.json"


def test_a_decision_is_kept_until_it_is_dropped(tmp_path: Path) -> None:
    for namespace in ("dao:one", ODD):
        StoppedNamespaces(LocalStore(tmp_path)).keep(decision(namespace))
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    assert stopped.look({**ENTRIES, ODD: "ab"}).stopped == {
        "dao:one": decision("dao:one"),
        ODD: decision(ODD),
    }
    stopped.drop("dao:one")
    stopped.drop("dao:two")
    assert set(stopped.look({**ENTRIES, ODD: "ab"}).stopped) == {ODD}


def test_a_decision_about_an_entry_that_changed_since_is_outdated(tmp_path: Path) -> None:
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    stopped.keep(decision("dao:one"))
    decided = stopped.look({"dao:one": "cd"})
    assert (decided.stopped, decided.outdated) == ({}, {"dao:one"})


def test_a_decision_says_when_by_whom_and_why(tmp_path: Path) -> None:
    assert decision("dao:one").text == "unregistered at 2026-01-15T10:00:00Z by ann@host: moved"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", decision("dao:x").content()])
def test_a_damaged_decision_is_named_with_its_mend_and_hides_no_other(
    tmp_path: Path, content: bytes
) -> None:
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    for namespace in ("dao:one", "dao:two"):
        stopped.keep(decision(namespace))
    file_of(tmp_path, "dao:one").write_bytes(content)
    decided = stopped.look(ENTRIES)
    assert set(decided.stopped) == {"dao:two"}
    assert file_of(tmp_path, "dao:one").name in decided.unreadable["dao:one"]
    assert "register --namespace dao:one" in decided.unreadable["dao:one"]
    with pytest.raises(InvalidValue):
        stopped.decision("dao:one")
    stopped.keep(decision("dao:one"))
    assert stopped.look({"dao:one": "ab"}).stopped == {"dao:one": decision("dao:one")}


def test_a_folder_in_a_decisions_place_is_told(tmp_path: Path) -> None:
    file_of(tmp_path, "dao:one").mkdir(parents=True)
    decided = StoppedNamespaces(LocalStore(tmp_path)).look({"dao:one": "ab"})
    assert "no file" in decided.unreadable["dao:one"]


def test_a_folder_that_can_not_be_listed_says_so_of_every_namespace(tmp_path: Path) -> None:
    (tmp_path / STOPPED_FOLDER).parent.mkdir(parents=True)
    (tmp_path / STOPPED_FOLDER).symlink_to(tmp_path / STOPPED_FOLDER)
    decided = StoppedNamespaces(LocalStore(tmp_path)).look(ENTRIES)
    assert set(decided.unreadable) == {"dao:one", "dao:two"}
