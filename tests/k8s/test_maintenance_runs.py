"""What the image of maintenance holds is enough to run: its files, its packages and DATABASE_URL, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.postgres import PostgresServer
from tests.k8s.dockerfile import MAINTENANCE, copied, stages
from tests.k8s.manifests import REPOSITORY

RUNNER = Path(__file__).with_name("only_locked.py")
LOCK = "requirements-maintenance.lock"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the image copies."""
    folder = tmp_path_factory.mktemp("image")
    for name in copied(MAINTENANCE):
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database with a table of dead rows."""
    with PostgresServer({"autovacuum": "off"}) as server:
        database = server.create("battlescope")
        rows = "CREATE TABLE battles AS SELECT number FROM generate_series(1, 1000) AS number"
        server.sql("battlescope", rows)
        server.sql("battlescope", "DELETE FROM battles WHERE number > 100")
        yield database


def run(image: Path, root: Path, *arguments: str, **environment: str) -> "Done":
    """Run the image's program as a container does: with no variable but those that it is given."""
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", stages()[MAINTENANCE], re.MULTILINE)
    program = json.loads(entry)[1]
    return subprocess.run(
        [sys.executable, str(RUNNER), LOCK, program, *arguments],
        cwd=image,
        env={"PATH": os.environ["PATH"], "VMSH_ROOT": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


Done = subprocess.CompletedProcess[str]


def command() -> list[str]:
    (text,) = re.findall(r"^CMD (\[.+\])$", stages()[MAINTENANCE], re.MULTILINE)
    words: list[str] = json.loads(text)
    return words


def test_the_database_s_address_is_all_that_a_run_needs(
    image: Path, url: str, tmp_path: Path
) -> None:
    done = run(image, tmp_path, *command(), DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "battles: done" in done.stdout
    again = run(image, tmp_path, *command(), DATABASE_URL=url)
    assert again.returncode == 0, again.stderr
    assert "battles: done" not in again.stdout


def test_a_run_without_the_database_s_address_says_so_with_two(image: Path, tmp_path: Path) -> None:
    done = run(image, tmp_path, *command())
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_task_of_one_s_own_lies_where_the_cron_job_mounts_it(
    image: Path, url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "vmsh/config"
    folder.mkdir(parents=True)
    (folder / "maintenance.yaml").write_text(
        'database: "${DATABASE_URL}"\ntasks:\n  own: { kind: vacuum, tables: [public.battles] }\n'
    )
    done = run(image, tmp_path, "maintenance", "list", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "own" in done.stdout


@pytest.mark.parametrize("module", ["temporalio", "web3", "sqlalchemy"])
def test_what_the_image_lacks_is_lacking_here_too(module: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"import {module}")
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(REPOSITORY / LOCK), str(tmp_path / "program.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{module} is in no package of the lock" in done.stderr
