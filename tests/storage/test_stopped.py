"""Decisions that namespaces stay stopped: durable, and a damaged one hides no other."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.stopped import Entries, StopDecision
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.storage.files import LocalStore, version_of
from vaultmesh.storage.stopped import StoppedNamespaces

AT = datetime(2026, 1, 15, 10, tzinfo=UTC)
EARLIER, LATER = AT.timestamp() - 0.5, AT.timestamp() + 0.5
ODD = "dao:" + "Ä/.." * 60


def decision(namespace: str) -> StopDecision:
    return StopDecision(
        namespace=namespace,
        config_hash="ab",
        at=AT,
        by="ann@host",
        reason="moved",
    )


def entries(written_at: float = EARLIER, /, **changed: str) -> Entries:
    """Return what a file says that names both namespaces, by default with the entry that is decided about."""
    hashes = {"one": "ab", "two": "ab", **changed}
    return Entries({f"dao:{name}": each for name, each in hashes.items()}, written_at)


ENTRIES = entries()
BESIDE_ODD = Entries({**ENTRIES.hashes, ODD: "ab"}, EARLIER)
ONE = Entries({"dao:one": "ab"}, EARLIER)


def file_of(root: Path, namespace: str) -> Path:
    return root / STOPPED_FOLDER / f"{path_form(namespace)}.json"


def test_a_decision_is_kept_until_it_is_dropped(tmp_path: Path) -> None:
    for namespace in ("dao:one", ODD):
        StoppedNamespaces(LocalStore(tmp_path)).keep(decision(namespace))
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    assert stopped.look(BESIDE_ODD).stopped == {
        "dao:one": decision("dao:one"),
        ODD: decision(ODD),
    }
    assert stopped.drop("dao:one", version_of(decision("dao:one").content()))
    assert stopped.drop("dao:two", "any")
    assert set(stopped.look(BESIDE_ODD).stopped) == {ODD}


def test_a_decision_about_an_entry_that_changed_since_is_outdated(tmp_path: Path) -> None:
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    stopped.keep(decision("dao:one"))
    decided = stopped.look(entries(LATER, one="cd"))
    assert (decided.stopped, decided.outdated) == ({}, {"dao:one"})


def test_a_worker_with_an_older_file_does_not_undo_a_decision(tmp_path: Path) -> None:
    StoppedNamespaces(LocalStore(tmp_path)).keep(decision("dao:one"))
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    for _ in range(2):
        decided = stopped.look(entries(EARLIER, one="old"))
        assert (set(decided.stopped), decided.outdated) == ({"dao:one"}, set())
    assert set(stopped.look(entries(LATER)).stopped) == {"dao:one"}


def test_a_change_that_is_seen_ends_a_decision_whatever_the_time_of_its_file(
    tmp_path: Path,
) -> None:
    """`cp -p` and `rsync -t` put a file there that looks older than it is."""
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    stopped.keep(decision("dao:one"))
    assert set(stopped.look(entries(EARLIER)).stopped) == {"dao:one"}
    assert stopped.look(entries(EARLIER, one="new")).outdated == {"dao:one"}


def test_a_decision_holds_for_the_entry_that_ran_where_another_file_named_none(
    tmp_path: Path,
) -> None:
    """The operator's shell had another namespaces.yaml than the workers."""
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    update = {"config_hash": "", "running_hash": "ran"}
    stopped.keep(decision("dao:one").model_copy(update=update))
    assert set(stopped.look(entries(LATER, one="ran")).stopped) == {"dao:one"}
    assert stopped.look(entries(LATER, one="new")).outdated == {"dao:one"}


def test_a_decision_that_was_made_meanwhile_is_not_removed_with_the_one_that_was_read(
    tmp_path: Path,
) -> None:
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    stopped.keep(decision("dao:one"))
    read = stopped.look(entries(LATER, one="cd"))
    assert read.outdated == {"dao:one"}
    newer = decision("dao:one").model_copy(update={"config_hash": "cd"})
    stopped.keep(newer)
    assert not stopped.drop("dao:one", read.versions["dao:one"])
    assert stopped.decision("dao:one") == newer


def test_decisions_about_namespaces_that_the_file_does_not_name_are_known(tmp_path: Path) -> None:
    stopped = StoppedNamespaces(LocalStore(tmp_path))
    for namespace in ("dao:one", "dao:elsewhere"):
        stopped.keep(decision(namespace))
    file_of(tmp_path, "dao:damaged").write_bytes(b"{")
    assert stopped.others(ENTRIES) == {"dao:elsewhere": decision("dao:elsewhere")}
    assert StoppedNamespaces(LocalStore(tmp_path / "none")).others(ENTRIES) == {}


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
    assert stopped.look(ONE).stopped == {"dao:one": decision("dao:one")}


def test_a_folder_in_a_decisions_place_is_told(tmp_path: Path) -> None:
    file_of(tmp_path, "dao:one").mkdir(parents=True)
    decided = StoppedNamespaces(LocalStore(tmp_path)).look(ONE)
    assert "no file" in decided.unreadable["dao:one"]


def test_a_folder_that_can_not_be_listed_says_so_of_every_namespace(tmp_path: Path) -> None:
    (tmp_path / STOPPED_FOLDER).parent.mkdir(parents=True)
    (tmp_path / STOPPED_FOLDER).symlink_to(tmp_path / STOPPED_FOLDER)
    decided = StoppedNamespaces(LocalStore(tmp_path)).look(ENTRIES)
    assert set(decided.unreadable) == {"dao:one", "dao:two"}
