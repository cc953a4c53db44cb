"""The page about alerts on anchoring has a section for each, and its commands are taken as they are shown."""

import json
import re
import shlex
import subprocess

import pytest
import yaml

from devnet.promtool import promtool
from docs.alert_rules import ANCHOR_RULES, cluster_place
from docs.alert_rules import main as print_rules
from starter import parse
from tests.docs.readme import REPOSITORY
from tests.ops.anchor_scenarios import rules
from tests.ops.runbook import IN_CLUSTER, Runbook, is_there
from worker import parse_arguments

PAGE = Runbook("anchor-alerts", "scheduler")
KUBECTL = {"exec", "get", "logs", "describe", "rollout", "apply", "create"}
PROGRAMS = {"python", "kubectl", "temporal", "promtool", "curl", "date"}
EARLIER = ("SchedulerDown", "SchedulerHighBackoff", "SchedulerNoRecentAnchors", "SchedulerHighFailureRate")  # fmt: skip
CASES = "Cases that the scheduler before had"
STARTER = sorted({tuple(words) for words in PAGE.shown("python", "starter.py")})
TEMPORAL = sorted({tuple(words) for words in PAGE.shown("temporal")})


@pytest.mark.parametrize("name", PAGE.alerts)
def test_each_section_is_complete(name: str) -> None:
    assert PAGE.is_complete(name)


def test_every_alert_leads_to_a_section_and_no_section_is_without_one() -> None:
    leads_to = {
        rule["annotations"]["runbook_url"].removeprefix(f"{PAGE.path}#"): name
        for name, rule in reversed(list(rules().items()))
    }
    assert leads_to == {name.lower(): name for name in PAGE.alerts}
    for name in rules():
        assert name in PAGE.text


def test_the_earlier_scheduler_s_alerts_keep_their_names_and_are_explained() -> None:
    explained = PAGE.sections["What changed in the earlier scheduler's four alerts"]
    for name in EARLIER:
        assert name in rules()
        assert f"| `{name}` |" in explained


def test_the_troubles_of_the_scheduler_before_are_answered() -> None:
    cases = [line for line in PAGE.sections[CASES].splitlines() if line.startswith("### ")]
    assert cases == [
        "### Pod not starting",
        "### Metrics not appearing",
        "### Health check failing",
    ]


def test_every_command_is_of_a_program_that_is_checked_here() -> None:
    assert {words[0] for words in PAGE.commands} <= PROGRAMS
    for words in PAGE.shown("kubectl"):
        assert words[:2] == IN_CLUSTER[1:]
        assert words[2] in KUBECTL


@pytest.mark.parametrize("words", STARTER, ids=shlex.join)
def test_commands_of_starter_are_read_as_they_are_shown(words: tuple[str, ...]) -> None:
    assert parse(list(words)).run


def test_commands_of_workers_and_python_are_read_as_they_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    for words in PAGE.shown("python", "worker.py"):
        assert parse_arguments(words).roles
    for words in PAGE.shown("python", "-c"):
        compile(words[0], "shown", "exec")
    (printing,) = PAGE.shown("python", "-m", "docs.alert_rules")
    assert print_rules(printing) == 0
    assert yaml.safe_load(capsys.readouterr().out)["groups"]


@pytest.mark.parametrize("words", TEMPORAL, ids=shlex.join)
def test_commands_of_temporal_have_the_flags_that_are_shown(words: tuple[str, ...]) -> None:
    assert not PAGE.temporal_refuses(list(words))


def test_the_rules_are_taken_as_they_are_shown() -> None:
    (words,) = PAGE.shown("promtool")
    done = subprocess.run(
        [str(promtool()), *words], cwd=REPOSITORY, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    applied = [words[-1] for words in PAGE.shown("kubectl") if "-f" in words]
    assert [REPOSITORY / place for place in applied] == [cluster_place(ANCHOR_RULES)]
    assert all(is_there(words[-1]) for words in PAGE.shown("kubectl") if "-k" in words)


def test_every_metric_of_the_rules_is_on_the_page_of_operations() -> None:
    """The harm: an alert on a metric that nobody exports never fires, as one of the earlier scheduler's."""
    operations = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    text = json.dumps([rule["expr"] for rule in rules().values()])
    named = set(re.findall(r"\bscheduler_\w+", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if name not in operations] == []
