"""Every rule's one place exists."""

import ast
import re

import pytest

from tests.docs.readme import REPOSITORY

ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|\n ").split("|")]
    for line in (REPOSITORY / "docs" / "where.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`" in line
]


def defined(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether a dotted name is defined in a body."""
    first, *rest = names
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner) if name == first:
                return not rest or defined(inner, rest)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name == first:
                return not rest
            case ast.Assign(targets=[ast.Name(id=name)]) if name == first:
                return not rest
            case ast.AnnAssign(target=ast.Name(id=name)) if name == first:
                return not rest
            case _:
                pass
    return False


def test_there_are_at_least_twenty_rules() -> None:
    assert len(ROWS) >= 20


@pytest.mark.parametrize(("rule", "file", "symbol"), ROWS)
def test_a_rule_is_where_the_page_says(rule: str, file: str, symbol: str) -> None:
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    if file.endswith(".go"):
        assert re.search(rf"^(func|type) {symbol}\b", text, re.MULTILINE), rule
        return
    assert defined(ast.parse(text).body, symbol.split(".")), rule


def test_a_symbol_that_is_not_there_is_noticed() -> None:
    tree = ast.parse("class A:\n    def b(self): ...\n")
    assert defined(tree.body, ["A", "b"])
    assert not defined(tree.body, ["A", "c"])
    assert not defined(tree.body, ["b"])
