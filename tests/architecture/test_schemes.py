"""A ledger's room knows no other ledger, and nobody else names one: so that a ledger can be added or removed alone."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.architecture.test_layers import REPOSITORY, modules
from vaultmesh.domain.schemes import SCHEMES

ROOMS = {scheme: row.driver.rpartition(".")[0] for scheme, row in SCHEMES.items()}
"""The package of each scheme, as its row names it."""
KNOWING = {
    "vaultmesh.domain.schemes": {"btc", "eip155", "rfc3161"},  # the table: a row for each
    "vaultmesh.cli.contract": {"eip155"},  # deploys the contract, which only these chains have
}
"""Modules outside all rooms, and the schemes they may name."""


def room_of(module: str) -> str | None:
    """Return the scheme whose room a module, or a name in one, belongs to."""
    return next(
        (scheme for scheme, room in ROOMS.items() if f"{module}.".startswith(f"{room}.")), None
    )


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
    own = room_of(module)
    allowed = {own} if own is not None else KNOWING.get(module, set())
    return [
        f"{module} names {other}, which is about {scheme} alone"
        for other in sorted(named(source))
        if (scheme := room_of(other)) is not None and scheme not in allowed
    ]


def test_every_scheme_has_a_room_with_a_driver_and_a_proof() -> None:
    assert len(set(ROOMS.values())) == len(SCHEMES)
    for scheme, row in SCHEMES.items():
        assert room_of(row.proof) == scheme
        assert callable(import_module(row.proof).find)
        assert callable(import_module(row.driver).open_target)


def test_every_exception_is_in_use() -> None:
    names = {name_of(path): path for path in modules()}
    for module, allowed in KNOWING.items():
        used = {room_of(other) for other in named(names[module].read_text(encoding="utf-8"))}
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
        ("vaultmesh.ledgers.evm.driver", "def f():\n    from vaultmesh.ledgers import bitcoin\n"),
        ("vaultmesh.ledgers.evm.driver", "find('vaultmesh.ledgers.bitcoin.driver')\n"),
        (
            "vaultmesh.ledgers.bitcoin.driver",
            "from vaultmesh.ledgers.rfc3161.core.token import read_request\n",
        ),
        ("vaultmesh.ledgers.driver", "from vaultmesh.ledgers.bitcoin.fees import Bids\n"),
        (
            "vaultmesh.ledgers.bitcoin.core.offline",
            "from vaultmesh.ledgers.evm.core import offline\n",
        ),
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
            "from vaultmesh.domain import checks\n",
        ),
    ],
)
def test_what_is_its_own_or_neutral_is_fine(module: str, fine: str) -> None:
    assert breaches(module, fine) == []
