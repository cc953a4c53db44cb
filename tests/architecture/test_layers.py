"""Imports go in one direction, determinism is linted, modules are short: and each rule catches a planted breach."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultmesh.process.version import VERSION

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("vaultmesh", "workflows", "activities", "devnet")
LONGEST_MODULE, LONGEST_FUNCTION = 500, 40
BIN = Path(sys.executable).parent


def modules() -> Iterator[Path]:
    """Return the product's own modules."""
    for package in PACKAGES:
        yield from sorted((REPOSITORY / package).rglob("*.py"))
    yield from (
        path for path in map(REPOSITORY.joinpath, ("worker.py", "starter.py")) if path.exists()
    )


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_the_worker_knows_nothing_of_the_command_line_or_of_local_parts() -> None:
    tops = {".".join(name.split(".")[:2]) for name in imported(REPOSITORY / "worker.py")}
    assert not {name for name in tops if name.split(".")[0] in ("devnet", "tests", "starter")}
    assert "vaultmesh.cli" not in tops


def test_the_starter_knows_no_workflow_code_and_no_adapter() -> None:
    starter = REPOSITORY / "starter.py"
    if starter.exists():
        tops = {name.split(".")[0] for name in imported(starter)}
        assert not tops & {"workflows", "worker", "tests"}


def test_workflows_import_the_domain_and_temporal_alone() -> None:
    allowed = {"vaultmesh", "workflows", "temporalio", "pydantic", "typing_extensions"}
    for path in (REPOSITORY / "workflows").glob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)
        assert tops <= allowed, path
        assert not {name for name in imported(path) if name.startswith("vaultmesh.process")}, path


@pytest.mark.parametrize(
    "planted",
    [
        "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n",
        "import time\n\nNOW = time.time()\n",
        "import time\n\ntime.sleep(1)\n",
        "import random\n\nONE = random.random()\n",
        "import secrets\n\nONE = secrets.token_hex()\n",
        "import uuid\n\nONE = uuid.uuid4()\n",
        "import os\n\nONE = os.environ['HOME']\n",
        "import asyncio\n\nONE = asyncio.wait\n",
    ],
)
@pytest.mark.parametrize("folder", ["workflows", "vaultmesh/domain"])
def test_ruff_catches_what_is_not_deterministic(planted: str, folder: str) -> None:
    done = subprocess.run(
        [BIN / "ruff", "check", "--select", "TID251", "--stdin-filename", f"{folder}/planted.py", "-"],
        input=planted, capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert "TID251" in done.stdout


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a tree."""
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def copied(folder: Path) -> Path:
    """Return a copy of the product's packages."""
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


def test_imports_go_in_one_direction() -> None:
    done = lint_imports(REPOSITORY)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("workflows/planted.py", "import activities.anchoring.stores\n"),
        ("workflows/planted.py", "import vaultmesh.process.settings\n"),
        ("vaultmesh/domain/planted.py", "import temporalio\n"),
        ("vaultmesh/domain/planted.py", "import vaultmesh.process.settings\n"),
        ("devnet/planted.py", "import vaultmesh.domain.names\n"),
    ],
)
def test_an_import_in_the_wrong_direction_is_caught(
    tmp_path: Path, module: str, planted: str
) -> None:
    tree = copied(tmp_path)
    (tree / module).write_text(planted, encoding="utf-8")
    done = lint_imports(tree)
    assert done.returncode == 1, done.stdout + done.stderr


def test_no_module_is_longer_than_500_lines() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules()
    }
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    found = {
        f"{path.relative_to(REPOSITORY)}: {node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    }
    assert found == set()


def test_ruff_holds_the_complexity_of_a_function() -> None:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    ruff = content["tool"]["ruff"]["lint"]
    assert "C90" in ruff["select"]
    assert ruff["mccabe"]["max-complexity"] == 8


def test_the_version_is_the_same_everywhere() -> None:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert content["project"]["version"] == VERSION


def tracked() -> list[Path]:
    """Return the files that git knows."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [REPOSITORY / name for name in done.stdout.split("\0") if name]


MACHINE = re.compile(
    rb"/(?:root|work|home)/[a-z.]"
    rb"|registry\.npmjs|pypi\.org|pythonhosted\.org|repo1?\.maven|proxy\.golang"
)  # fmt: skip


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path in tracked():
        if path.suffix in (".png", ".ots", ".der") or not path.is_file():
            continue
        for line in path.read_bytes().splitlines():
            if MACHINE.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}: {line[:100]!r}")  # noqa: PERF401 - three levels read better as loops
    assert found == []
