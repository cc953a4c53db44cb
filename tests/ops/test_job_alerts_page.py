"""The page for whoever is called: a section for each alert, and commands that work as they are shown."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from devnet.postgres import PostgresServer
from devnet.promtool import promtool
from devnet.temporal import temporal_cli
from docs.tables import CLUSTER_RULES
from starter import parse
from tests.docs.readme import REPOSITORY, commands
from tests.ops.alert_scenarios import rules
from tests.storage.jobs.places import Place
from worker import parse_arguments

PAGE = (REPOSITORY / "docs" / "job-alerts.md").read_text(encoding="utf-8")
ALL = commands("", PAGE)
DATABASE, STORE = "jobs", "$JOBS_DATABASE_URL"
POD = ["kubectl", "-n", "aurora-staging", "exec", "deploy/scheduler-service", "--"]
KUBECTL = {"exec", "get", "logs", "describe", "rollout", "apply"}
PARTS = ("**Meaning.**", "**Impact.**", "**Check.**", "**Mend.**")


def shown(*program: str) -> list[list[str]]:
    """Return the arguments of each command of a program, on a host or in a pod; comment lines left out."""
    size = len(program)
    plain = [words[len(POD) :] if words[: len(POD)] == POD else words for words in ALL if words]
    return [words[size:] for words in plain if words[:size] == list(program)]


def section(name: str) -> str:
    """Return what the page says of an alert."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


@pytest.mark.parametrize("name", rules())
def test_each_alert_has_its_section_with_commands_for_host_and_pod(name: str) -> None:
    said = section(name)
    assert [part for part in PARTS if part in said] == list(PARTS)
    check, _, mend = said.partition("**Mend.**")
    assert "```sh\n" in check
    assert "kubectl -n aurora-staging " in check
    assert "python starter.py " in mend
    assert "kubectl -n aurora-staging " in mend


def test_no_section_is_about_an_alert_that_there_is_not() -> None:
    named = re.findall(r"^## (Scheduler\w+)$", PAGE, re.MULTILINE)
    assert named == list(rules())
    assert {rule["annotations"]["runbook_url"] for rule in rules().values()} == {
        f"docs/job-alerts.md#{name.lower()}" for name in named
    }


def test_the_troubles_of_the_scheduler_before_are_answered() -> None:
    assert (
        len(re.findall("^### ", section("Cases that the scheduler before had"), re.MULTILINE)) == 3
    )


def test_every_command_is_of_a_program_that_is_checked_here() -> None:
    programs = {words[0] for words in ALL if words}
    assert programs <= {"python", "kubectl", "psql", "temporal", "promtool", "curl", "df"}
    for words in shown("kubectl"):
        assert words[:2] == ["-n", "aurora-staging"]
        assert words[2] in KUBECTL


@pytest.mark.parametrize("words", shown("python", "starter.py"), ids=shlex.join)
def test_commands_of_starter_are_read_as_they_are_shown(words: list[str]) -> None:
    assert parse(words).run


def test_commands_of_workers_and_python_are_read_as_they_are_shown() -> None:
    for words in shown("python", "worker.py"):
        assert parse_arguments(words).roles
    for words in shown("python", "-c"):
        compile(words[0], "shown", "exec")


@pytest.mark.parametrize("words", shown("temporal"), ids=shlex.join)
def test_commands_of_temporal_have_the_flags_that_are_shown(words: list[str]) -> None:
    done = subprocess.run(
        [str(temporal_cli()), *words, "--help"], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    wrong = [str(temporal_cli()), *words, "--no-such-flag", "--help"]
    assert subprocess.run(wrong, capture_output=True, timeout=120, check=False).returncode != 0


def test_the_rules_are_taken_as_they_are_shown() -> None:
    (words,) = shown("promtool")
    done = subprocess.run(
        [str(promtool()), *words], cwd=REPOSITORY, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    (applied,) = [words for words in shown("kubectl") if "apply" in words]
    assert REPOSITORY / applied[-1] == CLUSTER_RULES


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create(DATABASE)
        yield server


async def test_every_question_to_the_store_is_answered(
    server: PostgresServer, tmp_path: Path
) -> None:
    async with Place(tmp_path, server, DATABASE, server.url(DATABASE)).store():
        pass
    questions = shown("psql")
    assert len(questions) >= 8
    engine = create_engine(server.url(DATABASE).replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        for url, option, question in questions:
            assert (url, option) == (STORE, "-c")
            connection.execute(text(question)).all()
    engine.dispose()
