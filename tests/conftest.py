"""Gives all tests their rules.

1. Generated tests take the same examples in every run, and none fails for being slow.
2. Tests that need no server, no node and no toolchain are marked `quick`.
3. Modules that wait longest come first.
"""

import pytest
from hypothesis import settings

from tests.support.order import put_long_modules_first
from tests.support.quick import mark_quick

settings.load_profile("ci")  # its deadline of 200 ms is off: a pause of the machine is no failure


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and sort before `-m` selects."""
    mark_quick(items)
    put_long_modules_first(items)
