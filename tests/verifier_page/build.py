"""Builds the verifier's page with the Go that is installed."""

import os
import subprocess
from pathlib import Path

from tests.second_verifier.binary import MODULE, OFFLINE


def build_page(place: Path, module: Path = MODULE) -> Path:
    """Build the page of a module's sources."""
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
