"""Events of the log have one table: nobody else writes their sentences or their field `event`, and calls keep to their rows."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY, modules
from vaultmesh.domain.log_events import LOG_EVENTS, LogEvent

TABLE = REPOSITORY / "vaultmesh" / "domain" / "log_events.py"
SENTENCES = {row.msg for row in LOG_EVENTS.values()}
OTHERS = [path for path in modules() if path != TABLE]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def written_elsewhere(tree: ast.AST) -> Iterator[str]:
    """Yield sentences of events, and fields `event` of log lines, that a module writes itself."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text in SENTENCES:
                yield text
            case ast.keyword(arg="extra", value=ast.Dict(keys=keys)):
                yield from (
                    "event"
                    for key in keys
                    if isinstance(key, ast.Constant) and key.value == "event"
                )
            case _:
                pass


def events_in(node: ast.AST) -> set[str]:
    """Return the members of `LogEvent` that an expression names."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id == "LogEvent"
    }


def strange_fields(tree: ast.AST) -> Iterator[str]:
    """Yield the fields of a call that the row of its event does not have."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id="log_event") | ast.Attribute(attr="_log" | "log_event"), args=args
            ):
                named = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
                for event in {event for arg in args for event in events_in(arg)}:
                    for name in named - set(LOG_EVENTS[LogEvent[event]].fields):
                        yield f"{event}: {name}"
            case _:
                pass


def test_every_event_has_a_row_and_no_two_have_the_same_sentence() -> None:
    assert list(LOG_EVENTS) == list(LogEvent)
    assert len(SENTENCES) == len(LOG_EVENTS)


def test_nobody_else_writes_the_names_of_events() -> None:
    found = {str(path): list(written_elsewhere(tree_of(path))) for path in OTHERS}
    assert {path: names for path, names in found.items() if names} == {}


def test_every_event_is_logged_somewhere() -> None:
    used = set[str]().union(*(events_in(tree_of(path)) for path in OTHERS))
    assert {event.name for event in LogEvent} - used == set()


def test_a_line_about_an_event_has_the_fields_of_its_row() -> None:
    found = {str(path): list(strange_fields(tree_of(path))) for path in OTHERS}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ('log.info("round signed")', "round signed"),
        ('log.info("said", extra={"event": "signed"})', "event"),
    ],
)
def test_a_name_that_is_written_elsewhere_would_be_found(source: str, breach: str) -> None:
    assert list(written_elsewhere(ast.parse(source))) == [breach]


def test_a_field_of_no_row_would_be_found() -> None:
    source = "log_event(log, LogEvent.SIGNED, tx=tx, raw=raw)"
    assert list(strange_fields(ast.parse(source))) == ["SIGNED: raw"]
