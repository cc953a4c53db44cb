"""Gives the tests of anchoring the parts of the EVM room."""

from tests.ledgers.evm.conftest import chain, key

__all__ = ["chain", "key"]
