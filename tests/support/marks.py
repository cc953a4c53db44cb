"""Marks of tests that need a whole system, which costs them up to five minutes."""

import pytest

EVM_SYSTEM = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]
BITCOIN_SYSTEM = [pytest.mark.server, pytest.mark.btc, pytest.mark.slow, pytest.mark.timeout(700)]
FAULTS = [pytest.mark.fault, *EVM_SYSTEM]
