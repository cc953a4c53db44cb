"""Gives a test that is asked once more what its module shares anew: the first attempt left its marks there.

A system that counts what happened, or keeps a name for ever, fails the second attempt whatever the first one failed of.
"""

import pytest

_SHARED = ("class", "module", "package")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End what a test shares with others of its module, if this is not its first attempt; it is made again when it is asked for."""
    if getattr(item, "execution_count", 1) == 1 or not isinstance(item, pytest.Function):
        return
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        for definition in definitions:
            if definition.scope in _SHARED:
                definition.finish(item._request)
