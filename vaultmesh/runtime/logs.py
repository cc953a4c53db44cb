"""The place where log lines get their form: one JSON object a line, and never a secret.

Constant sentences with fields: `level`, `time`, `service`, `version`, `msg`, and what the caller adds.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from typing_extensions import override

from vaultmesh.runtime.version import VERSION

SERVICE = "vmsh-scheduler"
_PLAIN = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
}
_WORDS = {logging.WARNING: "warn", logging.CRITICAL: "fatal"}
_SECRETS: set[str] = set()
_SHORTEST_SECRET = 6
REDACTED = "[redacted]"


def register_secret(text: str) -> None:
    """Never let a text appear in a log line again."""
    if len(text) >= _SHORTEST_SECRET:
        _SECRETS.add(text)
        _SECRETS.add(text.removeprefix("0x"))


def without_secrets(text: str) -> str:
    """Return a text with every registered secret replaced."""
    for secret in _SECRETS:
        text = text.replace(secret, REDACTED)
    return text


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "level": _WORDS.get(record.levelno, record.levelname.lower()),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[
                :-6
            ]
            + "Z",
            "service": SERVICE,
            "version": VERSION,
            **{name: value for name, value in vars(record).items() if name not in _PLAIN},
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["err"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(line, default=str, ensure_ascii=False))


def set_up(level: str) -> None:
    """Send every log line of the process to standard output in this form."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(JsonLines())
    logging.basicConfig(
        level=_LEVELS.get(level, logging.getLevelName(level.upper().replace("FATAL", "CRITICAL"))),
        handlers=[lines],
        force=True,
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
