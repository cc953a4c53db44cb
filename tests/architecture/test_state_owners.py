"""The aggregator's state has owners: a field is written by its own object's methods alone, and each rule catches a breach."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY

WORKFLOW = sorted((REPOSITORY / "workflows" / "aggregator").glob("*.py"))
PARTS = [
    REPOSITORY / "vaultmesh" / "domain" / "aggregator" / f"{name}.py"
    for name in ("state", "waiting", "rounds", "open_round", "pace")
]
CHANGING = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse",
    "setdefault", "sort", "update",
}  # fmt: skip
"""Methods that change a list, dictionary or set."""
HOLDERS = {"AggregatorState": {"workflow"}, "WaitingRequests": {"replies"}}
"""Modules of the workflow that know these classes; everybody else asks them."""


def bare(node: ast.expr) -> ast.expr:
    """Return what an expression takes an item of."""
    while isinstance(node, ast.Subscript | ast.Starred):
        node = node.value
    return node


def is_foreign(node: ast.expr) -> bool:
    """Whether an expression is a field of something else than `self`."""
    inner = bare(node)
    if not isinstance(inner, ast.Attribute):
        return False
    return not (isinstance(inner.value, ast.Name) and inner.value.id == "self")


def targets(node: ast.AST) -> Iterator[ast.expr]:
    """Return what a statement writes or deletes."""
    match node:
        case ast.Assign(targets=written) | ast.Delete(targets=written):
            yield from (part for target in written for part in unpacked(target))
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            yield from unpacked(target)
        case ast.AsyncFor(target=target) | ast.comprehension(target=target):
            yield from unpacked(target)
        case ast.withitem(optional_vars=ast.expr() as target):
            yield from unpacked(target)
        case ast.Call(func=ast.Attribute(value=changed, attr=method)) if method in CHANGING:
            yield changed
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[changed, *_]):
            yield ast.Attribute(value=changed, attr="", ctx=ast.Store())


def unpacked(target: ast.expr) -> Iterator[ast.expr]:
    """Return the parts of a target that is a tuple or list."""
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from unpacked(part)
    else:
        yield target


def foreign_writes(source: str) -> list[str]:
    """Return the writes to fields of other objects, also through a local name for such a field."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    aliases = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and is_foreign(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        ast.unparse(target)
        for node in nodes
        for target in targets(node)
        if is_foreign(target)
        or (
            isinstance(name := bare(target), ast.Name)
            and name.id in aliases
            and (name is not target or isinstance(node, ast.Call))
        )
    ]


def named(source: str) -> set[str]:
    """Return the names that a module uses."""
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


@pytest.mark.parametrize(
    "path", [*WORKFLOW, *PARTS], ids=lambda path: str(path.relative_to(REPOSITORY))
)
def test_a_field_is_written_by_its_own_objects_methods_alone(path: Path) -> None:
    assert foreign_writes(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "self._state.held = None",
        "self._rounds.recovered = False",
        "row.state, row.view = state, view",
        "state.revision += 1",
        "row.wanted: str = ''",
        "self._waiting.queue[request.id] = request",
        "del self._waiting.queue['a']",
        "self._waiting.queue.pop('a')",
        "row.waiting.extend(requests)",
        "setattr(row, 'state', state)",
        "queue = self._waiting.queue\nqueue.pop('a')",
        "queue = self._waiting.queue\nqueue['a'] = request",
    ],
)
def test_a_planted_write_is_caught(planted: str) -> None:
    assert foreign_writes(planted)


@pytest.mark.parametrize(
    "fine",
    [
        "self._generation += 1",
        "self._recording.pop('a')",
        "self._rounds.add(signed, [])",
        "waiting = list(self._replies.waiting)\nwaiting.append(request)",
        "row = self._rounds.find('a')\nrow.bid_higher()",
        "now = self._pace.not_before\nnow = None",
    ],
)
def test_a_change_of_ones_own_is_fine(fine: str) -> None:
    assert foreign_writes(fine) == []


@pytest.mark.parametrize("part", HOLDERS)
def test_only_its_holder_knows_a_part(part: str) -> None:
    holders = {path.stem for path in WORKFLOW if part in named(path.read_text(encoding="utf-8"))}
    assert holders == HOLDERS[part]
    assert part in named(f"def f(part: {part}): ...")
