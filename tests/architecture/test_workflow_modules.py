"""Workflow modules are shared by all workflows of a worker: they hold constants alone, and tests sandbox them wholly."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import workflows
from tests.workflows.stage import runner
from worker import OWN_CODE, PASSED_THROUGH

MODULES = [
    importlib.import_module(f"workflows.{one.name}")
    for one in pkgutil.iter_modules(workflows.__path__)
]


def changing(source: str) -> list[str]:
    """Return how a module could change a variable of its own: `global`, or a lower-case name at the top."""
    tree = ast.parse(source)
    found = ["global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [*targets, *([node.target] if isinstance(node, ast.AnnAssign) else [])]
        found += [
            one.id
            for one in targets
            if isinstance(one, ast.Name) and not one.id.isupper() and not one.id[0].isupper()
        ]
    return [one for one in found if not (one.startswith("_") and one[1:].isupper())]


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.__name__)
def test_a_workflow_module_holds_no_state(module: ModuleType) -> None:
    assert changing(Path(str(module.__file__)).read_text(encoding="utf-8")) == []
    containers = [
        name
        for name, value in vars(module).items()
        if isinstance(value, list | set | bytearray) and not name.startswith("__")
    ]
    assert containers == []


@pytest.mark.parametrize(
    "source",
    ["seen = 0\n", "seen: int = 0\n", "N = 0\ndef f():\n    global N\n    N += 1\n"],
)
def test_state_would_be_found(source: str) -> None:
    assert changing(source)


def test_the_tests_of_workflows_sandbox_them() -> None:
    assert OWN_CODE == ("workflows",)
    assert not set(OWN_CODE) & set(PASSED_THROUGH)
    assert "workflows" not in runner().restrictions.passthrough_modules
