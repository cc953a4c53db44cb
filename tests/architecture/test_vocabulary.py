"""Names that we define keep to the glossary; a finding names its row."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY, modules

GLOSSARY = {
    "tenant": "namespace", "tick": "cadence", "freq": "every", "period_str": "every",
    "should_run": "due", "lane": "reservation", "super_batch": "round", "superbatch": "round",
    "chain_str": "target", "dest": "target", "bundle": "batch", "merkle_path": "inclusion_proof",
    "notarize": "anchor", "notarise": "anchor", "confs": "depth", "rollback": "reorg",
    "resend": "rebroadcast", "error_type": "failure kind", "retry_count": "failures",
    "misfire": "overlap policy", "wf": "workflow", "tq": "task queue", "manager": "port, adapter",
    "utils": "a word for what it is", "util": "a word for what it is",
    "helper": "a word for what it is", "helpers": "a word for what it is",
    "pen": "aggregator", "book": "schedule", "bookkeeping": "schedule", "rider": "late joiner",
    "riders": "late joiners", "boarding": "join", "teller": "replies", "driving": "submission",
    "lookout": "resume open rounds", "sight": "provider view", "horizon": "chain tip",
    "exhibit": "evidence report", "judgement": "token report", "ladder": "backoff", "rung": "level",
    "playground": "dev system",
}  # fmt: skip
"""What is not written, and the word for it."""
NAMELESS = {"one", "found", "told", "given", "shown"}
"""No names for variables and parameters: the thing's own name is. Fields of messages and files may keep them."""


def names(path: Path) -> Iterator[str]:
    """Return the names that a module defines: itself, classes, functions, arguments, variables, fields."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
            ):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


def words(name: str) -> str:
    """Return a name as lower-case words between underscores."""
    return "_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_") + "_"


def breaches(name: str) -> list[str]:
    """Return the glossary rows that a name breaks."""
    return [
        f"{name}: not {wrong!r}, the glossary says {right!r}"
        for wrong, right in GLOSSARY.items()
        if f"_{wrong}_" in words(name)
    ]


def test_no_name_of_ours_is_in_the_glossarys_right_column() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {breach}"
        for path in modules()
        for name in sorted(set(names(path)))
        for breach in breaches(name)
    ]
    assert found == []


def variables(tree: ast.AST) -> Iterator[str]:
    """Return the variables and parameters of a module; a field that a class declares is none."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    declared = [part for node in classes for part in node.body if isinstance(part, ast.AnnAssign)]
    fields = {part.target for part in declared}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if node not in fields:
                yield name
            case (
                ast.arg(arg=name)
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
                | ast.ExceptHandler(name=str(name))
            ):
                yield name
            case _:
                pass


def nameless(source: str) -> list[str]:
    """Return the variables and parameters of a module that say nothing of what they hold."""
    return sorted(NAMELESS.intersection(variables(ast.parse(source))))


def test_a_variable_is_named_by_what_it_holds() -> None:
    product = (path for path in modules() if path.relative_to(REPOSITORY).parts[0] != "devnet")
    assert {
        str(path.relative_to(REPOSITORY)): nameless_here
        for path in (*product, *sorted((REPOSITORY / "docs").rglob("*.py")))
        if (nameless_here := nameless(path.read_text(encoding="utf-8")))
    } == {}


@pytest.mark.parametrize(
    "planted",
    [
        "one = 1",
        "def seal(given): ...",
        "def seal(*, told=None): ...",
        "best = max(rounds, key=lambda one: one.block)",
        "ids = [one.id for one in rounds]",
        "if found := index.get(key): ...",
        "def read():\n    found: list[str] = []",
        "class Look:\n    key: Key = lambda one: one.block",
        "match reply:\n    case [shown, *_]: ...",
        "match reply:\n    case {'id': 1, **given}: ...",
    ],
)
def test_a_planted_variable_without_a_name_is_caught(planted: str) -> None:
    assert nameless(planted)


@pytest.mark.parametrize(
    "fine", ["class Check:\n    found: str", "Fate(shown='')", "check.found", "found_at = 1"]
)
def test_a_field_may_keep_its_name(fine: str) -> None:
    assert not nameless(fine)


def test_a_docstring_says_what_a_module_does() -> None:
    for path in modules():
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[
            0
        ]
        assert not first.startswith("The place"), path


@pytest.mark.parametrize("planted", ["on_tick", "TenantManager", "super_batch_id", "chain_str"])
def test_a_planted_name_is_caught(planted: str) -> None:
    assert breaches(planted)


@pytest.mark.parametrize("fine", ["ticket", "destination_port", "plane", "retries"])
def test_a_word_that_only_contains_another_is_fine(fine: str) -> None:
    assert not breaches(fine)
