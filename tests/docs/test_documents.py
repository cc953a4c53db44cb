"""The other documents: ids are explained, links lead somewhere, decisions have a rejected option."""

import re
from pathlib import Path

import pytest

from tests.docs.readme import REPOSITORY

REQUIREMENTS = (REPOSITORY / "docs" / "requirements.md").read_text(encoding="utf-8")
DECISIONS = sorted((REPOSITORY / "docs" / "adr").glob("[0-9]*.md"))
DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CHANGELOG.md",
    *(REPOSITORY / "docs").rglob("*.md"),
]
CODE = ("vaultmesh", "workflows", "activities", "devnet", "contracts", "tests")
ID = re.compile(r"(?<![\w.-])[XEMSFBT][1-9][0-9]?(?![\w.])")


def _cited() -> dict[str, Path]:
    files = [path for folder in CODE for path in (REPOSITORY / folder).rglob("*.py")]
    return {
        one: path
        for path in files
        for remark in re.findall(r"\(([A-Z][0-9][^()\n]{0,30})\)", path.read_text(encoding="utf-8"))
        for one in ID.findall(remark)
    }


def test_every_id_that_code_and_tests_cite_is_explained() -> None:
    explained = set(re.findall(r"^\| ([A-Z][0-9]+) \|", REQUIREMENTS, re.MULTILINE))
    unexplained = {one: str(path) for one, path in _cited().items() if one not in explained}
    assert unexplained == {}


def test_every_id_is_explained_once() -> None:
    ids = re.findall(r"^\| ([A-Z][0-9]+) \|", REQUIREMENTS, re.MULTILINE)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_rejected_option_and_what_is_bad_about_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Rejected", "Consequences"]
    assert text.startswith(f"# {int(path.name[:4])}. ")
    assert re.search(r"^- \*\*", text.split("## Rejected")[1], re.MULTILINE)
    assert re.search(r"^- Bad: ", text.split("## Consequences")[1], re.MULTILINE)


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(path: Path) -> None:
    named = re.findall(
        r"`((?:docs|vaultmesh|workflows|activities|contracts|devnet|k8s|ops/prometheus|vmsh)/[\w./-]+)`",
        path.read_text(encoding="utf-8"),
    )
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_whoever_restricts_the_rights_of_the_bitcoin_user_leaves_every_call_that_is_made() -> None:
    code = "".join(
        place.read_text() for place in (REPOSITORY / "vaultmesh/ledgers/bitcoin").glob("*.py")
    )
    called = set(re.findall(r"\.(?:call|wallet)\(\s*\"([a-z]+)\"", code))
    (rights,) = re.findall(
        r"\(`rpcwhitelist`\): (.*?)\.\n", (REPOSITORY / "docs/operations.md").read_text(), re.DOTALL
    )
    assert called
    assert called <= set(re.findall(r"`([a-z]+)`", rights))
