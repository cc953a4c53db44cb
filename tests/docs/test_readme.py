"""What the README and its pages say is what the code does."""

import re
from pathlib import Path

import pytest
import yaml

import worker
from docs.tables import MEANING, TABLES, variables_read, with_table
from starter import build_parser
from tests.docs.readme import README, REPOSITORY, TEXT, blocks, commands, rows, typed
from vaultmesh.domain.failures import ADVICE, FailureKind
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.config_files import load_anchors, load_namespaces


def _page(name: str) -> str:
    return (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_as_the_code_has_it(name: str) -> None:
    assert with_table(name, _page(name)) == _page(name), "run python -m docs.tables"


def test_a_table_that_is_behind_the_code_shows() -> None:
    text = _page("failures")
    behind = text.replace(ADVICE[FailureKind.AUTH], "ask somebody")
    assert behind != text
    assert with_table("failures", behind) == text


def test_a_page_without_markers_is_refused() -> None:
    for name in TABLES:
        with pytest.raises(LookupError, match=name):
            with_table(name, _page(name).replace("<!-- end -->", ""))


def test_every_variable_that_is_read_is_described_and_no_other() -> None:
    assert list(MEANING) == variables_read()


SHOWN = commands("python starter.py ") + typed("python starter.py ")


@pytest.mark.parametrize("given", SHOWN, ids=" ".join)
def test_every_command_that_is_shown_is_one(given: list[str]) -> None:
    assert callable(build_parser().parse_args(given).run)


def test_every_trust_that_can_be_stated_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["verify", "--help"])
    taken = set(re.findall(r"--trust(?:-[a-z]+)?(?= )", capsys.readouterr().out))
    assert {option.strip("`").split()[0] for option, _ in rows("| option | you know")} == taken


@pytest.mark.parametrize("given", commands("python worker.py "), ids=" ".join)
def test_every_start_of_a_worker_that_is_shown_is_one(given: list[str]) -> None:
    assert worker.parse_arguments(given).roles == list(worker.ROLES)


def test_every_target_of_make_that_is_shown_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"\bmake (?!what )([a-z][a-z-]+)",
            " ".join([*blocks("sh"), *re.findall("`[^`\n]+`", TEXT)]),
        )
    )
    assert {"demo", "test", "check"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


NAMESPACES, *ANCHORS = blocks("yaml", _page("configuration"))


def test_the_example_of_namespaces_is_one_that_a_worker_takes(tmp_path: Path) -> None:
    (tmp_path / "namespaces.yaml").write_text(NAMESPACES)
    assert load_namespaces(tmp_path / "namespaces.yaml").warnings == ()


def test_each_scheme_has_an_example_of_anchors() -> None:
    assert sorted(scheme for text in ANCHORS for scheme in yaml.safe_load(text)) == sorted(SCHEMES)


@pytest.mark.parametrize("text", ANCHORS, ids=lambda text: text.split(":")[0])
def test_an_example_of_anchors_is_one_that_a_worker_takes(text: str, tmp_path: Path) -> None:
    (tmp_path / "anchors.yaml").write_text(text)
    given = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "http://127.0.0.1:1")
    given["BASE_CONTRACT"] = f"0x{'ab' * 20}"
    ((scheme, sections),) = yaml.safe_load(text).items()
    (reference,) = set(sections) - {"default"}
    target = Target(scheme, reference)
    model = settings_model(target)
    settings = load_anchors(tmp_path / "anchors.yaml", given).settings(target, model)
    written = {key for section in sections.values() for key in section}
    assert {model.model_fields[name].alias for name in settings.model_fields_set} == written


def test_the_tree_names_every_folder_of_code_and_nothing_else() -> None:
    (tree,) = blocks("text")
    named = [line.split()[0] for line in tree.splitlines()]
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages <= {name.split("/")[0] for name in named}


def test_every_place_to_change_something_exists() -> None:
    for what, place in rows("| to change | go to |"):
        *names, path = re.findall(r"`([^`]+)`", place.split(", then")[0].split("; no code")[0])[:2]
        if path == "namespaces.yaml":
            path = "vmsh/config/namespaces.yaml"
        assert (REPOSITORY / path).exists() or "SCHEMES" in place, what
        for name in names:
            if not (REPOSITORY / name).exists():
                assert name in (REPOSITORY / path).read_text(encoding="utf-8"), what


def test_the_readme_shows_the_same_namespaces_as_the_page_of_configuration() -> None:
    (shown,) = blocks("yaml", README.read_text(encoding="utf-8"))
    assert shown == NAMESPACES


LONGEST_SENTENCE = 30
"""Words. A longer one is read twice."""


def _sentences(text: str) -> list[str]:
    """Return the sentences of a page: no code, no tables, no headings; each item of a list by itself."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "#", "!["))]
    paragraphs = re.split(r"\n\s*\n|\n(?=- )", "\n".join(lines))
    return [
        sentence
        for paragraph in paragraphs
        for sentence in re.split(r"(?<=[.;:!?])\s+", " ".join(paragraph.split()))
        if sentence
    ]


def test_no_sentence_of_the_readme_has_to_be_read_twice() -> None:
    long = [
        sentence
        for sentence in _sentences(README.read_text(encoding="utf-8"))
        if len(sentence.split()) > LONGEST_SENTENCE
    ]
    assert long == []


def test_the_readme_says_what_it_is_within_the_first_lines() -> None:
    first, *_ = README.read_text(encoding="utf-8").split("\n## ")
    assert len(first.splitlines()) <= 15


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert len(local) >= 8
    assert [link for link in local if not (REPOSITORY / link).exists()] == []
