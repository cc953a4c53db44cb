"""Builds `tctl`, the old command-line client that operators still use."""

import shutil
from pathlib import Path

from devnet.supply import Supply, run_fetching

TCTL_VERSION = "1.18.0"
_PACKAGE = "github.com/temporalio/tctl/cmd/tctl"
_MODULE = f"""module tctlbuild

go 1.21

require github.com/temporalio/tctl v{TCTL_VERSION}
"""
_TOOLS = f"""//go:build tools

package tctlbuild

import _ "{_PACKAGE}"
"""


def _fetch(folder: Path) -> None:
    """Build in a throw-away module: the version list of tctl's own one can't always be read."""
    module = folder / "module"
    module.mkdir()
    (module / "go.mod").write_text(_MODULE, encoding="ascii")
    (module / "tools.go").write_text(_TOOLS, encoding="ascii")
    program = str(folder / "tctl")
    run_fetching(["go", "build", "-mod=mod", "-buildvcs=false", "-o", program, _PACKAGE], module)
    shutil.rmtree(module)


TCTL = Supply(
    name="tctl",
    version=TCTL_VERSION,
    variable="TCTL",
    product="tctl",
    fetch=_fetch,
    takes="2 minutes",
    needs="go",
)


def tctl() -> Path:
    """Return the `tctl` program."""
    return TCTL.obtain()
