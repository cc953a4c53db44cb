"""No suite starts a Temporal server whose histories are not replayed at the end."""

import re
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY
from tests.support.quick import needs_a_part, starts_a_server

JUDGED = {
    "tests/support/replays.py": "the check itself",
    "tests/support/system.py": "judges in System.__exit__ and lose_histories",
    "tests/workflows/conftest.py": "each Stage judges when it is closed; the real server again at the session's end",
    "tests/support/running_dev.py": "the database of dev and demo is judged once they ended",
    "tests/cli/test_dev.py": "ends each dev and demo by tests.support.running_dev",
    "tests/faults/test_deadlines.py": "ends its dev by tests.support.running_dev",
    "tests/cli/test_doctor.py": "ends its dev by tests.support.running_dev",
    "tests/cli/test_demo_once.py": "its demo is ended by tests.support.running_dev",
    "tests/cli/test_dev_jobs.py": "ends each dev and demo by tests.support.running_dev",
    "tests/cli/test_dev_postgres.py": "ends each dev by tests.support.running_dev",
    "tests/docs/test_commands_run.py": "ends its dev by tests.support.running_dev",
    "tests/faults/drill.py": "its dev is ended by tests.support.running_dev",
    "tests/faults/test_fault_suite.py": "the drill is ended after the last test, and its database judged",
    "tests/bench/test_bench_quick.py": "runs benchmarks by tests.bench.judged",
    "tests/jobs/test_drop_in.py": "its server is judged once its worker has ended",
    "tests/jobs/job_system.py": "judges in JobSystem.__exit__",
    "tests/k8s/test_built_images.py": "the chapter's server is judged once its pods have ended",
    "tests/bench/judged.py": "judges the server of a benchmark before it is killed",
}
"""Where servers are started, and what judges their histories."""
WITHOUT = {
    "tests/support/test_replays.py": "plants what does not replay, and sees that it is found",
    "tests/cli/test_failing.py": "plants histories that do not replay, to see what operators are shown",
    "tests/process/test_connection.py": "ends the server; no workflow runs on it",
    "tests/admin_page/anchoring/test_nobody_answers.py": "kills its server; no worker takes a task of its one workflow",
    "tests/devnet/test_process.py": "starts the server as a part; no workflow runs on it",
    "tests/docs/test_env_example.py": "make starts a program that prints what it is told, and nothing else",
    "tests/docs/test_readme.py": "looks at the names of commands",
    "tests/cli/test_unusable_places.py": "no dev or demo gets as far as to start its server",
    "tests/ops/runbook.py": "asks the program which flags it has",
    "tests/cli/test_usage.py": "runs `dev --help` and `demo --help`",
}
"""Where nothing is judged, and why."""


def modules_of_tests() -> list[Path]:
    """Return every module of the tests but this one."""
    return [path for path in sorted((REPOSITORY / "tests").rglob("*.py")) if path != Path(__file__)]


def test_every_server_of_a_test_is_judged() -> None:
    found = {
        str(path.relative_to(REPOSITORY))
        for path in modules_of_tests()
        if starts_a_server(path.read_text(encoding="utf-8"))
    }
    assert found == set(JUDGED) | set(WITHOUT)


@pytest.mark.parametrize("place", JUDGED)
def test_whoever_starts_a_server_calls_the_check(place: str) -> None:
    source = (REPOSITORY / place).read_text(encoding="utf-8")
    assert re.search(r"\b(replays|judged|replay_database|check_at|Replays|running_dev)\b", source)


@pytest.mark.parametrize(
    "planted",
    [
        "server = TemporalServer(tmp_path, headless=True)\n",
        "class Bare(LocalSystem):\n",
        "env = await WorkflowEnvironment.start_local()\n",
        "env = await WorkflowEnvironment.start_time_skipping()\n",
        "subprocess.run([temporal_cli(), 'server', 'start-dev'])\n",
        'subprocess.run([sys.executable, "starter.py", "dev"])\n',
        "running = Running(tmp_path)\n",
    ],
)
def test_another_way_to_a_server_is_caught(planted: str) -> None:
    assert starts_a_server(planted)


def test_no_module_that_starts_a_server_has_quick_tests() -> None:
    judged = {place.removesuffix(".py").replace("/", ".") for place in JUDGED}
    assert not {module for module in judged if not needs_a_part(module)}
