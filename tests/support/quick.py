"""Tells which tests need no server, no node and no toolchain: `pytest -m quick` runs these alone.

A test needs one if its module, or the module of a fixture that it takes, leads by imports to a part of `devnet` that
runs a server or a node, or to a module that starts one by a command. What is marked as slow, or as in need of a part, is
not quick either.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = frozenset(
    f"devnet.{name}"
    for name in (
        "anvil", "bitcoind", "temporal", "test_server", "timestamp_server", "tsa", "tctl", "promtool", "solc", "postgres",
        "local_postgres", "amtool", "prometheus", "kubectl", "buildah", "image_base",
    )
)  # fmt: skip
"""Modules of parts that take a while to start, or to be had at all."""
BUILDS = '["go", "build"'
"""How a test asks for a toolchain."""
FOLLOWED = ("tests.", "bench.")
"""Beginnings of modules whose imports are followed: what the product itself imports it does not start."""
STARTS = re.compile(
    r"\b(TemporalServer|start_local|start_time_skipping|temporal_cli|LocalSystem|BenchSystem|Running|Drill)\("
    r"|\((TemporalServer|LocalSystem|BenchSystem)\)"
    r"|[\"'](start-dev|dev|demo|bench)[\"']"
)
"""How a test comes to a Temporal server: by itself, or by a program that brings its own."""
ONLY_NAMES = frozenset({"tests.docs.test_readme", "tests.architecture.test_replays"})
"""Modules that name such programs and start none."""
NOT_QUICK = ("server", "evm", "btc", "fault", "slow")
"""Marks of tests that say so themselves."""


def mark_quick(items: list[pytest.Item]) -> None:
    """Mark the tests that need no server and no node."""
    for item in items:
        if not isinstance(item, pytest.Function) or any(map(item.get_closest_marker, NOT_QUICK)):
            continue
        if not any(map(needs_a_part, modules_of(item))):
            item.add_marker("quick")


def starts_a_server(source: str) -> bool:
    """Whether a test could bring up a Temporal server of its own."""
    return STARTS.search(source) is not None


def modules_of(item: pytest.Function) -> Iterator[str]:
    """Return the names of the modules that make a test: its own, and those of its fixtures."""
    yield item.module.__name__
    for fixtures in item._fixtureinfo.name2fixturedefs.values():
        yield from (fixture.func.__module__ for fixture in fixtures)


@cache
def needs_a_part(module: str) -> bool:
    """Whether a module leads to a program that is a server or a node."""
    reached = _reached(module)
    return bool(reached & PROGRAMS) or any(map(_runs_something, reached))


@cache
def _runs_something(module: str) -> bool:
    source = _source(module)
    return BUILDS in source or (module not in ONLY_NAMES and starts_a_server(source))


@cache
def _reached(module: str) -> frozenset[str]:
    reached, ahead = set[str](), [module]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += _imported(name)
    return frozenset(reached)


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Return what a module imports: names of modules, and of what may be modules."""
    names: list[str] = []
    for node in _statements(ast.parse(_source(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return tuple(names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements below a node, and nothing of the expressions, which are most of it and import nothing."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from _statements(child)


@cache
def _source(module: str) -> str:
    """Return a module's text if its imports are followed."""
    place = REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
    if not module.startswith(FOLLOWED) or not place.exists():
        return ""
    return place.read_text(encoding="utf-8")
