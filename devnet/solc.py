"""Fetches the Solidity compiler; only building and checking the contract needs it."""

from pathlib import Path

from devnet.supply import Supply, install_npm

SOLC_VERSION = "0.8.30"


def _fetch(folder: Path) -> None:
    install_npm(f"solc@{SOLC_VERSION}", folder)


SOLC = Supply(
    name="solc",
    version=SOLC_VERSION,
    variable="SOLC_JS",
    product="node_modules",
    fetch=_fetch,
    takes="5 seconds",
    needs="npm",
    on_path=False,
)


def solc_js() -> Path:
    """Return the `node_modules` folder that holds solc-js."""
    return SOLC.obtain()
