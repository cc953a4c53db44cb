"""Gives the tests of anchoring the parts of the EVM room."""

from tests.ledgers.evm.conftest import chain, key, make_submitter, proxy, submitter

__all__ = ["chain", "key", "make_submitter", "proxy", "submitter"]
