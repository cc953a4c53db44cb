"""Catches lines of the log in their real form, and reads them as tools do."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

from vaultmesh.process.logs import JsonLines

Line = dict[str, Any]


class CaughtLines:
    """What loggers wrote meanwhile."""

    def __init__(self) -> None:
        self._stream = StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(JsonLines())

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def events(self, *besides: str, **fields: object) -> list[Line]:
        """Return the lines about events with these fields, in order, without those named."""
        return events(self.text, *besides, **fields)

    def named(self, *besides: str, **fields: object) -> list[str]:
        """Return the words of these events."""
        return [line["event"] for line in self.events(*besides, **fields)]


def events(text: str, *besides: str, **fields: object) -> list[Line]:
    """Return the lines of a log about events with these fields, in order, without those named; what is no JSON is passed over."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [
        line
        for line in lines
        if line.get("event") not in (None, *besides)
        if all(line.get(name) == value for name, value in fields.items())
    ]


@contextmanager
def caught(names: Sequence[str], level: int = logging.INFO) -> Iterator[CaughtLines]:
    """Catch what loggers with these names write meanwhile."""
    lines = CaughtLines()
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(lines.handler)
        logger.setLevel(level)
    try:
        yield lines
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.removeHandler(lines.handler)
            logger.setLevel(before)
