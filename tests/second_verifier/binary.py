"""Builds the verifier in Go, as it is shipped."""

import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).parent.parent.parent / "verifier"
PROGRAM = MODULE / "dist" / "vaultmesh-verify"
OFFLINE = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
"""Nothing but the standard library is needed, so nothing is fetched."""


def go(*arguments: str, module: Path = MODULE) -> subprocess.CompletedProcess[str]:
    """Run go in the verifier's module."""
    assert shutil.which("go"), "go is not installed; install it, or put it on PATH"
    return subprocess.run(
        ["go", *arguments],
        cwd=module,
        env={**os.environ, **OFFLINE},
        capture_output=True,
        check=False,
        text=True,
    )


def built(program: Path = PROGRAM, *, module: Path = MODULE) -> Path:
    """Build it, and return the program."""
    flags = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=")
    done = go("build", *flags, "-o", str(program), "./cmd/vaultmesh-verify", module=module)
    assert done.returncode == 0, done.stderr
    return program
