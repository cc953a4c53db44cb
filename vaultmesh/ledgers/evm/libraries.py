"""Loads eth-account and web3 without the pairing arithmetic that only keystores of Ethereum's beacon chain need.

1. eth-account imports eth-keyfile, which imports `py_ecc.bls`. That module computes tables while it is imported: most of
   a second of every worker's and command's start, for keystores of EIP-2335, which nothing here reads.
2. So eth-account is loaded beside stand-ins for two modules of py_ecc, which are taken away again: `py_ecc.bls` is then
   loaded by its first use, and whoever else imports it gets the real one.
3. web3 imports eth-account too. Modules of this room have both from here, so that the order of imports does not matter.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

__all__ = (
    "Account",
    "AsyncJSONBaseProvider",
    "LocalAccount",
    "RPCEndpoint",
    "RPCResponse",
    "TypedTransaction",
)
BLS12_381_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Number of points in the groups of the curve BLS12-381; eth-keyfile compares keys with it."""
_BLS, _CURVE = "py_ecc.bls", "py_ecc.bls12_381"


class _Ciphersuite:
    """Stands for `py_ecc.bls.G2ProofOfPossession`, and asks it."""

    def __getattr__(self, name: str) -> object:
        """Return an attribute of the real one."""
        return getattr(import_module(_BLS).G2ProofOfPossession, name)


@contextmanager
def without_pairings() -> Iterator[None]:
    """Let modules that are imported meanwhile do without the two modules, unless somebody has loaded them already."""
    bls, curve = ModuleType(_BLS), ModuleType(_CURVE)
    vars(bls)["G2ProofOfPossession"] = _Ciphersuite()
    vars(curve)["curve_order"] = BLS12_381_ORDER
    stand_ins = {
        name: module for name, module in ((_BLS, bls), (_CURVE, curve)) if name not in sys.modules
    }
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


with without_pairings():
    from eth_account import Account
    from eth_account.signers.local import LocalAccount
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from web3.providers.async_base import AsyncJSONBaseProvider
    from web3.types import RPCEndpoint, RPCResponse
