"""Builds the verifier's page with the Go that is installed, without a network."""

import os
import shutil
import subprocess
from pathlib import Path

from vaultmesh.process.settings import REPOSITORY

MODULE = REPOSITORY / "verifier"
OFFLINE = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GO111MODULE": "on"}


def build_page(place: Path, module: Path = MODULE) -> Path:
    """Build the page of a module's sources."""
    assert shutil.which("go"), "go is not installed; install it, or put it on PATH"
    done = subprocess.run(
        ["go", "run", "-buildvcs=false", "./cmd/build-page", "-o", str(place)],
        cwd=module,
        env={**os.environ, **OFFLINE},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return place
