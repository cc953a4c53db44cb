"""A scheme's modules know nothing of another scheme's, and nobody else knows them: so that a target can be added or removed alone."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY, modules
from vaultmesh.domain.schemes import SCHEMES

FAMILIES = {
    "btc": r"activities\.anchors\.btc(_\w+)?|vaultmesh\.domain\.(offline_btc|bitcoin(_\w+)?)",
    "eip155": r"activities\.anchors\.evm(_\w+)?|vaultmesh\.domain\.(offline_evm|evm_\w+|merkle_patricia)",
    "rfc3161": r"activities\.anchors\.rfc3161(_\w+)?|vaultmesh\.domain\.(offline_tsa|timestamp(_\w+)?)",
}
"""The modules that are about one scheme alone."""
KNOWING = {
    "vaultmesh.ledgers": {"btc", "eip155", "rfc3161"},  # the registry: a line for each
    "vaultmesh.verification.offline": {"btc", "eip155", "rfc3161"},  # its counterpart for evidence
    "vaultmesh.cli.contract": {"eip155"},  # deploys the contract, which only these chains have
}
"""Modules outside all families, and the schemes they may name."""


def family_of(module: str) -> str | None:
    """Return the scheme that a module, or a name in one, is about."""
    parts = module.split(".")
    prefixes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return next(
        (scheme for scheme, form in FAMILIES.items() if any(re.fullmatch(form, p) for p in prefixes)),
        None,
    )  # fmt: skip


def name_of(path: Path) -> str:
    """Return a module's dotted name."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named(source: str) -> set[str]:
    """Return what a source imports, wherever in it, by statement or by a text that names a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found.update(alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                found.update(f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if re.fullmatch(r"\w+(\.\w+)+", text):
                found.add(text)
            case _:
                pass
    return found


def breaches(module: str, source: str) -> list[str]:
    """Return what a module names of schemes that are not its own."""
    own = family_of(module)
    allowed = {own} if own is not None else KNOWING.get(module, set())
    return [
        f"{module} names {other}, which is about {scheme} alone"
        for other in sorted(named(source))
        if (scheme := family_of(other)) is not None and scheme not in allowed
    ]


def test_every_scheme_of_the_registry_has_its_family() -> None:
    assert {scheme: family_of(module) for scheme, module in SCHEMES.items()} == {
        scheme: scheme for scheme in FAMILIES
    }


def test_no_family_is_empty_and_every_exception_is_in_use() -> None:
    names = {name_of(path): path for path in modules()}
    for folder in ("vaultmesh.ledgers.", "vaultmesh.domain."):
        assert {family_of(name) for name in names if name.startswith(folder)} >= set(FAMILIES)
    for module, allowed in KNOWING.items():
        used = {family_of(other) for other in named(names[module].read_text(encoding="utf-8"))}
        assert used - {None} == allowed, module


def test_no_scheme_knows_another_and_nobody_else_knows_one() -> None:
    found = [
        breach
        for path in modules()
        for breach in breaches(name_of(path), path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("vaultmesh.ledgers.bitcoin.rpc", "from vaultmesh.ledgers.evm.node_errors import shown\n"),
        ("vaultmesh.ledgers.rfc3161.driver", "import vaultmesh.ledgers.evm.driver\n"),
        ("vaultmesh.ledgers.evm.driver", "def f():\n    from vaultmesh.ledgers import btc_rpc\n"),
        ("vaultmesh.ledgers.evm.driver", "find('vaultmesh.ledgers.bitcoin.driver')\n"),
        (
            "vaultmesh.ledgers.bitcoin.driver",
            "from vaultmesh.ledgers.rfc3161.core.token import read_request\n",
        ),
        ("vaultmesh.ledgers.driver", "from vaultmesh.ledgers.bitcoin.fees import Bids\n"),
        ("vaultmesh.ledgers.bitcoin.core.offline", "from vaultmesh.domain import offline_evm\n"),
        (
            "vaultmesh.ledgers.rfc3161.core.offline",
            "from vaultmesh.ledgers.evm.core.proof import read_header\n",
        ),
        ("vaultmesh.verification.live", "from vaultmesh.ledgers.evm.verify import verify_claim\n"),
        ("vaultmesh.cli.contract", "from vaultmesh.ledgers.bitcoin.driver import Settings\n"),
    ],
)
def test_a_planted_import_is_caught(module: str, planted: str) -> None:
    assert len(breaches(module, planted)) == 1


@pytest.mark.parametrize(
    ("module", "fine"),
    [
        ("vaultmesh.ledgers.evm.driver", "from vaultmesh.ledgers.evm.providers import Provider\n"),
        ("vaultmesh.ledgers.bitcoin.rpc", "from vaultmesh.ledgers.failures import shown\n"),
        (
            "vaultmesh.ledgers.bitcoin.verify",
            "from vaultmesh.ledgers.bitcoin.core.proof import prove\n",
        ),
        (
            "vaultmesh.ledgers.bitcoin.core.offline",
            "from vaultmesh.domain import offline_findings\n",
        ),
    ],
)
def test_what_is_its_own_or_neutral_is_fine(module: str, fine: str) -> None:
    assert breaches(module, fine) == []
