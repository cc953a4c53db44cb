"""The examples for Alertmanager are valid, hold no key, and take every alert of ours to somebody."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from devnet.amtool import amtool
from tests.docs.readme import REPOSITORY

FOLDER = REPOSITORY / "ops" / "alertmanager"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
RULES = sorted((REPOSITORY / "ops" / "prometheus" / "alerts").glob("*.yaml"))


def _amtool(*arguments: str) -> str:
    done = subprocess.run(
        [str(amtool()), *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _alerts() -> list[tuple[str, str]]:
    """Return name and severity of every alert that has rules here."""
    return [
        (rule["alert"], rule["labels"]["severity"])
        for place in RULES
        for group in yaml.safe_load(place.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def test_there_is_one_for_each_service_that_was_asked_for() -> None:
    assert [place.stem for place in EXAMPLES] == ["opsgenie", "pagerduty"]


@pytest.mark.parametrize("place", EXAMPLES, ids=lambda place: place.stem)
def test_alertmanager_takes_it(place: Path) -> None:
    assert "SUCCESS" in _amtool("check-config", str(place))


@pytest.mark.parametrize("place", EXAMPLES, ids=lambda place: place.stem)
def test_every_alert_reaches_the_service_and_others_do_not(place: Path) -> None:
    routed = ("config", "routes", "test", f"--config.file={place}")
    for name, severity in _alerts():
        receiver = _amtool(*routed, f"alertname={name}", f"severity={severity}")
        assert receiver.strip() == place.stem, name
    assert _amtool(*routed, "alertname=NodeDown", "severity=critical").strip() == "nobody"


@pytest.mark.parametrize("place", EXAMPLES, ids=lambda place: place.stem)
def test_its_key_lies_in_a_file_of_its_own(place: Path) -> None:
    keys = re.findall(r"^\s+(?:- )?(\w*(?:key|token|url)\w*):", place.read_text(), re.MULTILINE)
    assert keys
    assert all(key.endswith("_file") for key in keys)


@pytest.mark.parametrize("place", EXAMPLES, ids=lambda place: place.stem)
def test_one_cause_calls_once(place: Path) -> None:
    (rule,) = yaml.safe_load(place.read_text(encoding="utf-8"))["inhibit_rules"]
    named = re.findall(r'"(\w+)"', str(rule["source_matchers"] + rule["target_matchers"]))
    assert set(named) <= {name for name, _ in _alerts()}
