"""Settings of a process: names, defaults, and all bad values at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process.settings import REPOSITORY, LogLevel, Settings


def refusals(**environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environment)
    return list(caught.value.problems)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_environment({"VMSH_ROOT": "", "METRICS_PORT": ""})
    assert settings.root == REPOSITORY
    assert (settings.namespaces, settings.anchors) == (None, None)
    assert settings.metrics_port == 9091
    assert settings.metrics_prefix == "scheduler"
    assert settings.log_level is LogLevel.INFO
    assert (settings.backoff.base_seconds, settings.backoff.cap) == (5.0, 7)
    assert settings.anchor_timeout == timedelta(minutes=5)
    assert settings.continue_after_events == 4_000
    assert settings.warnings == ()


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "VMSH_ROOT": "/srv/vm",
            "VMSH_NAMESPACES": "/etc/n.yaml",
            "VMSH_ANCHORS": "/etc/a.yaml",
            "VMSH_STATE": "/old/scheduler.json",
            "VMSH_BASE_BACKOFF": "0.5",
            "VMSH_MAX_BACKOFF": "3",
            "METRICS_PORT": "0",
            "METRICS_PREFIX": "vmsh",
            "LOG_LEVEL": "WARNING",
            "VMSH_ANCHOR_TIMEOUT": "15s",
            "VMSH_CONTINUE_AFTER_EVENTS": "200",
            "HOME": "/root",
        }
    )
    assert settings.root == Path("/srv/vm")
    assert settings.namespaces == Path("/etc/n.yaml")
    assert settings.anchors == Path("/etc/a.yaml")
    assert settings.state == Path("/old/scheduler.json")
    assert (settings.backoff.base_seconds, settings.backoff.cap) == (0.5, 3)
    assert settings.metrics_port == 0
    assert settings.metrics_prefix == "vmsh"
    assert settings.log_level is LogLevel.WARN
    assert settings.anchor_timeout == timedelta(seconds=15)
    assert settings.continue_after_events == 200


def test_a_relative_path_is_below_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({"VMSH_ROOT": "data"}).root == tmp_path / "data"


def test_the_state_file_lies_below_the_root_unless_named() -> None:
    settings = Settings.from_environment({"VMSH_ROOT": "/srv"})
    assert settings.state == Path("/srv/out/state/scheduler.json")


@pytest.mark.parametrize(
    ("variables", "unstated"),
    [
        ({}, ("anchor_timeout_seconds", "backoff", "continue_after_events")),
        (
            {"VMSH_ANCHOR_TIMEOUT": ""},
            ("anchor_timeout_seconds", "backoff", "continue_after_events"),
        ),
        ({"VMSH_ANCHOR_TIMEOUT": "5m"}, ("backoff", "continue_after_events")),
        ({"VMSH_MAX_BACKOFF": "7"}, ("anchor_timeout_seconds", "continue_after_events")),
        (
            {
                "VMSH_BASE_BACKOFF": "5",
                "VMSH_ANCHOR_TIMEOUT": "5m",
                "VMSH_CONTINUE_AFTER_EVENTS": "9",
            },
            (),
        ),
    ],
)
def test_what_clocks_are_not_told_is_known(
    variables: dict[str, str], unstated: tuple[str, ...]
) -> None:
    assert Settings.from_environment(variables).unstated == unstated


def test_the_old_timer_is_accepted_and_reported() -> None:
    (warning,) = Settings.from_environment({"VMSH_TICK_MS": "30000"}).warnings
    assert warning.startswith("VMSH_TICK_MS is no longer needed")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("METRICS_PORT", "http", "'http' is not a number - write digits"),
        ("METRICS_PORT", "70000", "too large - use at most 65535"),
        ("METRICS_PORT", "-1", "not a number"),
        ("METRICS_PORT", "80.5", "whole number"),
        ("VMSH_BASE_BACKOFF", "0", "use more than 0"),
        ("VMSH_BASE_BACKOFF", "inf", "not a number"),
        ("VMSH_MAX_BACKOFF", "0", "use at least 1"),
        ("VMSH_MAX_BACKOFF", "99", "use at most 20"),
        ("METRICS_PREFIX", "my-metrics", "letters, digits and underscores"),
        ("LOG_LEVEL", "loud", "use one of: trace, debug, info"),
        ("VMSH_ANCHOR_TIMEOUT", "5", "write digits and one of"),
        ("VMSH_ANCHOR_TIMEOUT", "10ms", "use 1s to 1d"),
        ("VMSH_CONTINUE_AFTER_EVENTS", "0", "use at least 5"),
        ("VMSH_ROOT", "~nobody-of-that-name/x", "write the whole path"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_how_to_mend_it(
    name: str, value: str, words: str
) -> None:
    (line,) = refusals(**{name: value})
    assert line.startswith(f"{name}: ")
    assert words in line


def test_all_bad_values_are_reported_at_once() -> None:
    lines = refusals(METRICS_PORT="x", LOG_LEVEL="y", VMSH_ANCHOR_TIMEOUT="z")
    assert [line.split(":")[0] for line in lines] == [
        "METRICS_PORT",
        "LOG_LEVEL",
        "VMSH_ANCHOR_TIMEOUT",
    ]
