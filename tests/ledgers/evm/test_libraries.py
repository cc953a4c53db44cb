"""A worker for EVM chains starts without tables of another curve, and whoever wants that curve still gets it."""

import subprocess
import sys

import pytest

from vaultmesh.ledgers.evm.libraries import BLS12_381_ORDER
from vaultmesh.process.settings import REPOSITORY

LOADED = """
import sys
import vaultmesh.ledgers.evm.driver
print([name for name in sys.modules if name.startswith(("py_ecc.bls", "py_ecc.optimized"))])
"""
KEYSTORE = """
from vaultmesh.ledgers.evm.libraries import Account
from eth_keyfile.keyfile import bls
print(bls.SkToPk(7) == __import__("py_ecc.bls").bls.G2ProofOfPossession.SkToPk(7))
"""
LOADED_BEFORE = """
import py_ecc.bls as before
import vaultmesh.ledgers.evm.libraries
import py_ecc.bls as after
from eth_keyfile.keyfile import bls
print(before is after and bls is before.G2ProofOfPossession)
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [(LOADED, "[]"), (KEYSTORE, "True"), (LOADED_BEFORE, "True")],
    ids=["a driver loads none", "the first use loads it", "what is loaded stays"],
)
def test_pairings_are_loaded_by_who_uses_them(code: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == printed, done.stderr


def test_the_order_of_the_curve_is_that_of_the_library() -> None:
    from py_ecc.bls12_381 import curve_order

    assert curve_order == BLS12_381_ORDER
