"""Gives log lines their form: one JSON object a line, and never a secret.

1. A line is a constant sentence with fields: `level`, `time`, `service`, `version`, what the caller adds, and `msg`.
2. What was registered as secret appears in no line, be it in a sentence, a field or a traceback.
3. Lines of libraries, warnings, and the error that ends the process take the same form.
4. What an activity or a workflow logs names its workflow and run.
5. An activity that fails as it was written to says why in one line; what nobody foresaw comes with its traceback.
6. A line of a workflow that this process wrote already passes no second time, though its task be asked for again.
7. `debug` is for what we say ourselves: libraries would write requests as they are sent. `trace` lets them.
"""

import json
import logging
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import TextIOBase
from types import TracebackType
from typing import TextIO
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from vaultmesh.domain.errors import printable
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import MARK
from vaultmesh.process.version import VERSION

SERVICE = "vmsh-scheduler"
REDACTED = "[redacted]"
_LEFT_OUT = frozenset(
    (
        *vars(logging.makeLogRecord({})),
        *("message", "asctime", "taskName", MARK),
        *("temporal_log", "temporal_activity", "temporal_workflow", "__temporal_error_identifier"),
    )
)
"""What Python and the SDK put into every record."""
_OF_THE_SDK = {
    "temporal_workflow": {"workflow_id": "workflow_id", "run_id": "run_id"},
    "temporal_activity": {
        "workflow_id": "workflow_id",
        "workflow_run_id": "run_id",
        "activity_type": "activity",
    },
}
"""What is kept of the SDK's own fields, by the name it gets."""
_OURS = ("vaultmesh", "workflows", "activities", "worker", "__main__", "temporalio")
"""Beginnings of the names of our loggers; the SDK's has two that are meant for us."""
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "silent": logging.CRITICAL + 1,
}
_WORDS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
_SECRETS: set[str] = set()
_SHORTEST_SECRET = 6
"""A shorter text is found by chance all over."""
_SHORTEST_KEY = 16
"""Letters of a provider's API key; a shorter part of a path, or one without a digit, is a word such as `timestamp`."""
MOST_MARKS = 20_000
"""Lines of workflows that are known again, 3 MB: those of an hour in which 1,000 namespaces anchor every 15 minutes."""
_LOG_IN = re.compile(r"(?<=://)[^\s/@]+(?=@)")
"""User and password in a URL."""
_LOG = logging.getLogger(__name__)


def register_secret(text: str) -> None:
    """Never let a text appear in a log line or message again, with or without a leading `0x`."""
    for form in (text, text.removeprefix("0x")):
        if len(form) >= _SHORTEST_SECRET:
            _SECRETS.update((form, _escaped(form)))


def register_url(url: str) -> None:
    """Never let what may be secret in a URL appear: its password, and what is long in its path and query (API keys)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    register_secret(unquote(parts.password or ""))
    for text in re.split(r"[/&=]", f"{parts.path}&{parts.query}"):
        if len(text) >= _SHORTEST_KEY and any(letter.isdigit() for letter in text):
            register_secret(unquote(text))


def word_of(level: int) -> str:
    """Return the word for a level of Python's."""
    return _WORDS.get(level, logging.getLevelName(level).lower())


def without_secrets(text: str) -> str:
    """Return a text with every registered secret replaced; the longest ones first, as they may hold others."""
    for secret in sorted(_SECRETS, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def for_keeps(text: str) -> str:
    """Return what somebody wrote as it may be stored for good: without registered secrets, and without log-ins in URLs."""
    return _LOG_IN.sub(REDACTED, without_secrets(text))


def _escaped(text: str) -> str:
    """Return a text as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "level": word_of(record.levelno),
            "time": time.replace("+00:00", "Z"),
            "service": SERVICE,
            "version": VERSION,
        }
        for name, value in vars(record).items():
            if name not in _LEFT_OUT:
                line.setdefault(name, value)
        line.update(_of_temporal(record))
        line["msg"] = record.getMessage()
        if record.exc_info:
            line.update(
                _of_step(record.exc_info[1]) or {"err": self.formatException(record.exc_info)}
            )
        return without_secrets(printable(json.dumps(line, default=str, ensure_ascii=False)))


def _of_temporal(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield which workflow and run a line is about, where the SDK knows it."""
    for field, kept in _OF_THE_SDK.items():
        details = vars(record).get(field)
        if isinstance(details, Mapping):
            yield from ((kept[name], details[name]) for name in kept if name in details)


def _of_step(error: BaseException | None) -> Mapping[str, object]:
    """Return kind and cause of a failure that an activity reported on purpose; nothing for any other error.

    One of an unknown kind stands for an error that nobody foresaw: its traceback is wanted.
    """
    exceptions = sys.modules.get("temporalio.exceptions")  # without Temporal nobody loaded it
    if exceptions is None or not isinstance(error, exceptions.ApplicationError):
        return {}
    if error.type in (None, FailureKind.UNKNOWN.value):
        return {}
    return {"kind": error.type, "err": error.message}


class OncePerMark(logging.Filter):
    """Lets a line pass whose mark no line before had; of marks it knows those that came last.

    A mark that comes again stays known: a task that fails for hours logs its lines at the first try alone.
    """

    def __init__(self) -> None:
        """Know no mark."""
        super().__init__()
        self._marks: OrderedDict[int, None] = OrderedDict()
        self._one_thread = threading.Lock()

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is to be written."""
        mark = vars(record).get(MARK)
        if not isinstance(mark, int):
            return True
        with self._one_thread:
            is_new = mark not in self._marks
            self._marks[mark] = None
            self._marks.move_to_end(mark)
            if len(self._marks) > MOST_MARKS:
                self._marks.popitem(last=False)
        return is_new


_ONCE = OncePerMark()


def write_marks_once(logger: logging.Logger) -> None:
    """Have what a logger is told to write pass once for each mark in this process."""
    logger.addFilter(_ONCE)  # adds nothing the second time


def set_up(level: str, stream: TextIO | TextIOBase | None = None) -> None:
    """Send every log line of the process to standard output, or elsewhere, in this form; also warnings and what ends it."""
    lines = logging.StreamHandler(stream or sys.stdout)
    lines.setFormatter(JsonLines())
    least = _LEVELS[level]
    of_libraries = least if level == "trace" else max(least, logging.INFO)
    logging.basicConfig(level=of_libraries, handlers=[lines], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_fatal


def end(problems: Sequence[str]) -> None:
    """Say in one last line why the process ends, also where the log is silent otherwise: it could not start."""
    record = logging.makeLogRecord(
        {
            "name": __name__,
            "levelno": logging.CRITICAL,
            "msg": "scheduler fatal",
            "problems": list(problems),
        }
    )
    print(JsonLines().format(record), flush=True)  # noqa: T201 - below every level


def _log_fatal(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Log the error that ends the process; Ctrl-C is none."""
    if issubclass(kind, KeyboardInterrupt):
        return
    _LOG.critical("scheduler fatal", exc_info=(kind, error, traceback))
