"""The judge of the drills shares nothing with what it judges."""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY, imported

JUDGE = REPOSITORY / "tests" / "judge"
MODULES = [path for path in sorted(JUDGE.glob("*.py")) if not path.name.startswith("test_")]
ALLOWED = {*sys.stdlib_module_names, "tests.judge"}


def shared(names: Iterable[str]) -> set[str]:
    """Return the modules that are neither Python's nor the judge's own."""
    return {
        name
        for name in names
        if name.split(".")[0] not in ALLOWED and ".".join(name.split(".")[:2]) not in ALLOWED
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_judge_imports_nothing_of_the_product_or_its_libraries(path: Path) -> None:
    assert shared(imported(path)) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_judge_loads_nothing_by_name(path: Path) -> None:
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"__import__", "exec", "eval"}
    assert "importlib" not in imported(path)


@pytest.mark.parametrize(
    "planted",
    [
        "vaultmesh.domain.rounds.tree",
        "activities.anchoring.seal",
        "workflows",
        "devnet.jsonrpc",
        "tests.support.system",
        "web3",
        "tests",
    ],
)
def test_a_judge_that_shares_something_is_caught(planted: str) -> None:
    assert shared(["json", "tests.judge.proofs", planted]) == {planted}
