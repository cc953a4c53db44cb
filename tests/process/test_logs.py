"""Log lines: one JSON object each, in the form that earlier tools read, and never with a secret."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import pytest
from temporalio.exceptions import ApplicationError

from vaultmesh.domain.log_events import MARK, LogEvent, log_event
from vaultmesh.process import logs
from vaultmesh.process.settings import REPOSITORY, LogLevel
from vaultmesh.process.version import VERSION

WORDS = ["debug", "info", "warn", "error", "fatal"]


class CapturedLog:
    """A logger whose lines are read again."""

    def __init__(self) -> None:
        self._stream = StringIO()
        lines = logging.StreamHandler(self._stream)
        lines.setFormatter(logs.JsonLines())
        self.logger = logging.getLogger(f"written.{id(self)}")
        self.logger.propagate = False
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(lines)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def line(self) -> dict[str, object]:
        (line,) = self.text.splitlines()
        entry = json.loads(line)
        assert isinstance(entry, dict)
        return entry


@pytest.fixture
def log() -> CapturedLog:
    return CapturedLog()


@pytest.fixture
def no_secrets() -> Iterator[None]:
    """Forget the secrets that a test registered."""
    before = set(logs._SECRETS)
    yield
    logs._SECRETS.clear()
    logs._SECRETS.update(before)


def _program(code: str) -> subprocess.CompletedProcess[str]:
    start = "import logging, warnings\nfrom vaultmesh.process import logs\n"
    return subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_line_has_the_documented_fields_in_their_order(log: CapturedLog) -> None:
    log.logger.info("anchor success", extra={"ns": "dao:one", "label": "fast"})
    line = log.line()
    assert list(line) == ["level", "time", "service", "version", "ns", "label", "msg"]
    assert (line["level"], line["service"], line["version"]) == ("info", "vmsh-scheduler", VERSION)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["time"]))
    assert (line["ns"], line["label"], line["msg"]) == ("dao:one", "fast", "anchor success")


def test_levels_are_words(log: CapturedLog) -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.logger.log(level, "said")
    assert [json.loads(line)["level"] for line in log.text.splitlines()] == WORDS


def test_a_field_of_the_caller_never_replaces_one_of_ours(log: CapturedLog) -> None:
    log.logger.info("said", extra={"service": "other", "version": "0", "level": "none"})
    line = log.line()
    assert (line["service"], line["version"], line["level"]) == ("vmsh-scheduler", VERSION, "info")


def test_line_breaks_and_objects_stay_in_one_line(log: CapturedLog) -> None:
    log.logger.info("first\nsecond", extra={"place": REPOSITORY, "many": {"a": [1, None]}})
    line = log.line()
    assert line["msg"] == "first\nsecond"
    assert (line["place"], line["many"]) == (str(REPOSITORY), {"a": [1, None]})


@pytest.mark.usefixtures("no_secrets")
@pytest.mark.parametrize("secret", ["0x" + "ab12" * 16, 'pass"word\\with\nall', "pässwörd"])
def test_a_secret_is_in_no_line_wherever_it_was(log: CapturedLog, secret: str) -> None:
    logs.register_secret(secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.logger.exception(
            "signed with %s", secret, extra={"key": secret, "all": {"keys": [secret]}}
        )
    line = log.line()
    assert line["msg"] == f"signed with {logs.REDACTED}"
    assert line["all"] == {"keys": [logs.REDACTED]}
    assert f"ValueError: {logs.REDACTED}" in str(line["err"])
    assert secret not in json.loads(log.text).values()
    assert secret.removeprefix("0x") not in log.text


@pytest.mark.usefixtures("no_secrets")
def test_a_key_is_found_without_its_leading_0x() -> None:
    logs.register_secret("0x" + "cd34" * 16)
    assert logs.without_secrets("key " + "cd34" * 16) == f"key {logs.REDACTED}"


@pytest.mark.usefixtures("no_secrets")
def test_a_secret_within_another_does_not_uncover_the_rest() -> None:
    logs.register_secret("hunter22")
    logs.register_secret("http://user:hunter22@node.example/path-key")
    text = logs.without_secrets("asked http://user:hunter22@node.example/path-key twice")
    assert text == f"asked {logs.REDACTED} twice"


@pytest.mark.usefixtures("no_secrets")
def test_a_text_that_is_found_everywhere_is_no_secret() -> None:
    for text in ("", "a", "0xab"):
        logs.register_secret(text)
    assert logs.without_secrets("a 0xab ab") == "a 0xab ab"


@pytest.mark.parametrize("level", LogLevel)
def test_each_level_of_the_settings_logs_itself_and_what_is_graver(level: LogLevel) -> None:
    names = ["debug", "info", "warning", "error", "critical"]
    calls = "\n".join(
        f"logging.getLogger('{logger}').{name}('said')"
        for logger in ("vaultmesh.any", "any")
        for name in names
    )
    ended = _program(f"logs.set_up('{level.value}')\n{calls}")
    lowest = {"trace": 0, "silent": len(WORDS)}.get(level.value)
    ours = WORDS[WORDS.index(level.value) if lowest is None else lowest :]
    of_libraries = ours[1:] if level is LogLevel.DEBUG else ours
    written = [json.loads(line)["level"] for line in ended.stdout.splitlines()]
    assert written == [*ours, *of_libraries]
    assert ended.stderr == ""


def test_a_line_of_a_step_names_its_workflow_and_run_in_fields(log: CapturedLog) -> None:
    step = {"workflow_id": "aggregator:x", "workflow_run_id": "r1", "activity_type": "sign"}
    log.logger.info("said", extra={"temporal_activity": {**step, "task_queue": "anchors"}})
    line = log.line()
    expected = ("aggregator:x", "r1", "sign")
    assert (line["workflow_id"], line["run_id"], line["activity"]) == expected
    assert "temporal_activity" not in line


def test_a_step_that_fails_on_purpose_says_why_in_one_line_and_what_nobody_foresaw_with_its_traceback(
    log: CapturedLog,
) -> None:
    refused = ApplicationError("attempt 1 of 3: can't be reached", type="network")
    unknown = ApplicationError("KeyError: 'weird'", type="unknown")
    for error in (refused, unknown, KeyError("weird")):
        try:
            raise error
        except Exception:
            extra = {"__temporal_error_identifier": "ActivityFailure"}
            log.logger.warning("Completing activity as failed", extra=extra, exc_info=True)
    expected, *unforeseen = map(json.loads, log.text.splitlines())
    assert (expected["kind"], expected["err"]) == ("network", "attempt 1 of 3: can't be reached")
    assert "__temporal_error_identifier" not in expected
    assert len(unforeseen) == 2
    for line in unforeseen:
        assert "Traceback" in line["err"]
        assert "KeyError: 'weird'" in line["err"]


def test_an_event_leaves_out_what_says_nothing(log: CapturedLog) -> None:
    log_event(log.logger, LogEvent.FAILED, ns="dao:one", err="", round=None, backoff=0)
    line = log.line()
    assert list(line)[4:] == ["event", "ns", "backoff", "msg"]
    assert (line["event"], line["msg"], line["level"]) == ("failed", "anchor failed", "error")


def test_a_line_of_a_workflow_is_known_again_by_its_mark_alone(log: CapturedLog) -> None:
    log.logger.addFilter(logs.OncePerMark())
    for mark in (1, 2, 1, None, None):
        log.logger.info("said", extra={} if mark is None else {MARK: mark})
    assert len(log.text.splitlines()) == 4
    assert MARK not in log.text


def test_lines_that_are_known_again_take_bounded_memory_and_the_newest_stay_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "MOST_MARKS", 100)
    once = logs.OncePerMark()
    records = [logging.makeLogRecord({MARK: number}) for number in range(300)]
    assert all(once.filter(record) for record in records)
    assert len(once._marks) == 100
    assert not any(once.filter(record) for record in records[200:])
    assert once.filter(records[0])


def test_what_ends_the_process_is_a_line_of_the_same_form() -> None:
    ended = _program(
        "logs.set_up('info')\nlogs.register_secret('hunter22')\nraise OSError('hunter22')"
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    line = json.loads(ended.stdout)
    assert (line["level"], line["msg"]) == ("fatal", "scheduler fatal")
    assert line["err"].endswith(f"OSError: {logs.REDACTED}")


def test_warnings_are_lines_of_the_same_form() -> None:
    ended = _program("logs.set_up('info')\nwarnings.warn('careful')")
    assert (ended.returncode, ended.stderr) == (0, "")
    line = json.loads(ended.stdout)
    assert line["level"] == "warn"
    assert "careful" in line["msg"]


def test_lines_of_the_sdk_have_the_same_form() -> None:
    ended = _program(
        "logs.set_up('info')\nlogging.getLogger('temporalio.core').warning('[sdk_core] said', "
        "extra={'temporal_log': object()})"
    )
    line = json.loads(ended.stdout)
    assert (line["msg"], "temporal_log" in line) == ("[sdk_core] said", False)


@pytest.mark.usefixtures("no_secrets")
def test_a_key_in_the_path_or_query_of_a_url_is_a_secret(log: CapturedLog) -> None:
    """The harm: most providers put the key there, and a foreign error text may repeat it."""
    logs.register_url(
        "https://user:pass%20word@node.example/v3/0a1b2c3d4e5f60718293?apikey=k3y-of-24-letters-in-all"
    )
    log.logger.info(
        "no project 0a1b2c3d4e5f60718293 of k3y-of-24-letters-in-all, pass word, v3, node.example"
    )
    said = "no project [redacted] of [redacted], [redacted], v3, node.example"
    assert log.line()["msg"] == said


@pytest.mark.usefixtures("no_secrets")
@pytest.mark.parametrize("url", ["http://tsa.example/time-stamp-authority/v1", "http://[::1", ""])
def test_words_of_a_url_are_no_secrets(url: str) -> None:
    before = set(logs._SECRETS)
    logs.register_url(url)
    assert before == logs._SECRETS
